import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { Handler } from '../../../src/hooks/types.ts'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'
import { portOf } from '../../support/broker-world.ts'
import { runClient } from '../../support/run-client.ts'

let broker: TestBroker

beforeAll(async () => {
  const handler: Handler = {
    authConnect() {},
    authSubscribe(_, subscriptions) {
      for (const one of subscriptions) if (one.topic === 'forbidden') one.refused = true
    },
  }
  broker = await startTestBroker(
    {
      listeners: [
        { type: 'tcp', name: 'tcp', port: 0 },
        { type: 'ws', name: 'websockets', port: 0 },
      ],
    },
    { handlers: [handler] },
  )
})

afterAll(() => broker.stop())

it.each(['tcp', 'websockets'])(
  'Python paho speaks MQTT 5 over %s: properties arrive, reason codes are told',
  async (transport) => {
    const script = fileURLToPath(new URL('exchange5.py', import.meta.url))
    // The system's python, for which the Debian package python3-paho-mqtt is.
    const { code, stdout, stderr } = await runClient('/usr/bin/python3', [
      ...['-B', script, transport, String(portOf(broker, transport))],
    ])
    expect(stderr).toBe('')
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toEqual({
      connack: [0, 0],
      suback: [2, 0x87],
      received: [0, 1, 2].map((qos) => ({
        ...{ topic: 'paho5/x', payload: `message ${qos}`, qos, type: 'text/plain', response: 'answers' },
        correlation: 'one',
        user: [
          ['a', '1'],
          ['a', '2'],
        ],
        identifier: [300],
      })),
    })
  },
)
