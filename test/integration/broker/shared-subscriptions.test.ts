import { describe, expect, it } from 'vitest'
import type { TestBroker } from '../../support/broker.ts'
import {
  connectMqtt,
  connectRaw,
  eventOf,
  messages,
  openBroker,
  temporaryFolder,
} from '../../support/broker-world.ts'
import { startTestBroker } from '../../support/broker.ts'
import type { RawClient } from '../../support/raw-client.ts'

const SHARED = '$share/workers/jobs/#'

async function publish(broker: TestBroker, from: number, to: number, qos: 0 | 1 | 2 = 1): Promise<void> {
  for (let i = from; i < to; i++) await broker.publish({ topic: `jobs/${i}`, payload: String(i), qos })
}

/** Takes and acknowledges `count` messages; resolves to their payloads. */
async function take(client: RawClient, count: number): Promise<number[]> {
  const numbers: number[] = []
  for (let i = 0; i < count; i++) {
    const message = await client.next('publish')
    numbers.push(Number(message.payload.toString()))
    await client.acknowledge(message)
  }
  return numbers
}

function inOrder(...shares: readonly number[][]): number[] {
  return shares.flat().sort((a, b) => a - b)
}

describe('a shared subscription', () => {
  it.each([0, 1, 2] as const)('gives each message to one connected member, in turn (QoS %i)', async (qos) => {
    const broker = await openBroker()
    const members = [
      await connectMqtt(broker.url),
      await connectMqtt(broker.url),
      await connectMqtt(broker.url),
    ]
    const got = members.map((member) => messages(member, 4))
    // QoS 2 is granted as 1: its handshake cannot be moved between members.
    for (const member of members)
      expect(await member.subscribeAsync(SHARED, { qos })).toMatchObject([{ qos: Math.min(qos, 1) }])
    await publish(broker, 0, 12, qos)
    const shares = await Promise.all(got)
    expect(shares.flat().sort()).toEqual(Array.from({ length: 12 }, (_, i) => `jobs/${i}=${i}`).sort())
  })

  it('is apart from other groups and from ordinary subscriptions, which get everything', async () => {
    const broker = await openBroker()
    const [a, b, other, ordinary] = [
      await connectRaw(broker.port, { clientId: 'a' }),
      await connectRaw(broker.port, { clientId: 'b' }),
      await connectRaw(broker.port, { clientId: 'other' }),
      await connectRaw(broker.port, { clientId: 'ordinary' }),
    ]
    for (const member of [a, b]) await member.subscribe([SHARED, 1])
    await other.subscribe(['$share/others/jobs/#', 1])
    await ordinary.subscribe(['jobs/#', 1])
    await publish(broker, 0, 6)
    expect(inOrder(await take(a, 3), await take(b, 3))).toEqual([0, 1, 2, 3, 4, 5])
    expect(await take(other, 6)).toEqual([0, 1, 2, 3, 4, 5])
    expect(await take(ordinary, 6)).toEqual([0, 1, 2, 3, 4, 5])
  })

  it('has no retained messages sent to it', async () => {
    const broker = await openBroker()
    await broker.publish({ topic: 'jobs/old', payload: 'x', qos: 1, retain: true })
    const member = await connectRaw(broker.port, { clientId: 'a' })
    await member.subscribe([SHARED, 1])
    await member.ping()
    expect(member.waitingMessages).toEqual([])
  })

  it.each(['memory', 'embedded'] as const)(
    'keeps messages while no persistent member is connected, and gives them to whoever comes first (%s)',
    async (type) => {
      const broker = await openBroker({ store: { type, path: await temporaryFolder() } })
      for (const clientId of ['a', 'b']) {
        const member = await connectRaw(broker.port, { clientId, clean: false })
        await member.subscribe([SHARED, 1])
        await member.disconnect()
      }
      await publish(broker, 0, 50)
      const b = await connectRaw(broker.port, { clientId: 'b', clean: false })
      expect(await take(b, 50)).toEqual(Array.from({ length: 50 }, (_, i) => i))
      const a = await connectRaw(broker.port, { clientId: 'a', clean: false })
      await publish(broker, 50, 52)
      expect(inOrder(await take(a, 1), await take(b, 1))).toEqual([50, 51])
    },
  )

  it.each([
    ['memory', true],
    ['memory', false],
    ['embedded', false],
  ] as const)(
    'gives what a lost member has not acknowledged to another (%s, clean %s)',
    async (type, clean) => {
      const broker = await openBroker({ store: { type, path: await temporaryFolder() } })
      const a = await connectRaw(broker.port, { clientId: 'a', clean })
      const b = await connectRaw(broker.port, { clientId: 'b', clean })
      for (const member of [a, b]) await member.subscribe([SHARED, 1])
      await publish(broker, 0, 10)
      const held = await a.nextMessages(5)
      await a.acknowledge(held[0]!)
      await a.ping() // the acknowledgement has been dealt with
      const own = await take(b, 5)
      await a.destroy()
      const taken = await take(b, 4)
      expect(taken).toEqual(held.slice(1).map(({ payload }) => Number(payload.toString())))
      expect(inOrder([Number(held[0]!.payload.toString())], own, taken)).toEqual([
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
      ])
      await publish(broker, 10, 12)
      expect(await take(b, 2)).toEqual([10, 11])
    },
  )

  it('does not give it to a member that has unsubscribed, and ends with its last one', async () => {
    const broker = await openBroker()
    const a = await connectRaw(broker.port, { clientId: 'a', clean: false })
    const b = await connectRaw(broker.port, { clientId: 'b', clean: false })
    for (const member of [a, b]) await member.subscribe([SHARED, 1])
    await a.unsubscribe(SHARED)
    await publish(broker, 0, 3)
    expect(await take(b, 3)).toEqual([0, 1, 2])
    await b.unsubscribe(SHARED)
    await publish(broker, 3, 6)
    await a.subscribe([SHARED, 1])
    await publish(broker, 6, 7)
    expect(await take(a, 1)).toEqual([6])
    await b.ping()
    expect(b.waitingMessages).toEqual([])
  })

  it('keeps a window for each member, so that a slow one does not hold what others could take', async () => {
    const broker = await openBroker({ limits: { maxInflight: 2 } })
    const slow = await connectRaw(broker.port, { clientId: 'slow' })
    const quick = await connectRaw(broker.port, { clientId: 'quick' })
    for (const member of [slow, quick]) await member.subscribe([SHARED, 1])
    await publish(broker, 0, 20)
    expect(await take(quick, 18)).toHaveLength(18)
    await slow.ping()
    expect(slow.waitingMessages).toHaveLength(2)
  })

  it('survives a restart of the broker: members, queue, and what was not acknowledged', async () => {
    const store = { type: 'embedded', path: await temporaryFolder() } as const
    const first = await startTestBroker({ store })
    const a = await connectRaw(first.port, { clientId: 'a', clean: false })
    await a.subscribe([SHARED, 1])
    await publish(first, 0, 5)
    await a.acknowledge((await a.nextMessages(2))[0]!)
    await a.ping()
    await a.destroy()
    await eventOf(first, 'client disconnected')
    await publish(first, 5, 7)
    await first.stop()

    const broker = await openBroker({ store })
    await publish(broker, 7, 8)
    const again = await connectRaw(broker.port, { clientId: 'a', clean: false })
    expect(await take(again, 7)).toEqual([1, 2, 3, 4, 5, 6, 7])
    await again.ping()
    expect(again.waitingMessages).toEqual([])
  })

  it.each(['$share', '$share/', '$share/g', '$share/g/', '$share//a', '$share/+/a', '$share/g/a+'])(
    'that is not one ends the connection: %s',
    async (filter) => {
      const broker = await openBroker()
      const client = await connectRaw(broker.port, { clientId: 'c1' })
      await expect(client.subscribe([filter, 0])).rejects.toThrow(/the end/)
      await client.untilClosed()
    },
  )
})
