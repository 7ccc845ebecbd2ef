import { afterEach, expect, it } from 'vitest'
import { type BrokerProcess, startBrokerProcess } from '../support/broker-process.ts'
import { LoadClient } from '../support/load-client.ts'
import { publishPacket } from '../support/wire.ts'
import { eventually, report } from './ledger.ts'

const allowedBytes = 64 * 1024 * 1024
const payload = Buffer.alloc(16_384, 'x')
const floodCount = (400 * 1024 * 1024) / payload.length
const unrelatedCount = 5_000

let broker: BrokerProcess

afterEach(() => broker.remove())

async function enter(clientId: string, clean = true, onDelivery?: () => void): Promise<LoadClient> {
  const client = new LoadClient({ port: broker.port, clientId, clean, ...(onDelivery && { onDelivery }) })
  await client.connect()
  return client
}

/** As fast as the broker reads. */
async function flood(publisher: LoadClient, count: number): Promise<void> {
  const packet = publishPacket({ topic: 'flood', payload })
  for (let sent = 0; sent < count; sent++) {
    publisher.write(packet)
    if (sent % 16 === 15) await publisher.drained()
  }
  await publisher.ping()
}

/** A pair that has nothing to do with it: resolves to how many came. */
async function unrelatedPair(): Promise<number> {
  const subscriber = await enter('bystander')
  await subscriber.subscribe(['aside', 1])
  const publisher = await enter('speaker')
  const all = Array.from({ length: unrelatedCount }, (_, number) =>
    publisher.publish({ topic: 'aside', payload: `p ${number}`, qos: 1 }),
  )
  await Promise.all(all)
  await eventually(() => subscriber.received.length >= unrelatedCount)
  return subscriber.received.length
}

it('bears a frozen reader in a flood of 400 MB: bounded memory, all dropped messages counted, nobody else hurt', async () => {
  broker = await startBrokerProcess({ config: { limits: { drainTimeoutMs: 120_000 } } })
  let qos0Count = 0
  let qos1Count = 0
  const frozen = new LoadClient({
    port: broker.port,
    clientId: 'frozen',
    clean: false,
    onDelivery: ({ qos }) => void (qos === 0 ? qos0Count++ : qos1Count++),
  })
  await frozen.connect()
  await frozen.subscribe(['flood', 1])
  const flooder = await enter('flooder')
  // What a flood costs without a frozen reader is not in the figure.
  await Promise.all([unrelatedPair(), flood(flooder, floodCount / 10)])
  await frozen.ping()
  const droppedCount = (): Promise<number> =>
    broker.metric('tunnelmq_messages_dropped_total', 'reason="slow-reader"')
  const droppedBefore = await droppedCount()
  expect(qos0Count + droppedBefore).toBe(floodCount / 10)
  qos0Count = 0

  broker.forgetPeak()
  const beforeBytes = broker.residentBytes()
  frozen.pauseReading()
  const [unrelated] = await Promise.all([unrelatedPair(), flood(flooder, floodCount)])
  expect(unrelated).toBe(unrelatedCount)
  const stored = Array.from({ length: 3_000 }, (_, number) => `${number} `.padEnd(1_000, 'x'))
  await Promise.all(stored.map((text) => flooder.publish({ topic: 'flood', payload: text, qos: 1 })))
  const moreBytes = broker.peakResidentBytes() - beforeBytes
  const dropped = (await droppedCount()) - droppedBefore

  frozen.resumeReading()
  await eventually(() => qos1Count >= stored.length)
  await frozen.ping()
  expect(qos1Count).toBe(flooder.acknowledged.size)
  expect(dropped).toBeGreaterThan(floodCount / 2)
  expect(qos0Count + dropped).toBe(floodCount)
  expect(moreBytes).toBeLessThan(allowedBytes)
  report(
    '17',
    flooder.acknowledged.size,
    `${qos1Count} delivered; ${floodCount} at QoS 0: ${qos0Count} delivered, ${dropped} dropped and counted; +${Math.round(moreBytes / 1e6)} MB`,
  )
})

it('cuts a reader that takes nothing for too long, and keeps what is stored for it', async () => {
  broker = await startBrokerProcess({ config: { limits: { drainTimeoutMs: 1_000 } } })
  const frozen = await enter('frozen', false)
  await frozen.subscribe(['flood', 1])
  frozen.pauseReading()
  const flooder = await enter('flooder')
  await flood(flooder, 2_000)
  const isCut = (): boolean =>
    broker.events.some(({ client, detail }) => client === 'frozen' && detail === 'slow reader')
  await eventually(isCut)
  await flooder.publish({ topic: 'flood', payload: 'p 1', qos: 1 })
  expect(await unrelatedPair()).toBe(unrelatedCount)
  frozen.resumeReading()
  await frozen.closed
  expect((await frozen.connect()).sessionPresent).toBe(true)
  await eventually(() => frozen.received.some((came) => came.payload.toString() === 'p 1'))
  report(
    '17 (cut)',
    flooder.acknowledged.size,
    `${frozen.received.filter(({ qos }) => qos === 1).length} delivered`,
  )
})
