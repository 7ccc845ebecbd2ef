import { fileURLToPath } from 'node:url'
import { afterEach, expect, it } from 'vitest'
import { type BrokerProcess, createBrokerProcess } from '../support/broker-process.ts'
import { LoadClient, type Outgoing } from '../support/load-client.ts'
import { eventually, missing, outOfOrder, repeated, report, texts } from './ledger.ts'

const preload = new URL('../support/crash-at-batch.mjs', import.meta.url)
const messages: readonly Outgoing[] = [
  { topic: 'exact/a', payload: 'p 1', qos: 2 },
  { topic: 'least/a', payload: 'p 2', qos: 1 },
  { topic: 'exact/a', payload: 'p 3', qos: 2, retain: true },
]

interface Outcome {
  readonly died: boolean
  readonly commits: number
  readonly acknowledgedCount: number
  readonly deliveredCount: number
}

/**
 * Sessions, subscription, three messages and a will, one step after another; a broker that dies is started again,
 * and its clients come back and go on where they were.
 */
class Scenario {
  readonly broker: BrokerProcess
  readonly #publisher: LoadClient
  readonly #subscriber: LoadClient
  #subscribed = false
  #published: Promise<void> | undefined
  /** Wills of connections whose CONNACK came. */
  readonly #wills: string[] = []
  #mortals = 0

  constructor(broker: BrokerProcess) {
    this.broker = broker
    this.#publisher = new LoadClient({ port: 0, clientId: 'publisher', clean: false })
    this.#subscriber = new LoadClient({ port: 0, clientId: 'subscriber', clean: false })
  }

  async run(environment: Readonly<Record<string, string>>): Promise<Outcome> {
    let died = false
    try {
      await this.#live(environment)
    } catch (error) {
      // Its sockets end a little before it does.
      await this.broker.exitedWithin(5_000)
      if (this.broker.isRunning) throw error
      died = true
      await Promise.all([this.#publisher.closed, this.#subscriber.closed])
      await this.#live({})
    }
    const commits = await this.broker.metric('tunnelmq_store_commits_total')
    return { died, commits, ...this.#check() }
  }

  /** Rejects when the broker dies. */
  async #live(environment: Readonly<Record<string, string>>): Promise<void> {
    await this.broker.start(environment)
    const death = this.broker.exited.then(() => Promise.reject(new Error('the broker died')))
    await Promise.race([this.#steps(), death])
  }

  async #steps(): Promise<void> {
    const { port } = this.broker
    await this.#publisher.connect(port)
    const { sessionPresent } = await this.#subscriber.connect(port)
    if (this.#subscribed) expect(sessionPresent).toBe(true)
    else expect(await this.#subscriber.subscribe(['#', 2])).toEqual([2])
    this.#subscribed = true
    this.#published ??= this.#publishAll()
    await this.#published
    if (this.#wills.length === 0) await this.#loseMortal(port)
    const due = [...messages.map(({ payload }) => payload), ...this.#wills]
    await eventually(() => missing(due, texts(this.#subscriber.received)).length === 0)
    await eventually(async () => (await this.broker.metric('tunnelmq_queued_messages')) === 0)
    await this.#subscriber.ping()
  }

  async #publishAll(): Promise<void> {
    for (const message of messages) await this.#publisher.publish(message)
  }

  async #loseMortal(port: number): Promise<void> {
    const payload = `will ${++this.#mortals}`
    const will = { topic: 'exact/will', payload, qos: 2 }
    const mortal = new LoadClient({ port, clientId: 'mortal', will })
    await mortal.connect()
    this.#wills.push(payload)
    await mortal.vanish()
  }

  #check(): Pick<Outcome, 'acknowledgedCount' | 'deliveredCount'> {
    const { received } = this.#subscriber
    const acknowledged = [...this.#publisher.acknowledged, ...this.#wills]
    expect(missing(acknowledged, texts(received))).toEqual([])
    expect(this.#publisher.acknowledged.size).toBe(messages.length)
    expect(repeated(received.filter(({ topic }) => topic.startsWith('exact/')))).toEqual([])
    expect(outOfOrder(received)).toEqual([])
    return { acknowledgedCount: acknowledged.length, deliveredCount: new Set(texts(received)).size }
  }
}

async function runScenario(environment: Readonly<Record<string, string>>): Promise<Outcome> {
  const broker = await createBrokerProcess({
    nodeArguments: ['--import', fileURLToPath(preload)],
    config: { session: { willGraceMs: 50 } },
  })
  brokers.add(broker)
  try {
    return await new Scenario(broker).run(environment)
  } finally {
    brokers.delete(broker)
    await broker.remove()
  }
}

const brokers = new Set<BrokerProcess>()

/** Those that are still there when the test has failed. */
afterEach(() => Promise.all([...brokers].map((broker) => broker.remove())))

it('loses and doubles nothing when the process dies before or after any of its writes', async () => {
  const whole = await runScenario({})
  const deaths = Array.from({ length: whole.commits }, (_, i) => String(i + 1)).flatMap((batch) =>
    ['before', 'after'].map((moment) => ({ CRASH_AT_BATCH: batch, CRASH_MOMENT: moment })),
  )
  expect(deaths.length).toBeGreaterThan(30)
  let acknowledgedCount = 0
  let deliveredCount = 0
  let diedCount = 0
  const waiting = [...deaths]
  const worker = async (): Promise<void> => {
    for (let death = waiting.shift(); death !== undefined; death = waiting.shift()) {
      const outcome = await runScenario(death)
      acknowledgedCount += outcome.acknowledgedCount
      deliveredCount += outcome.deliveredCount
      if (outcome.died) diedCount++
    }
  }
  await Promise.all([worker(), worker()])
  // Commits of the end may fall together, so that the last numbers are not reached each time.
  expect(diedCount).toBeGreaterThan(deaths.length * 0.8)
  report('4', acknowledgedCount, `${deliveredCount} delivered, after ${diedCount} deaths between steps`)
}, 150_000)
