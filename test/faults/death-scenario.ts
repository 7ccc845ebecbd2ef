import { expect } from 'vitest'
import { LoadClient, type Outgoing } from '../support/load-client.ts'
import { eventually, missing, outOfOrder, repeated, texts } from './ledger.ts'

export interface DeathOutcome {
  readonly acknowledgedCount: number
  readonly deliveredCount: number
}

/**
 * Sessions, subscription, three messages and a will, one step after another. When the broker has died in the middle,
 * the clients come back, to it or to another, and go on where they were.
 */
export class DeathScenario {
  readonly #root: string
  readonly #messages: readonly Outgoing[]
  readonly #publisher: LoadClient
  readonly #subscriber: LoadClient
  #subscribed = false
  #published: Promise<void> | undefined
  /** Wills of connections whose CONNACK came. */
  readonly #wills: string[] = []
  #mortals = 0

  /** Its topics and client ids begin with that. */
  constructor(root: string) {
    this.#root = root
    this.#messages = [
      { topic: `${root}/exact/a`, payload: 'p 1', qos: 2 },
      { topic: `${root}/least/a`, payload: 'p 2', qos: 1 },
      { topic: `${root}/exact/a`, payload: 'p 3', qos: 2, retain: true },
    ]
    this.#publisher = new LoadClient({ port: 0, clientId: `${root}-publisher`, clean: false })
    this.#subscriber = new LoadClient({ port: 0, clientId: `${root}-subscriber`, clean: false })
  }

  /** Resolves when everything that is due has come; does not when the broker dies. */
  async steps(port: number): Promise<void> {
    await this.#publisher.connect(port)
    const { sessionPresent } = await this.#subscriber.connect(port)
    if (this.#subscribed) expect(sessionPresent).toBe(true)
    else expect(await this.#subscriber.subscribe([`${this.#root}/#`, 2])).toEqual([2])
    this.#subscribed = true
    this.#published ??= this.#publishAll()
    await this.#published
    if (this.#wills.length === 0) await this.#loseMortal(port)
    const due = [...this.#messages.map(({ payload }) => payload), ...this.#wills]
    await eventually(() => missing(due, texts(this.#subscriber.received)).length === 0)
    await this.#subscriber.ping()
  }

  /** The broker has died: resolves when the clients have noticed. */
  async lost(): Promise<void> {
    await Promise.all([this.#publisher.closed, this.#subscriber.closed])
  }

  /** Nothing that was acknowledged is missing, and nothing at QoS 2 came twice. */
  check(): DeathOutcome {
    const { received } = this.#subscriber
    const acknowledged = [...this.#publisher.acknowledged, ...this.#wills]
    expect(missing(acknowledged, texts(received))).toEqual([])
    expect(this.#publisher.acknowledged.size).toBe(this.#messages.length)
    expect(repeated(received.filter(({ topic }) => topic.startsWith(`${this.#root}/exact/`)))).toEqual([])
    expect(outOfOrder(received)).toEqual([])
    return { acknowledgedCount: acknowledged.length, deliveredCount: new Set(texts(received)).size }
  }

  async #publishAll(): Promise<void> {
    for (const message of this.#messages) await this.#publisher.publish(message)
  }

  async #loseMortal(port: number): Promise<void> {
    const payload = `will ${++this.#mortals}`
    const will = { topic: `${this.#root}/exact/will`, payload, qos: 2 }
    const mortal = new LoadClient({ port, clientId: `${this.#root}-mortal`, will })
    await mortal.connect()
    this.#wills.push(payload)
    await mortal.vanish()
  }
}

/**
 * Runs the steps, with a few at once, for a death before and after each of so many batches, which must be more than
 * `moreThan` deaths: else the steps do less than they did.
 */
export async function visitDeaths(
  batchCount: number,
  moreThan: number,
  visit: (environment: Readonly<Record<string, string>>) => Promise<DeathOutcome & { died: boolean }>,
): Promise<DeathOutcome & { diedCount: number }> {
  const deaths = Array.from({ length: batchCount }, (_, i) => String(i + 1)).flatMap((batch) =>
    ['before', 'after'].map((moment) => ({ CRASH_AT_BATCH: batch, CRASH_MOMENT: moment })),
  )
  expect(deaths.length).toBeGreaterThan(moreThan)
  const sum = { acknowledgedCount: 0, deliveredCount: 0, diedCount: 0 }
  const worker = async (): Promise<void> => {
    for (let death = deaths.shift(); death !== undefined; death = deaths.shift()) {
      const { died, acknowledgedCount, deliveredCount } = await visit(death)
      sum.acknowledgedCount += acknowledgedCount
      sum.deliveredCount += deliveredCount
      if (died) sum.diedCount++
    }
  }
  const planned = deaths.length
  await Promise.all([worker(), worker()])
  // Batches of the end may fall together, so that the last numbers are not reached each time.
  expect(sum.diedCount).toBeGreaterThan(planned * 0.8)
  return sum
}
