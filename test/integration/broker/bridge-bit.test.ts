import { describe, expect, it } from 'vitest'
import { connectRaw, eventOf, openBroker, portOf, refusalCode } from '../../support/broker-world.ts'

const bridge = { clientId: 'bridge', level: 0x84 }
const plain = { clientId: 'plain' }

const seen = (messages: readonly { topic: string; payload: Buffer; retain: boolean }[]): string[] =>
  messages.map(({ topic, payload, retain }) => `${topic}=${payload.toString()}${retain ? ' retained' : ''}`)

describe('a connection with the bridge bit', () => {
  it.each([0, 1, 2])('is not sent what it has published itself (QoS %i)', async (qos) => {
    const broker = await openBroker()
    const own = await connectRaw(broker.port, { ...bridge, clean: false })
    const other = await connectRaw(broker.port, plain)
    // Overlapping filters, one filter, and the same of somebody who is no bridge.
    for (const client of [own, other]) await client.subscribe(['a/#', 1], ['a/+', 2], ['b', 2])
    for (const topic of ['a/1', 'b']) {
      await own.publish({ topic, payload: 'own', qos })
      await other.publish({ topic, payload: 'other', qos })
    }
    await other.publish({ topic: 'a/end', payload: 'end', qos })
    expect(seen(await own.takeUntil('a/end'))).toEqual(['a/1=other', 'b=other', 'a/end=end'])
    expect(seen(await other.takeUntil('a/end'))).toHaveLength(5)
  })

  it('nor at a mountpoint, where somebody at another one with its client id is somebody else', async () => {
    const site = { type: 'tcp', name: 'one', port: 0, allowAnonymous: true, mountpoint: 'one/' } as const
    const broker = await openBroker({ listeners: [{ type: 'tcp', port: 0, allowAnonymous: true }, site] })
    const own = await connectRaw(portOf(broker, 'one'), bridge)
    const namesake = await connectRaw(broker.port, bridge)
    await own.subscribe(['#', 1])
    await own.publish({ topic: 'a', payload: 'own', qos: 1, retain: true })
    await own.subscribe(['a', 1])
    await namesake.publish({ topic: 'one/a', payload: 'other', qos: 1 })
    await namesake.publish({ topic: 'one/end', payload: 'end', qos: 1 })
    expect(seen(await own.takeUntil('end'))).toEqual(['a=other', 'end=end'])
  })

  it.each([0, 1])(
    'gets RETAIN as it was published, also from its stored queue (QoS %i); others do not',
    async (qos) => {
      const broker = await openBroker()
      const own = await connectRaw(broker.port, { ...bridge, clean: false })
      const other = await connectRaw(broker.port, plain)
      for (const client of [own, other]) await client.subscribe(['a/#', 1])
      await other.publish({ topic: 'a/1', payload: 'kept', qos, retain: true })
      await other.publish({ topic: 'a/2', payload: 'not kept', qos })
      expect(seen(await own.takeUntil('a/2'))).toEqual(['a/1=kept retained', 'a/2=not kept'])
      expect(seen(await other.takeUntil('a/2'))).toEqual(['a/1=kept', 'a/2=not kept'])

      await own.destroy()
      await other.publish({ topic: 'a/3', payload: 'kept', qos: 1, retain: true })
      const again = await connectRaw(broker.port, { ...bridge, clean: false })
      expect(seen((await again.takeUntil('a/3')).slice(-1))).toEqual(['a/3=kept retained'])
    },
  )

  it('is not sent its own retained messages when it subscribes', async () => {
    const broker = await openBroker()
    const own = await connectRaw(broker.port, bridge)
    const other = await connectRaw(broker.port, plain)
    await own.publish({ topic: 'a/own', payload: 'x', qos: 1, retain: true })
    await other.publish({ topic: 'a/other', payload: 'y', qos: 1, retain: true })
    await own.subscribe(['a/#', 1])
    await other.publish({ topic: 'a/end', payload: 'end', qos: 1 })
    expect(seen(await own.takeUntil('a/end'))).toEqual(['a/other=y retained', 'a/end=end'])
  })
})

it('refuses client ids of its own bridges', async () => {
  const broker = await openBroker()
  for (const level of [4, 0x84]) {
    expect(await refusalCode(broker.port, { clientId: '$bridge/cloud', level })).toBe(2)
  }
  expect(await eventOf(broker, 'connection refused')).toMatchObject({
    detail: "client ids that begin with $bridge/ are the broker's own",
  })
})

it('refuses them as well when a handler has rewritten to them', async () => {
  const broker = await openBroker(
    {},
    { name: 'rewriter', authConnect: (session) => void (session.id = '$bridge/cloud') },
  )
  expect(await refusalCode(broker.port, plain)).toBe(2)
})
