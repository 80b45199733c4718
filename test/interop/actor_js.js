// MQTT.js behind the few words that run.py speaks: see there.
'use strict';
const mqtt = require('mqtt');

const a = { qos: 0, count: 0, verb: process.argv[2] };
for (let i = 3; i < process.argv.length; i++) {
  const name = process.argv[i].slice(2);
  if (['durable', 'retain', 'only-subscribe', 'only-take'].includes(name)) a[name] = true;
  else a[name] = process.argv[++i];
}
a.qos = Number(a.qos);
const options = {
  clientId: a.id,
  clean: !a.durable,
  protocolVersion: a.protocol === '5' ? 5 : 4,
  reconnectPeriod: 100,
  resubscribe: false,
  keepalive: 30,
};
if (a.protocol === '5' && a.durable) options.properties = { sessionExpiryInterval: 10000 };
if (a.will) options.will = { topic: a.will, payload: a.payload, qos: a.qos, retain: false };
const client = mqtt.connect('mqtt://127.0.0.1:' + a.port, options);
client.on('error', (e) => { if (!e.code || typeof e.code === 'number') { console.error(String(e)); process.exit(1); } });
const end = () => client.end(false, () => process.exit(0));

if (a.verb === 'sub') {
  let left = Number(a.count);
  client.once('connect', () => {
    if (a['only-take']) return;
    client.subscribe(a.topic, { qos: a.qos }, (e) => {
      if (e) { console.error(String(e)); process.exit(1); }
      console.log('SUBSCRIBED');
      if (a['only-subscribe']) end();
    });
  });
  client.on('message', (topic, payload, packet) => {
    console.log('MSG', topic, packet.retain ? 1 : 0, packet.qos, payload.toString());
    if (--left === 0) setTimeout(end, 200); // the last acknowledgement leaves
  });
} else {
  const texts = a.payload !== undefined ? [a.payload]
    : require('fs').readFileSync(0, 'utf8').split('\n').filter((t) => t);
  let left = texts.length;
  for (const text of texts) {
    client.publish(a.topic, text, { qos: a.qos, retain: !!a.retain }, (e) => {
      // 0x92 in PUBCOMP answers a repeated PUBREL whose flow was complete: no error (5.0, section 4.3.3).
      if (e && e.code !== 0x92) { console.error(String(e)); process.exit(1); }
      if (--left === 0) end();
      if ((texts.length - left) % 100 === 0) console.log('ACKED ' + (texts.length - left));
    });
  }
}
