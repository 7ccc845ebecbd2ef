import { once } from 'node:events'
import { connect } from 'node:net'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { Interception, InterceptedPublish } from '../../../src/hooks/interceptor.ts'
import { connectRaw, portOf } from '../../support/broker-world.ts'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'
import { connectPacket, disconnect, publishPacket } from '../../support/wire.ts'

type Way = (packet: InterceptedPublish) => Promise<Interception> | Interception

let broker: TestBroker
let down: Way = () => undefined
let late = Promise.resolve()

beforeAll(async () => {
  broker = await startTestBroker(
    { listeners: [{ type: 'tcp', port: 0, name: 'seen' }], auth: { timeoutMs: 30_000 } },
    {
      handlers: [
        {
          name: 'late',
          authConnect: () => undefined,
          authSubscribe: () => undefined,
          authPublish: (_session, { topic }) => (topic === 'handler' ? late : undefined),
        },
      ],
      interceptors: [
        {
          interceptor: {
            intercept(_session, packet, direction) {
              if (packet.cmd !== 'publish') return undefined
              if (direction === 'down') return down(packet)
              return packet.topic === 'interceptor' ? late : undefined
            },
          },
        },
      ],
    },
  )
})
afterAll(() => broker.stop())

it('keeps the order when what was dropped lets more in than the client may have in flight', async () => {
  let answer: () => void = () => undefined
  const first = new Promise<void>((resolve) => (answer = resolve))
  down = ({ topic }) => (topic === 'order/1' ? first : topic === 'order/2' ? null : undefined)
  const client = await connectRaw(portOf(broker, 'seen'), { clientId: 'reader' })
  await client.subscribe(['order/+', 1])
  const topics = Array.from({ length: 30 }, (_, index) => `order/${index + 1}`)
  for (const topic of topics) await broker.publish({ topic, payload: Buffer.from('x'), qos: 1 })
  answer()
  const got: string[] = []
  while (got.length < topics.length - 1) {
    const [message] = await client.nextMessages(1)
    got.push(message!.topic)
    await client.acknowledge(message!)
  }
  expect(got).toEqual(topics.filter((topic) => topic !== 'order/2'))
})

it.each(['handler', 'interceptor'])(
  'of a %s count for a client that has published, said DISCONNECT and closed meanwhile',
  async (who) => {
    let answer: () => void = () => undefined
    late = new Promise((resolve) => (answer = resolve))
    down = () => undefined
    const reader = await connectRaw(portOf(broker, 'seen'), { clientId: `reader-${who}` })
    await reader.subscribe([who, 0], ['will', 0])
    const socket = connect({ port: portOf(broker, 'seen'), host: '127.0.0.1' })
    const will = { topic: 'will', payload: 'lost' }
    socket.write(connectPacket({ clientId: `writer-${who}`, will }))
    await once(socket, 'data')
    socket.end(Buffer.concat([publishPacket({ topic: who, payload: 'x', qos: 0 }), disconnect]))
    await once(socket, 'close')
    answer()
    // A will would have come before it.
    expect((await reader.nextMessages(1))[0]!.topic).toBe(who)
    await reader.disconnect()
  },
)
