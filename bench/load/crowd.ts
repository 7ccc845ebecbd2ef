import { Connection } from './connection.ts'
import { type Faults, Ledger, type Topology } from './ledger.ts'
import type { Qos } from './packets.ts'
import type { Target } from './plan.ts'
import { Publisher } from './publisher.ts'
import { Subscriber } from './subscriber.ts'
import { TurnEnd } from './turn-end.ts'

const OPENED_AT_ONCE = 20
const KEEPALIVE_SECONDS = 60
const REASONS_KEPT = 3
const DRAIN_POLL_MS = 10
/** What has not come this long after the last arrival is lost. */
const DRAIN_QUIET_MS = 1_500
const DRAIN_DEADLINE_MS = 6_000

export interface CrowdOptions {
  readonly target: Target
  readonly topology: Topology
  readonly publisherCount: number
  readonly subscriberCount: number
  readonly qos: Qos
  readonly payloadBytes: number
  readonly clean: boolean
  readonly windowCount: number
  /** `window`: publishers send whenever they have room. `paced`: only when told to. */
  readonly sending: 'window' | 'paced'
  readonly onSentMs?: (sentMs: number) => void
}

/** All publishers and subscribers of a scenario, connected and subscribed, with the ledger between them. */
export class Crowd {
  readonly ledger: Ledger
  readonly publishers: readonly Publisher[]
  readonly disconnectReasons: string[] = []
  readonly #options: CrowdOptions
  readonly #turnEnd = new TurnEnd()
  readonly #subscribers: readonly Subscriber[]
  #disconnectedCount = 0

  constructor(options: CrowdOptions) {
    this.#options = options
    const { publisherCount, subscriberCount, windowCount, topology, qos, payloadBytes } = options
    const onRoom =
      options.sending === 'paced'
        ? (): void => {}
        : (publisher: number): void => {
            const ready = this.publishers[publisher]
            if (ready !== undefined) this.#turnEnd.add(ready)
          }
    this.ledger = new Ledger({ topology, publisherCount, subscriberCount, windowCount, onRoom })
    this.#subscribers = Array.from(
      { length: subscriberCount },
      (_, index) => new Subscriber(index, this.ledger, options.onSentMs),
    )
    this.publishers = Array.from({ length: publisherCount }, (_, index) => {
      const { version } = options.target
      const message = { topic: topicOf(topology, index), qos, retain: false, payloadBytes, version }
      return new Publisher({ index, ledger: this.ledger, windowCount, message, onRoom })
    })
  }

  /** Connects all, subscribers first, and lets the publishers go. */
  async open(): Promise<void> {
    const { topology, qos, target } = this.#options
    await inGroups(this.#subscribers, OPENED_AT_ONCE, async (subscriber, index) => {
      const connection = await this.#connect(
        `bench-sub-${index}`,
        subscriber,
        target.otherPort ?? target.port,
      )
      await connection.subscribe(filterOf(topology, index), qos)
    })
    const connections: Connection[] = []
    await inGroups(this.publishers, OPENED_AT_ONCE, async (publisher, index) => {
      connections[index] = await this.#connect(`bench-pub-${index}`, publisher, target.port)
    })
    for (const [index, publisher] of this.publishers.entries()) {
      const connection = connections[index]
      if (connection !== undefined) publisher.start(connection)
      if (this.#options.sending === 'window') this.#turnEnd.add(publisher)
    }
  }

  /** Stops sending, waits for what is under way, and says what went wrong. */
  async finish(): Promise<Faults> {
    for (const publisher of this.publishers) publisher.stop()
    const deadlineMs = performance.now() + DRAIN_DEADLINE_MS
    let lastCount = -1
    let quietSinceMs = performance.now()
    while (!this.#isDone() && performance.now() < deadlineMs) {
      if (this.ledger.receivedCount !== lastCount) quietSinceMs = performance.now()
      else if (performance.now() - quietSinceMs > DRAIN_QUIET_MS) break
      lastCount = this.ledger.receivedCount
      await pause(DRAIN_POLL_MS)
    }
    return {
      ...this.ledger.faults(),
      unacknowledged: this.#unacknowledgedCount(),
      disconnected: this.#disconnectedCount,
    }
  }

  #isDone(): boolean {
    return this.ledger.isSettled && this.#unacknowledgedCount() === 0
  }

  #unacknowledgedCount(): number {
    return this.publishers.reduce((sum, publisher) => sum + publisher.unacknowledgedCount, 0)
  }

  async #connect(clientId: string, role: Publisher | Subscriber, port: number): Promise<Connection> {
    const { target, clean } = this.#options
    const { username, password, version } = target
    return await Connection.open({
      port,
      connect: { clientId, clean, keepaliveSeconds: KEEPALIVE_SECONDS, username, password, version },
      role,
      turnEnd: this.#turnEnd,
      onDisconnect: (reason) => {
        this.#disconnectedCount++
        if (this.disconnectReasons.length < REASONS_KEPT)
          this.disconnectReasons.push(`${clientId}: ${reason}`)
      },
    })
  }
}

/** Works on `size` items at once until all are done. */
export async function inGroups<Item>(
  items: readonly Item[],
  size: number,
  work: (item: Item, index: number) => Promise<void>,
): Promise<void> {
  const queue = items.entries()
  const worker = async (): Promise<void> => {
    for (const [index, item] of queue) await work(item, index)
  }
  await Promise.all(Array.from({ length: Math.min(size, items.length) }, worker))
}

export async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms))
}

function topicOf(topology: Topology, publisher: number): string {
  return topology === 'pairs' ? `bench/pair/${publisher}` : `bench/${topology}/${publisher}`
}

// Fan-in has a topic for each device and one wildcard, as a collector has.
function filterOf(topology: Topology, subscriber: number): string {
  if (topology === 'pairs') return `bench/pair/${subscriber}`
  return topology === 'fan-in' ? 'bench/fan-in/+' : 'bench/fan-out/0'
}
