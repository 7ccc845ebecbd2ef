import type { FrameHeader } from './frame.ts'
import type { Route } from './names.ts'
import type { OpenPayload, OpenPeer, OpenSource } from './open-payload.ts'
import type { ResetCode } from './reset-code.ts'

/** What bounds the streams of one end. Times are those of docs/tunnel-protocol.md, section 10. */
export interface StreamsLimits {
  /** Most bytes of one DATA. Default 32,768. */
  readonly chunkBytes: number
  /** First receive window of a stream. Default 1 MiB. */
  readonly windowBytes: number
  /** The window grows up to this. Default 8 MiB. Memory of a stream that is not read <= this. */
  readonly maxWindowBytes: number
  /** Receive windows of all streams together; near it windows stop to grow, and new ones are small. Default 64 MiB. */
  readonly totalWindowBytes: number
  /** Bytes written by the program that wait to be sent and acknowledged, a stream; above it `hasRoom` is false. Default 1 MiB, growing with the peer's window up to maxWindowBytes. */
  readonly sendBufferBytes: number
  /** Streams at once. More are refused with `limit`. Default 10,000. */
  readonly maxStreams: number
  readonly openTimeoutMs: number
  readonly resumeTimeoutMs: number
}

/** What happened; taken with {@link Streams.takeEvents}. Order within a stream is kept. */
export type StreamEvent =
  /** Agent: a client asks. Answer with `accept` or `reset`. */
  | { readonly kind: 'opened'; readonly stream: Stream }
  /** Client: the target is connected. Before any `data`. */
  | { readonly kind: 'accepted'; readonly stream: Stream }
  /** Bytes in order; say `consumed` when they are handed on. The buffer may be kept. */
  | { readonly kind: 'data'; readonly stream: Stream; readonly bytes: Buffer }
  /** The peer has sent FIN, and nothing follows. */
  | { readonly kind: 'end'; readonly stream: Stream }
  /** `hasRoom` is true again after it was false. */
  | { readonly kind: 'room'; readonly stream: Stream }
  /** Both directions have ended, and all was acknowledged. Last event of the stream. */
  | { readonly kind: 'closed'; readonly stream: Stream }
  /** It ended otherwise. Last event of the stream. `by`: who said so. */
  | {
      readonly kind: 'reset'
      readonly stream: Stream
      readonly code: ResetCode
      readonly reason: string
      readonly by: 'peer' | 'us'
    }

/** One stream, as the program around the machine sees it. Nothing here sends: `transmit` does. */
export interface Stream {
  readonly route: Route
  readonly id: number
  readonly phase: 'opening' | 'open' | 'closed'
  /** Agent: what the client named, and what the broker has vouched for (docs/tunnel-protocol.md 5.6). */
  readonly source: OpenSource | undefined
  readonly peer: OpenPeer | undefined
  readonly openedAtMs: number
  /** Payload bytes sent and acknowledged, received in order. */
  readonly sentBytes: number
  readonly receivedBytes: number
  /** Less is waiting than `sendBufferBytes`. */
  readonly hasRoom: boolean
  /** For the program's own use: its socket. */
  attachment: unknown
  /** Agent: the target is connected. */
  accept(nowMs: number): void
  /** Queues bytes, always all of them; stop when `hasRoom` is false. The buffer must not be changed afterwards. Not after `finish`. */
  write(bytes: Buffer, nowMs: number): void
  /** FIN behind what was written. */
  finish(nowMs: number): void
  /** The program has handed on so many bytes of `data`: credit for the peer. */
  consumed(byteCount: number, nowMs: number): void
  /** Ends it at once, and tells the peer. Emits no event: the caller knows. */
  reset(code: ResetCode, reason: string, nowMs: number): void
}

/**
 * Takes one frame to the link. `header` is valid during the call only; `payload` may be kept and is not changed.
 * False: not taken, stop; call `transmit` again when there is room.
 */
export type SendFrame = (route: Route, header: FrameHeader, payload: Buffer | undefined) => boolean

/**
 * All streams of one end of a link, as a machine without input or output of its own: docs/tunnel-protocol.md.
 *
 * After each call that changes something: handle `takeEvents()`, call `transmit` while the link has room,
 * and set a timer for `nextDeadlineMs`, upon which `advance` is to be called.
 * `nowMs` is monotonic milliseconds (fractions allowed), and never falls.
 */
export interface Streams {
  readonly role: 'client' | 'agent'
  /** Open and opening ones. */
  readonly count: number
  /** Since the start. */
  readonly counters: {
    readonly opened: number
    readonly closed: number
    readonly reset: number
    readonly resentBytes: number
    readonly droppedFrames: number
  }
  all(): Iterable<Stream>
  /** Client. `open.token` must be fresh (random). Throws RangeError at maxStreams. */
  open(route: Route, open: OpenPayload, nowMs: number): Stream
  /** A message that came on `route`. Never throws: what is wrong with it is answered (4.5). */
  receive(route: Route, frame: Buffer, nowMs: number): void
  /** The connection stands and is subscribed: RESUME and OPEN go out (8.1). */
  linkUp(nowMs: number): void
  linkDown(nowMs: number): void
  /** Hands over frames in the order of the scheduler: control first, then DATA, one chunk of each stream in turn. */
  transmit(nowMs: number, send: SendFrame): void
  /** When `advance` has something to do; Infinity: nothing. */
  readonly nextDeadlineMs: number
  advance(nowMs: number): void
  takeEvents(): readonly StreamEvent[]
}
