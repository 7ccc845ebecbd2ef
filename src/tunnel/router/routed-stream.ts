import { randomBytes } from 'node:crypto'
import {
  FrameFlag,
  FrameType,
  HEADER_BYTES,
  INITIAL_CREDIT_BYTES,
  type FrameView,
} from '../protocol/frame.ts'
import type { Direction } from '../protocol/names.ts'
import type { ResetCode } from '../protocol/reset-code.ts'
import type { TunnelEnd } from './end.ts'
import type { Lane } from './seats.ts'

/**
 * What the sender may send when it has come back to a broker that was restarted, or to another one, until its peer's
 * credit is known: windows are not larger (docs/tunnel-protocol.md 10).
 */
const RESUMED_CREDIT_BYTES = 8_388_608

/** What an end is told that speaks of a stream which was reset while it was away. */
export interface Verdict {
  readonly code: ResetCode
  readonly reason: string
}

/** One direction of a stream, as its frames have shown it. Positions are offsets in that direction. */
export class Flow {
  /** Behind the highest byte (or FIN) that has passed. */
  sentTo = 0
  /** The receiver's credit. */
  limit: number
  /** The credit that the sender has been told: less than `limit` where a rate is kept to. */
  granted: number
  /** By the receiver. */
  acked = 0
  /** Behind the FIN; -1: not known. */
  endAt = -1
  /** New payload bytes that have passed. */
  bytes = 0
  /** Credit that the sender may have from elsewhere: a broker that was restarted, another pod; 0: none beside `granted`. */
  tolerated = 0
  /** The broker's tokens decide on `granted`. */
  readonly #shaped: boolean

  /** `credit` is what the sender has at once. */
  constructor(credit: number, shaped: boolean) {
    this.limit = this.granted = credit
    this.#shaped = shaped
  }

  /** The receiver's credit. */
  learn(limit: number): void {
    if (limit > this.limit) this.limit = limit
    if (this.#shaped || limit === 0) return
    this.granted = this.limit
    this.tolerated = 0
  }

  get ended(): boolean {
    return this.endAt >= 0 && this.acked >= this.endAt
  }
}

export interface StreamClient {
  readonly username: string | undefined
  readonly address: string
  readonly port: number
}

/**
 * A stream on its way through the broker.
 *
 *   OPEN ─▶ opening ──ACCEPT──▶ open ──both FINs acknowledged──▶ closed
 *   RESUME of the client after a restart of the broker ─▶ open
 *   RESUME of the agent after a restart of the broker ─▶ provisional (its client may know it, and has not said so)
 */
export class RoutedStream {
  readonly lane: Lane
  readonly id: number
  readonly up: Flow
  readonly down: Flow
  phase: 'opening' | 'open' | 'closed' | 'provisional'
  /** Of its OPEN; undefined when the broker was restarted since. */
  token: string | undefined
  /** The connection whose right to it has been asked for. */
  authorized: TunnelEnd | undefined
  /** Who has opened it: what the audit says. */
  client: StreamClient
  readonly startedAtMs: number
  /** DATA has passed since the last look. */
  active = true
  activeAtMs: number
  /** When it is to be forgotten; meaningful while closed or provisional. */
  forgetAtMs = 0
  /** Set when it was reset while an end was away. */
  verdict: Verdict | undefined
  /** Made when somebody looks. */
  #handle: string | undefined

  constructor(
    lane: Lane,
    id: number,
    begin: {
      phase: RoutedStream['phase']
      token?: string
      client: StreamClient
      nowMs: number
      up: Flow
      down: Flow
    },
  ) {
    this.lane = lane
    this.id = id
    this.phase = begin.phase
    this.token = begin.token
    this.client = begin.client
    this.startedAtMs = this.activeAtMs = begin.nowMs
    this.up = begin.up
    this.down = begin.down
  }

  /** Its name for people who look at it and may end it: tells nothing, and is not to be guessed. */
  get handle(): string {
    return (this.#handle ??= randomBytes(12).toString('base64url'))
  }

  /** Its agent has been there for it, and may know it. */
  get isKnownToAgent(): boolean {
    return this.token !== undefined || this.up.limit > 0
  }

  /**
   * Follows a frame that `frameFault` has passed.
   * @returns what the frame does against the protocol, or undefined.
   */
  follow(view: FrameView, frameBytes: number, direction: Direction): string | undefined {
    const out = direction === 'up' ? this.up : this.down
    const back = direction === 'up' ? this.down : this.up
    const { type, flags, offset } = view
    if (type === FrameType.data) {
      const end = offset + frameBytes - HEADER_BYTES
      // 5.3: of a stream that was resumed, no frame has said so here.
      const initial = direction === 'up' ? INITIAL_CREDIT_BYTES : 0
      const credit = Math.max(out.granted, out.tolerated, initial)
      if (end > credit) return `DATA up to ${end}, credit up to ${credit}`
      const behind = end + (flags & FrameFlag.fin)
      const isEnd = (flags & FrameFlag.fin) !== 0
      if (out.endAt >= 0 && (isEnd ? behind !== out.endAt : end >= out.endAt)) return 'DATA behind the end'
      if (isEnd) out.endAt = behind
      if (behind > out.sentTo) {
        if (end > out.sentTo) out.bytes += end - Math.max(offset, out.sentTo)
        out.sentTo = behind
      }
      this.active = true
    } else if (flags & FrameFlag.fin && out.endAt < 0) out.endAt = offset
    if (view.acked > back.acked) back.acked = view.acked
    back.learn(view.limit)
    if (this.phase === 'opening' && direction === 'down' && type !== FrameType.ping) this.phase = 'open'
    return undefined
  }

  get ended(): boolean {
    return this.up.ended && this.down.ended
  }

  /** Of a stream that its client has not spoken of: a frame of its agent shows where it ends. */
  learnEnd({ type, flags, offset }: FrameView, frameBytes: number): void {
    if ((flags & FrameFlag.fin) === 0 || this.down.endAt >= 0) return
    this.down.endAt = type === FrameType.data ? offset + frameBytes - HEADER_BYTES + 1 : offset
  }

  /** By this ACK of its client it has ended: there is nothing to go on with (8.4). */
  isOverAt({ flags, acked }: FrameView): boolean {
    return (flags & FrameFlag.fin) !== 0 && this.down.endAt >= 0 && acked >= this.down.endAt
  }
}

/** The flows of a stream that is resumed after a restart of the broker; `view` is its client's RESUME. */
export function resumedFlows(view: FrameView, shaped: boolean): { up: Flow; down: Flow } {
  const up = new Flow(0, shaped)
  up.tolerated = view.offset + RESUMED_CREDIT_BYTES
  up.sentTo = view.offset
  if (view.flags & FrameFlag.fin) up.endAt = view.offset
  const down = new Flow(0, shaped)
  down.learn(view.limit)
  if (shaped) down.tolerated = view.limit
  down.sentTo = down.acked = view.acked
  return { up, down }
}

/** RESUME of a client that may have been at another pod: both ends can have been given credit that is not known here. */
export function tolerateResumed({ up, down }: RoutedStream, view: Pick<FrameView, 'offset' | 'limit'>): void {
  up.tolerated = Math.max(up.tolerated, view.offset + RESUMED_CREDIT_BYTES)
  down.tolerated = Math.max(down.tolerated, view.limit)
}
