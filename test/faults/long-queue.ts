import { expect } from 'vitest'
import type { BrokerProcess } from '../support/broker-process.ts'
import { type Delivery, LoadClient } from '../support/load-client.ts'
import { eventually, report } from './ledger.ts'
import { fault5, faults5, session5, with5 } from './sessions5.ts'

const allowedBytes = 100 * 1024 * 1024
const filler = 'x'.repeat(90)

/** A session that takes what comes in order, and keeps nothing of it. */
class Receiver {
  readonly client: LoadClient
  count = 0
  firstWrong: string | undefined

  constructor(port: number, version: 5 | undefined) {
    this.client = new LoadClient({
      port,
      clientId: 'receiver',
      clean: false,
      ...(version === 5 && session5),
      onDelivery: (delivery) => this.#take(delivery),
    })
  }

  #take(delivery: Delivery): void {
    const text = delivery.payload.toString()
    if (this.client.options.version === 5) this.firstWrong ??= fault5(delivery, this.count)
    if (text !== `${this.count} ${filler}`) this.firstWrong ??= `${text} in place of ${this.count}`
    this.count++
  }
}

export interface LongQueue {
  readonly test: string
  readonly messageCount: number
  readonly version?: 5 | undefined
  /** One that keeps its queues in memory cannot be started anew. */
  readonly isRestarted?: boolean
}

/**
 * So many messages are queued at one broker, and delivered by the other (or the same), which is started anew before:
 * what publishing has left in memory is not in the figure. With MQTT 5 they have properties and expire, and the
 * session takes little at once.
 */
export async function longQueue(
  [taking, giving]: readonly [BrokerProcess, BrokerProcess],
  { test, messageCount, version, isRestarted = true }: LongQueue,
): Promise<void> {
  const receiver = new Receiver(taking.port, version)
  await receiver.client.connect()
  await receiver.client.subscribe(['queue', 1])
  await receiver.client.disconnect()
  const publisher = new LoadClient({
    port: taking.port,
    clientId: 'publisher',
    window: 1_000,
    ...(version && { version }),
  })
  await publisher.connect()
  for (let from = 0; from < messageCount; from += 5_000) {
    const numbers = Array.from({ length: 5_000 }, (_, i) => from + i)
    await Promise.all(
      numbers.map((number) => {
        const message = { topic: 'queue', payload: `${number} ${filler}`, qos: 1 } as const
        return publisher.publish(version === 5 ? with5(message, number) : message)
      }),
    )
  }
  expect(publisher.acknowledged.size).toBe(messageCount)
  expect(await taking.metric('tunnelmq_queued_messages')).toBe(messageCount)
  await publisher.disconnect()

  if (isRestarted) {
    expect(await giving.stop()).toBe(0)
    await giving.start()
  } else giving.forgetPeak()
  const beforeBytes = giving.residentBytes()
  const { code, sessionPresent } = await receiver.client.connect(giving.port)
  expect({ code, sessionPresent }).toEqual({ code: 0, sessionPresent: true })
  await eventually(() => receiver.count >= messageCount, 60_000)
  await receiver.client.ping()
  const moreBytes = giving.peakResidentBytes() - beforeBytes
  expect(receiver.firstWrong).toBeUndefined()
  expect(faults5(receiver.client)).toEqual([])
  expect(receiver.count).toBe(messageCount)
  await eventually(async () => (await giving.metric('tunnelmq_queued_messages')) === 0)
  expect(moreBytes).toBeLessThan(allowedBytes)
  report(test, messageCount, `${receiver.count} delivered, +${Math.round(moreBytes / 1e6)} MB`)
}
