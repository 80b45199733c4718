// aedes as its README starts it, with its default persistence, which is memory. PORT comes from `quartet torture --broker`.
import { createServer } from 'node:net'
import { Aedes } from 'aedes'

const broker = await Aedes.createBroker()
createServer(broker.handle).listen(Number(process.env.PORT), '127.0.0.1')
