// aedes as its README starts it. PORT and DATA come from `quartet torture --broker`. Its persistence is memory, or what
// the first argument names: "level", a LevelDB under DATA, or "redis", a server that listens at DATA/redis.sock.
import { createServer } from 'node:net'
import { Aedes } from 'aedes'

async function persistence (name) {
  if (name === 'level') {
    const { Level } = await import('level')
    const { default: open } = await import('aedes-persistence-level')
    return open(new Level(process.env.DATA + '/level'))
  }
  const { default: open } = await import('aedes-persistence-redis')
  return open({ path: process.env.DATA + '/redis.sock' })
}

const name = process.argv[2]
const broker = await Aedes.createBroker(name === undefined ? {} : { persistence: await persistence(name) })
createServer(broker.handle).listen(Number(process.env.PORT), '127.0.0.1')
