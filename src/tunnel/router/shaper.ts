import type { Direction } from '../protocol/names.ts'
import type { Flow, RoutedStream } from './routed-stream.ts'
import type { Seat } from './seats.ts'

/** Bytes a second; 0: no limit. */
export interface Rates {
  readonly perStream: number
  readonly perClient: number
  readonly perAgent: number
}

/** What may pass in this part of a second goes at once. */
const BURST_MS = 250
/** Less credit than this is not worth a frame. */
const LEAST_GRANT_BYTES = 1_024
/** What may be owed: credit that was given before, the first of new streams, and bytes that are sent again. */
const MOST_DEBT = { bytes: 1_048_576, ms: 10_000 } as const

/** Bytes that may pass. It may fall below zero, as credit that was given before is kept: then nothing is given. */
export class Bucket {
  readonly #bytesPerMs: number
  readonly #burstBytes: number
  #tokens: number
  #filledAtMs: number

  constructor(bytesPerSecond: number, nowMs: number) {
    this.#bytesPerMs = bytesPerSecond / 1_000
    // Twice: what a sender has left of its credit must not keep the next from being worth a frame.
    this.#burstBytes = Math.max(2 * LEAST_GRANT_BYTES, this.#bytesPerMs * BURST_MS)
    this.#tokens = this.#burstBytes
    this.#filledAtMs = nowMs
  }

  available(nowMs: number): number {
    const filled = this.#tokens + (nowMs - this.#filledAtMs) * this.#bytesPerMs
    this.#tokens = Math.min(this.#burstBytes, filled)
    this.#filledAtMs = nowMs
    return this.#tokens
  }

  spend(bytes: number): void {
    this.#tokens -= bytes
  }

  /** So much is owed that whoever keeps to its credit has no part in it. */
  isOverdrawn(nowMs: number): boolean {
    return this.available(nowMs) < -Math.max(MOST_DEBT.bytes, this.#bytesPerMs * MOST_DEBT.ms)
  }
}

interface Shaped {
  readonly stream: RoutedStream
  readonly direction: Direction
  readonly flow: Flow
  readonly buckets: readonly Bucket[]
}

/**
 * Holds streams to a rate, without a queue and without loss: the sender is told of less credit than its peer has
 * given, and of more as time goes by (docs/tunnel-protocol.md 9.6).
 */
export class Shaper {
  /** Some rate is limited. */
  readonly isOn: boolean
  readonly #rates: Rates
  readonly #shaped = new Map<Flow, Shaped>()
  /** Those that have been given less than their peers allow, in turn. */
  readonly #waiting = new Set<Shaped>()

  constructor(rates: Rates) {
    this.#rates = rates
    this.isOn = rates.perStream > 0 || rates.perClient > 0 || rates.perAgent > 0
  }

  get count(): number {
    return this.#shaped.size
  }

  get waitingCount(): number {
    return this.#waiting.size
  }

  begin(stream: RoutedStream, nowMs: number): void {
    if (!this.isOn) return
    for (const direction of ['up', 'down'] as const) {
      const flow = stream[direction]
      this.#shaped.set(flow, { stream, direction, flow, buckets: this.#bucketsOf(stream, direction, nowMs) })
      this.grant(flow, nowMs)
    }
  }

  end(stream: RoutedStream): void {
    for (const flow of [stream.up, stream.down]) {
      const shaped = this.#shaped.get(flow)
      if (shaped === undefined) continue
      this.#shaped.delete(flow)
      this.#waiting.delete(shaped)
    }
  }

  /** DATA passes, new or sent again. False: it must not, or there would be no rate. */
  spend(flow: Flow, bytes: number, nowMs: number): boolean {
    const shaped = this.#shaped.get(flow)
    if (shaped === undefined) return true
    if (shaped.buckets.some((bucket) => bucket.isOverdrawn(nowMs))) return false
    for (const bucket of shaped.buckets) bucket.spend(bytes)
    return true
  }

  /** Gives what may be given now. True: `granted` has grown. */
  grant(flow: Flow, nowMs: number): boolean {
    const shaped = this.#shaped.get(flow)
    if (shaped === undefined) return false
    const available = Math.min(...shaped.buckets.map((bucket) => bucket.available(nowMs)))
    const granted = Math.min(flow.limit, flow.sentTo + Math.floor(available))
    const grown = granted >= Math.min(flow.limit, flow.granted + LEAST_GRANT_BYTES) && granted > flow.granted
    if (grown) flow.granted = granted
    if (flow.granted < flow.limit) this.#waiting.add(shaped)
    else this.#waiting.delete(shaped)
    return grown
  }

  /** Time has passed: tells of each flow that has been given more, the one that has waited longest first. */
  tick(nowMs: number, granted: (stream: RoutedStream, direction: Direction) => void): void {
    for (const shaped of [...this.#waiting]) {
      if (!this.grant(shaped.flow, nowMs)) continue
      granted(shaped.stream, shaped.direction)
      if (this.#waiting.delete(shaped)) this.#waiting.add(shaped)
    }
  }

  #bucketsOf(stream: RoutedStream, direction: Direction, nowMs: number): Bucket[] {
    const { perStream, perClient, perAgent } = this.#rates
    const { client, agent } = stream.lane
    const buckets: Bucket[] = []
    if (perStream > 0) buckets.push(new Bucket(perStream, nowMs))
    if (perClient > 0) buckets.push(shared(client, direction, perClient, nowMs))
    if (perAgent > 0) buckets.push(shared(agent, direction, perAgent, nowMs))
    return buckets
  }
}

function shared(seat: Seat, direction: Direction, bytesPerSecond: number, nowMs: number): Bucket {
  let bucket = seat.buckets.get(direction)
  if (bucket === undefined) seat.buckets.set(direction, (bucket = new Bucket(bytesPerSecond, nowMs)))
  return bucket
}
