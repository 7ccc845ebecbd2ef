import { describe, expect, it } from 'vitest'
import { LoadClient } from '../support/load-client.ts'
import { eventually, report, texts } from './ledger.ts'
import { faults5, propertyBytes5, session5, with5 } from './sessions5.ts'
import { openSingle, type SingleBroker, type SingleConfig, startSingle } from './single-broker.ts'

const payloadBytes = 100

const payloadsOf = (count: number): string[] =>
  Array.from({ length: count }, (_, number) => `p ${number} `.padEnd(payloadBytes, 'x'))

async function publishAll(
  { port }: SingleBroker,
  payloads: readonly string[],
  qos: 1 | 2,
  { retainOn, version }: { retainOn?: (number: number) => string; version?: 5 | undefined } = {},
): Promise<number> {
  const publisher = new LoadClient({ port, clientId: 'publisher', window: 100, ...(version && { version }) })
  await publisher.connect()
  await Promise.all(
    payloads.map((payload, number) => {
      const retain = retainOn !== undefined
      const message = { topic: retainOn?.(number) ?? 'q', payload, qos, retain }
      return publisher.publish(version === 5 ? with5(message, number) : message)
    }),
  )
  await publisher.disconnect()
  return publisher.acknowledged.size
}

function droppedCount(broker: SingleBroker, reason: string): Promise<number> {
  return broker.metric('tunnelmq_messages_dropped_total', `reason="${reason}"`)
}

/** Sent are more than the bound by messages; in the bound by bytes there is room for as many as `fitting`. */
const stores = [
  { type: 'embedded', sentCount: 1_600, bound: 1_000, fitting: 700 },
  { type: 'memory', sentCount: 400, bound: 250, fitting: 175 },
  { type: 'redis', sentCount: 400, bound: 250, fitting: 175 },
] as const

describe.each(stores)('at the bounds of one broker with the $type store', (store) => {
  const { type, sentCount, bound, fitting } = store
  const payloads = payloadsOf(sentCount)
  const bytes = fitting * payloadBytes + 50
  const bytes5 = fitting * (payloadBytes + propertyBytes5) + 50
  const open = (config: SingleConfig): Promise<SingleBroker> =>
    type === 'embedded' ? startSingle(type, config) : openSingle(type, config)

  it.each([
    { what: 'messages', session: { queueMaxMessages: bound }, kept: bound },
    { what: 'bytes', session: { queueMaxBytes: bytes }, kept: fitting },
    {
      what: 'bytes, MQTT 5',
      session: { queueMaxBytes: bytes5 },
      kept: fitting,
      version: 5 as const,
    },
  ])(
    'drops the newest at the bound by $what of a stored queue, and counts each',
    async ({ what, session, kept, version }) => {
      const broker = await open({ session })
      const away = new LoadClient({
        port: broker.port,
        clientId: 'away',
        clean: false,
        ...(version && session5),
      })
      await away.connect()
      await away.subscribe(['q', 2])
      await away.disconnect()
      const acknowledgedCount = await publishAll(broker, payloads, 2, { version })
      expect(acknowledgedCount).toBe(sentCount)
      const dropped = await droppedCount(broker, 'queue-full')
      await away.connect()
      await eventually(() => away.received.length >= kept)
      await away.ping()
      expect(texts(away.received)).toEqual(payloads.slice(0, kept))
      expect(faults5(away)).toEqual([])
      expect(dropped).toBe(sentCount - kept)
      // There is room again.
      await publishAll(broker, payloads, 1, { version })
      await eventually(async () => (await broker.metric('tunnelmq_queued_messages')) === 0)
      expect(away.received.length + (await droppedCount(broker, 'queue-full'))).toBe(2 * sentCount)
      report(`16 (${type}, ${what})`, acknowledgedCount, `${kept} delivered, ${dropped} dropped and counted`)
    },
  )

  it.each([
    { what: 'messages', session: { queueMaxMessages: bound }, kept: bound + 20 },
    { what: 'bytes', session: { cleanQueueMaxBytes: bytes }, kept: fitting + 20 },
    {
      what: 'bytes, MQTT 5',
      session: { cleanQueueMaxBytes: bytes5 },
      kept: fitting + 5,
      version: 5 as const,
    },
  ])(
    'drops the newest at the bound by $what for a clean session that acknowledges nothing',
    async (bounds) => {
      const { what, session, kept, version } = bounds
      const broker = await open({ session })
      const slow = new LoadClient({
        port: broker.port,
        clientId: 'slow',
        acknowledges: false,
        ...(version && { ...session5, sessionExpirySeconds: 0 }),
      })
      await slow.connect()
      await slow.subscribe(['q', 1])
      const acknowledgedCount = await publishAll(broker, payloads, 1, { version })
      const dropped = await droppedCount(broker, 'queue-full')
      expect(slow.received.length).toBeLessThanOrEqual(version === 5 ? 5 : 20)
      slow.settle()
      await eventually(() => slow.received.length >= kept)
      await slow.ping()
      expect(texts(slow.received)).toEqual(payloads.slice(0, kept))
      expect(dropped).toBe(sentCount - kept)
      report(
        `16 (${type}, clean, ${what})`,
        acknowledgedCount,
        `${kept} delivered, ${dropped} dropped and counted`,
      )
    },
  )

  it('retains no new topic beyond the bound, and counts each', async () => {
    const broker = await open({ retained: { maxMessages: bound } })
    const acknowledgedCount = await publishAll(broker, payloads, 1, {
      retainOn: (number) => `kept/${number}`,
    })
    expect(await droppedCount(broker, 'retained-full')).toBe(sentCount - bound)
    const reader = new LoadClient({ port: broker.port, clientId: 'reader' })
    await reader.connect()
    await reader.subscribe(['kept/+', 1])
    await eventually(() => reader.received.length >= bound)
    await reader.ping()
    expect(new Set(texts(reader.received))).toEqual(new Set(payloads.slice(0, bound)))
    report(
      `16 (${type}, retained)`,
      acknowledgedCount,
      `${bound} retained, ${sentCount - bound} dropped and counted`,
    )
  })
})
