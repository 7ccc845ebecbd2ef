import { expect, it } from 'vitest'
import { LoadClient } from '../support/load-client.ts'
import { type Pods, startPods } from '../support/pods.ts'
import { eventually, report, texts } from './ledger.ts'
import { faults5, propertyBytes5, session5, with5 } from './sessions5.ts'

const bound = 1_000
const sentCount = 1_600
const payloadBytes = 100
const payloads = Array.from({ length: sentCount }, (_, number) => `p ${number} `.padEnd(payloadBytes, 'x'))

/** At the first pod. */
async function publishAll(
  pods: Pods,
  qos: 1 | 2,
  topicOf: (number: number) => string,
  { retain = false, version }: { retain?: boolean; version?: 5 | undefined } = {},
): Promise<number> {
  const publisher = new LoadClient({
    port: pods.ports[0]!,
    clientId: 'publisher',
    window: 100,
    ...(version && { version }),
  })
  await publisher.connect()
  await Promise.all(
    payloads.map((payload, number) => {
      const message = { topic: topicOf(number), payload, qos, retain }
      return publisher.publish(version === 5 ? with5(message, number) : message)
    }),
  )
  await publisher.disconnect()
  return publisher.acknowledged.size
}

const droppedCount = (pods: Pods, reason: string): Promise<number> =>
  pods.metric('tunnelmq_messages_dropped_total', `reason="${reason}"`)

interface Bounds {
  readonly what: string
  readonly session: { readonly queueMaxMessages?: number; readonly queueMaxBytes?: number }
  readonly kept: number
  readonly version?: 5
}

const bounds: readonly Bounds[] = [
  { what: 'messages', session: { queueMaxMessages: bound }, kept: bound },
  { what: 'bytes', session: { queueMaxBytes: 700 * payloadBytes + 50 }, kept: 700 },
]

const bounds5: Bounds = {
  what: 'bytes, MQTT 5',
  session: { queueMaxBytes: 700 * (payloadBytes + propertyBytes5) + 50 },
  kept: 700,
  version: 5,
}

it.each([...bounds, bounds5])(
  'drops the newest at the bound by $what of a queue that another pod fills, and counts each',
  async ({ what, session, kept, version }: Bounds) => {
    const pods = await startPods(2, { config: { session } })
    const away = new LoadClient({
      port: pods.ports[1]!,
      clientId: 'away',
      clean: false,
      ...(version && session5),
    })
    await away.connect()
    await away.subscribe(['q', 2])
    await away.disconnect()
    const acknowledgedCount = await publishAll(pods, 2, () => 'q', { version })
    expect(acknowledgedCount).toBe(sentCount)
    const dropped = await droppedCount(pods, 'queue-full')
    expect(dropped).toBe(sentCount - kept)
    await away.connect()
    await eventually(() => away.received.length >= kept)
    await away.ping()
    expect(texts(away.received)).toEqual(payloads.slice(0, kept))
    expect(faults5(away)).toEqual([])
    // There is room again, and what finds none is counted once.
    await publishAll(pods, 1, () => 'q', { version })
    await eventually(
      async () => away.received.length + (await droppedCount(pods, 'queue-full')) === 2 * sentCount,
    )
    report(`16 (pods, ${what})`, acknowledgedCount, `${kept} delivered, ${dropped} dropped and counted`)
  },
)

it.each(bounds)(
  'drops the newest at the bound by $what for a session that is connected at another pod and acknowledges nothing',
  async ({ what, session, kept }) => {
    const pods = await startPods(2, { config: { session } })
    const slow = new LoadClient({ port: pods.ports[1]!, clientId: 'slow', clean: false, acknowledges: false })
    await slow.connect()
    await slow.subscribe(['q', 1])
    const acknowledgedCount = await publishAll(pods, 1, () => 'q')
    const dropped = await droppedCount(pods, 'queue-full')
    expect(dropped).toBe(sentCount - kept)
    expect(slow.received.length).toBeLessThanOrEqual(20)
    slow.settle()
    await eventually(() => slow.received.length >= kept)
    await slow.ping()
    expect(texts(slow.received)).toEqual(payloads.slice(0, kept))
    report(`16 (pods, slow, ${what})`, acknowledgedCount, `${kept} delivered, ${dropped} dropped and counted`)
  },
)

it('drops the newest at the bound of a clean session at another pod that acknowledges nothing, and counts each', async () => {
  const pods = await startPods(2, { config: { session: { queueMaxMessages: bound } } })
  const slow = new LoadClient({ port: pods.ports[1]!, clientId: 'slow', acknowledges: false })
  await slow.connect()
  await slow.subscribe(['q', 1])
  const acknowledgedCount = await publishAll(pods, 1, () => 'q')
  // They are behind the PUBACK, on their way to the other pod.
  const kept = bound + 20
  await eventually(async () => (await droppedCount(pods, 'queue-full')) === sentCount - kept)
  slow.settle()
  await eventually(() => slow.received.length >= kept)
  await slow.ping()
  expect(texts(slow.received)).toEqual(payloads.slice(0, kept))
  report('16 (pods, clean)', acknowledgedCount, `${kept} delivered, ${sentCount - kept} dropped and counted`)
})

it('retains no new topic beyond the bound, whichever pod sets it, and counts each', async () => {
  const pods = await startPods(2, { config: { retained: { maxMessages: bound } } })
  const acknowledgedCount = await publishAll(pods, 1, (number) => `kept/${number}`, { retain: true })
  expect(await droppedCount(pods, 'retained-full')).toBe(sentCount - bound)
  const reader = new LoadClient({ port: pods.ports[1]!, clientId: 'reader' })
  await reader.connect()
  await reader.subscribe(['kept/+', 1])
  await eventually(() => reader.received.length >= bound)
  await reader.ping()
  expect(new Set(texts(reader.received))).toEqual(new Set(payloads.slice(0, bound)))
  report(
    '16 (pods, retained)',
    acknowledgedCount,
    `${bound} retained, ${sentCount - bound} dropped and counted`,
  )
})
