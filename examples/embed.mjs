// The broker inside a program of your own: node examples/embed.mjs (after `npm run build`).
// PORT=1883 chooses the port; without it the system does.

import { AuthError, RefuseReason, startBroker } from 'tunnelmq'

/**
 * Devices come with a name and a secret, and publish below a topic of their own. docs/handlers.md has all methods.
 *
 * @type {import('tunnelmq').Handler}
 */
const devices = {
  name: 'devices',
  authConnect(session) {
    const isRight = session.username?.startsWith('device-') && session.password?.toString() === 'secret'
    if (!isRight) throw new AuthError('unknown device', RefuseReason.badCredentials)
  },
  authPublish(session, message) {
    if (!message.topic.startsWith(`${session.username}/`)) throw new AuthError('topic of another device')
  },
  connect(session) {
    console.log(`${session.username} has come from ${session.peer.address}`)
  },
  disconnect(session, why) {
    console.log(`${session.username} has gone: ${why.kind}`)
  },
}

const broker = await startBroker({
  config: {
    listeners: [{ type: 'tcp', port: Number(process.env.PORT ?? 0) }],
    store: { type: 'memory' },
    admin: { enabled: false },
  },
  handlers: [devices],
})
console.log(`listening on ${broker.listeners[0].url}`)

const stopListening = broker.subscribe('+/temperature', (topic, payload) => {
  console.log(`${topic}: ${payload.toString()}`)
})

// Resolves when the message is as safe as its QoS asks: retained, and queued for every session that wants it.
await broker.publish({ topic: 'news', payload: 'the broker is up', qos: 1, retain: true })

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    stopListening()
    // Its clients are sent away, and what is to last is written.
    void broker.stop(signal).then(() => console.log('stopped'))
  })
}
