import type { TraceBatch } from '../../admin/api/resources.ts'
import type { Connection } from '../connection.ts'
import { clip, type PacketFacts } from './packet-facts.ts'

export interface TraceLimits {
  /** `admin.traceKept` */
  readonly keptCount: number
  /** `admin.tracePacketsPerSecond` */
  readonly packetsPerSecond: number
}

/** What one trace looks at. */
export interface TraceScope {
  readonly mountpoint: string
  /** Client id; else `filter` is set. */
  readonly client: string | undefined
  /** Topics as clients name them, without mountpoint. */
  readonly filter: string | undefined
  readonly payload: boolean
}

/** Packets in one answer, at most: it is to fit into one of another pod. */
const BATCH_COUNT = 500
/** Reads of one trace that wait at once; more are answered at once. */
const MAX_WAITING = 4

interface Kept {
  readonly seq: number
  readonly atMs: number
  readonly client: string
  readonly direction: 'in' | 'out'
  readonly facts: PacketFacts
}

/**
 * One trace: the last packets, for a reader that comes again and again. All that match are numbered, also those that are
 * not kept: so the reader learns how many it has missed, also when it asks twice for the same.
 */
export class Trace {
  readonly scope: TraceScope
  /** Of a client that is traced: those that are its, now. */
  readonly connections = new Set<Connection>()
  readonly #limits: TraceLimits
  readonly #pod: () => string
  readonly #now: () => number
  /** A ring: `#first` is the oldest. */
  readonly #kept: Kept[] = []
  #first = 0
  #seq = 0
  #secondSinceMs = 0
  #secondCount = 0
  #waiting: (() => void)[] = []
  #readAtMs: number
  #isOpen = true

  constructor(scope: TraceScope, limits: TraceLimits, context: { pod: () => string; now: () => number }) {
    this.scope = scope
    this.#limits = limits
    this.#pod = context.pod
    this.#now = context.now
    this.#readAtMs = context.now()
  }

  /** One more packet: is it to be kept? Asked before anything of it is decoded. */
  admit(): boolean {
    this.#seq++
    const nowMs = this.#now()
    if (nowMs - this.#secondSinceMs >= 1_000) {
      this.#secondSinceMs = nowMs
      this.#secondCount = 0
    }
    return this.#secondCount++ < this.#limits.packetsPerSecond
  }

  /** The packet that was admitted last. */
  keep(client: string, direction: 'in' | 'out', facts: PacketFacts): void {
    const kept = { seq: this.#seq, atMs: Date.now(), client: clip(client), direction, facts }
    if (this.#kept.length < this.#limits.keptCount) this.#kept.push(kept)
    else {
      this.#kept[this.#first] = kept
      this.#first = (this.#first + 1) % this.#kept.length
    }
    this.#wake()
  }

  async read(after: number, waitMs: number): Promise<TraceBatch> {
    this.#readAtMs = this.#now()
    if (this.#seq <= after && this.#isOpen && waitMs > 0 && this.#waiting.length < MAX_WAITING)
      await this.#untilPacket(waitMs)
    this.#readAtMs = this.#now()
    return this.#batch(after)
  }

  /** Nobody has read for this long. */
  idleMs(nowMs: number): number {
    return this.#waiting.length > 0 ? 0 : nowMs - this.#readAtMs
  }

  end(): void {
    this.#isOpen = false
    this.connections.clear()
    this.#wake()
  }

  #batch(after: number): TraceBatch {
    const packets: TraceBatch['packets'] = []
    let next = this.#seq
    for (let index = 0; index < this.#kept.length; index++) {
      const { seq, atMs, client, direction, facts } = this.#kept[(this.#first + index) % this.#kept.length]!
      if (seq <= after) continue
      if (packets.length === BATCH_COUNT) {
        next = seq - 1
        break
      }
      packets.push({ at: new Date(atMs).toISOString(), pod: this.#pod(), client, direction, ...facts })
    }
    // A number that was never given is one of another trace, or made up: it begins anew.
    const from = after > next ? 0 : after
    return { packets, next, missed: Math.max(0, next - from - packets.length), isOpen: this.#isOpen }
  }

  #untilPacket(waitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer)
        this.#waiting = this.#waiting.filter((one) => one !== done)
        resolve()
      }
      const timer = setTimeout(done, waitMs)
      this.#waiting.push(done)
    })
  }

  /** At the end of the turn, so that the packets of one read of a socket go in one answer. */
  #wake(): void {
    if (this.#waiting.length === 0) return
    const waiting = this.#waiting
    this.#waiting = []
    setImmediate(() => {
      for (const done of waiting) done()
    })
  }
}
