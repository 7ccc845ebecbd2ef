/** What was sent, what arrived where, and so what may be sent next and what went wrong. Pure. */

/** Everything that must be zero after a run. */
export interface Faults {
  /** Never came to a subscriber that should have had it. */
  lost: number
  /** Came again. */
  duplicated: number
  /** Came after a later message of the same publisher. [MQTT-4.6.0-5] */
  outOfOrder: number
  /** Came to a subscriber that did not ask for it, or was never sent. */
  misrouted: number
  /** QoS 1 and 2: the broker never finished the handshake with the publisher. */
  unacknowledged: number
  /** Connections that the broker ended. */
  disconnected: number
}

export type Topology = 'pairs' | 'fan-in' | 'fan-out'

export interface LedgerOptions {
  readonly topology: Topology
  readonly publisherCount: number
  readonly subscriberCount: number
  /** Messages of one publisher under way at once, counted until the last subscriber has them. */
  readonly windowCount: number
  /** Called when a message of this publisher has reached all its subscribers. */
  readonly onRoom: (publisher: number) => void
}

/**
 * Follows every message by publisher and sequence. A gap counts as passed at once, so that a lossy broker is still
 * measured to the end instead of stalling; if the missing message comes later it is out of order, not lost.
 */
export class Ledger {
  readonly #options: LedgerOptions
  readonly #copies: number
  /** The sequence that a subscriber expects next of a publisher. */
  readonly #next: Uint32Array
  /** Copies delivered of each message under way; sequence modulo window, for each publisher. */
  readonly #arrived: Uint32Array
  readonly #missing = new Map<number, Set<number>>()
  readonly #sent: Uint32Array
  readonly #settled: Uint32Array
  #receivedCount = 0
  #duplicated = 0
  #outOfOrder = 0
  #misrouted = 0

  constructor(options: LedgerOptions) {
    this.#options = options
    this.#copies = options.topology === 'fan-out' ? options.subscriberCount : 1
    this.#next = new Uint32Array(options.publisherCount * options.subscriberCount)
    this.#arrived = new Uint32Array(options.publisherCount * options.windowCount)
    this.#sent = new Uint32Array(options.publisherCount)
    this.#settled = new Uint32Array(options.publisherCount)
  }

  /** Messages received in all, by all subscribers, each once. */
  get receivedCount(): number {
    return this.#receivedCount
  }

  sentCount(publisher: number): number {
    return this.#sent[publisher] ?? 0
  }

  /** Messages of this publisher that some subscriber does not have yet. */
  underWayCount(publisher: number): number {
    return (this.#sent[publisher] ?? 0) - (this.#settled[publisher] ?? 0)
  }

  /** Whether every message sent has come, or was passed by a later one. */
  get isSettled(): boolean {
    return this.#sent.every((sent, publisher) => sent === this.#settled[publisher])
  }

  /** Takes the next `count` sequences of this publisher. */
  send(publisher: number, count: number): void {
    this.#sent[publisher] = (this.#sent[publisher] ?? 0) + count
  }

  receive(subscriber: number, publisher: number, sequence: number): void {
    if (!this.#isExpected(subscriber, publisher) || sequence >= (this.#sent[publisher] ?? 0)) {
      this.#misrouted++
      return
    }
    const cell = subscriber * this.#options.publisherCount + publisher
    const next = this.#next[cell] ?? 0
    if (sequence === next) {
      this.#next[cell] = next + 1
      this.#receivedCount++
      this.#arrive(publisher, sequence)
    } else if (sequence > next) this.#passGap(cell, publisher, sequence)
    else this.#receiveLate(cell, sequence)
  }

  /** To be asked when nothing more will come. */
  faults(): Pick<Faults, 'lost' | 'duplicated' | 'outOfOrder' | 'misrouted'> {
    let lost = 0
    for (const sequences of this.#missing.values()) lost += sequences.size
    const { publisherCount, subscriberCount } = this.#options
    for (let subscriber = 0; subscriber < subscriberCount; subscriber++)
      for (let publisher = 0; publisher < publisherCount; publisher++)
        if (this.#isExpected(subscriber, publisher))
          lost += (this.#sent[publisher] ?? 0) - (this.#next[subscriber * publisherCount + publisher] ?? 0)
    return { lost, duplicated: this.#duplicated, outOfOrder: this.#outOfOrder, misrouted: this.#misrouted }
  }

  #isExpected(subscriber: number, publisher: number): boolean {
    if (publisher >= this.#options.publisherCount) return false
    return this.#options.topology !== 'pairs' || subscriber === publisher
  }

  #passGap(cell: number, publisher: number, sequence: number): void {
    const missing = this.#missing.get(cell) ?? new Set<number>()
    this.#missing.set(cell, missing)
    for (let passed = this.#next[cell] ?? 0; passed < sequence; passed++) {
      missing.add(passed)
      this.#arrive(publisher, passed)
    }
    this.#next[cell] = sequence + 1
    this.#receivedCount++
    this.#arrive(publisher, sequence)
  }

  #receiveLate(cell: number, sequence: number): void {
    if (this.#missing.get(cell)?.delete(sequence) === true) {
      this.#outOfOrder++
      this.#receivedCount++
    } else this.#duplicated++
  }

  #arrive(publisher: number, sequence: number): void {
    if (this.#copies > 1) {
      const { windowCount } = this.#options
      const slot = publisher * windowCount + (sequence % windowCount)
      const copies = (this.#arrived[slot] ?? 0) + 1
      this.#arrived[slot] = copies === this.#copies ? 0 : copies
      if (copies < this.#copies) return
    }
    this.#settled[publisher] = (this.#settled[publisher] ?? 0) + 1
    this.#options.onRoom(publisher)
  }
}
