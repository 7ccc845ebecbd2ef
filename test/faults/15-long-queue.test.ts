import { afterEach, expect, it } from 'vitest'
import { type BrokerProcess, startBrokerProcess } from '../support/broker-process.ts'
import { LoadClient } from '../support/load-client.ts'
import { eventually, report } from './ledger.ts'

const allowedBytes = 100 * 1024 * 1024
const filler = 'x'.repeat(90)

let broker: BrokerProcess

afterEach(() => broker.remove())

/** A session that takes what comes in order, and keeps nothing of it. */
class Receiver {
  readonly client: LoadClient
  count = 0
  firstWrong: string | undefined

  constructor(port: number) {
    this.client = new LoadClient({
      port,
      clientId: 'receiver',
      clean: false,
      onDelivery: ({ payload }) => this.#take(payload.toString()),
    })
  }

  #take(text: string): void {
    if (text !== `${this.count} ${filler}`) this.firstWrong ??= `${text} in place of ${this.count}`
    this.count++
  }
}

it.each([50_000, 200_000])(
  'delivers %i queued messages after one reconnect, all, in order, in bounded memory',
  async (messageCount) => {
    broker = await startBrokerProcess({ config: { session: { queueMaxMessages: 300_000 } } })
    const receiver = new Receiver(broker.port)
    await receiver.client.connect()
    await receiver.client.subscribe(['queue', 1])
    await receiver.client.disconnect()
    const publisher = new LoadClient({ port: broker.port, clientId: 'publisher', window: 1_000 })
    await publisher.connect()
    for (let from = 0; from < messageCount; from += 5_000) {
      const numbers = Array.from({ length: 5_000 }, (_, i) => from + i)
      await Promise.all(
        numbers.map((number) =>
          publisher.publish({ topic: 'queue', payload: `${number} ${filler}`, qos: 1 }),
        ),
      )
    }
    expect(publisher.acknowledged.size).toBe(messageCount)
    expect(await broker.metric('tunnelmq_queued_messages')).toBe(messageCount)
    await publisher.disconnect()

    // A process of its own for what is measured: what publishing has left in memory is not in the figure.
    expect(await broker.stop()).toBe(0)
    await broker.start()
    const beforeBytes = broker.residentBytes()
    expect(await receiver.client.connect()).toEqual({ code: 0, sessionPresent: true })
    await eventually(() => receiver.count >= messageCount, 60_000)
    await receiver.client.ping()
    const moreBytes = broker.peakResidentBytes() - beforeBytes
    expect(receiver.firstWrong).toBeUndefined()
    expect(receiver.count).toBe(messageCount)
    await eventually(async () => (await broker.metric('tunnelmq_queued_messages')) === 0)
    expect(moreBytes).toBeLessThan(allowedBytes)
    report(
      `15 (${messageCount})`,
      messageCount,
      `${receiver.count} delivered, +${Math.round(moreBytes / 1e6)} MB`,
    )
  },
  120_000,
)
