import { once } from 'node:events'
import { connect as openSocket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { eventOf, eventsOf, openBroker, openRaw, portOf } from '../../support/broker-world.ts'
import { connectPacket, publishPacket } from '../../support/wire.ts'

// One line for each refused connection, in a fixed form, from which fail2ban can be fed.

const packets = {
  'a client id that is too long': [
    connectPacket({ clientId: 'longer' }),
    'identifier-rejected',
    'client id longer than 4 bytes',
  ],
  'no client id, with clean session 0': [
    connectPacket({ clientId: '', clean: false }),
    'identifier-rejected',
    'empty client id with clean session 0',
  ],
  'no client id in MQTT 3.1': [
    connectPacket({ clientId: '', protocol: 'MQIsdp', level: 3 }),
    'identifier-rejected',
    'empty client id',
  ],
  'a protocol level of the future': [
    connectPacket({ clientId: 'c1', level: 9 }),
    'protocol-version',
    'protocol level 9; this broker speaks 3 (MQTT 3.1), 4 (MQTT 3.1.1) and 5',
  ],
  'an HTTP request': [
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    'protocol',
    'an HTTP request, on a listener for MQTT without WebSocket',
  ],
  'a TLS handshake': [
    Buffer.from('160301020001', 'hex'),
    'protocol',
    'a TLS handshake, on a listener without TLS',
  ],
  'a first packet that is not CONNECT': [
    publishPacket({ topic: 'a' }),
    'protocol',
    'first packet is not CONNECT',
  ],
  'a CONNECT that is too large': [
    connectPacket({ clientId: 'c1', username: 'x'.repeat(2_000) }),
    'limit',
    /^packet of \d+ bytes; 1000 are allowed here$/,
  ],
  'a wrong password': [
    connectPacket({ clientId: 'c1', username: 'ann', password: 'x' }),
    'bad-credentials',
    /./,
  ],
} as const

describe('a refused connection', () => {
  it.each(Object.entries(packets))(
    'with %s leaves one line with the real address',
    async (_, [bytes, reason, detail]) => {
      const broker = await openBroker({
        listeners: [{ type: 'tcp', name: 'door', port: 0, allowAnonymous: true }],
        limits: { maxClientIdBytes: 4, maxConnectBytes: 1_000 },
      })
      const socket = openSocket({ host: '127.0.0.1', port: portOf(broker, 'door') })
      socket.on('error', () => undefined)
      await once(socket, 'connect')
      const port = socket.localPort
      socket.resume().write(bytes)
      await once(socket, 'close')
      const event = await eventOf(broker, 'connection refused')
      expect(event).toMatchObject({ level: 'info', address: '127.0.0.1', port, listener: 'door', reason })
      expect(event['detail']).toMatch(detail)
      await broker.stop()
      expect(eventsOf(broker, 'connection refused')).toHaveLength(1)
    },
  )

  it('is one line too when there are too many', async () => {
    const broker = await openBroker({ limits: { maxConnections: 1 } })
    const first = await openRaw(broker.port)
    const second = await openRaw(broker.port)
    await second.untilClosed()
    expect(await eventOf(broker, 'connection refused')).toMatchObject({
      address: '127.0.0.1',
      reason: 'max-connections',
    })
    await first.destroy()
    await broker.stop()
    expect(eventsOf(broker, 'connection refused')).toHaveLength(1)
  })
})
