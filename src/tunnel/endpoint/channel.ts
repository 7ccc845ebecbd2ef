import type { Stream } from '../protocol/streams.ts'
import type { ResetCode } from '../protocol/reset-code.ts'

/** Who has a stream, and is told what becomes of it. `closed` or `reset` is the last that it hears. */
export interface ChannelOwner {
  /** Client: the target is connected. */
  accepted(): void
  /** Say `consumed` when they are handed on. */
  data(bytes: Buffer): void
  /** The other end sends nothing more. */
  end(): void
  /** Write again, after `write` was answered with false. */
  room(): void
  closed(): void
  reset(code: ResetCode, reason: string, by: 'peer' | 'us'): void
}

/** Stands in until there is another. */
export const silentOwner: ChannelOwner = {
  accepted: () => undefined,
  data: () => undefined,
  end: () => undefined,
  room: () => undefined,
  closed: () => undefined,
  reset: () => undefined,
}

/** What a channel needs of its endpoint. */
export interface ChannelHost {
  now(): number
  /** Something changed: send what is due, in this turn of the event loop. */
  wake(): void
}

/**
 * A stream as its owner holds it. After the stream has ended all calls do nothing, so that an owner whose socket
 * has its own pace need not ask.
 */
export class Channel {
  readonly stream: Stream
  owner = silentOwner
  readonly #host: ChannelHost
  #finished = false
  #ended = false
  #isOver = false

  constructor(stream: Stream, host: ChannelHost) {
    this.stream = stream
    this.#host = host
    stream.attachment = this
  }

  get isOver(): boolean {
    return this.#isOver
  }

  /** Both directions have ended here; the acknowledgement of the other end may be missing. */
  get isSettling(): boolean {
    return this.#finished && this.#ended && !this.#isOver
  }

  accept(): void {
    if (this.#isOver) return
    this.stream.accept(this.#host.now())
    this.#host.wake()
  }

  /** Takes all of it; false: wait for `room`. */
  write(bytes: Buffer): boolean {
    if (this.#isOver || this.#finished || bytes.length === 0) return true
    this.stream.write(bytes, this.#host.now())
    this.#host.wake()
    return this.stream.hasRoom
  }

  finish(): void {
    if (this.#isOver || this.#finished) return
    this.#finished = true
    this.stream.finish(this.#host.now())
    this.#host.wake()
  }

  consumed(byteCount: number): void {
    if (this.#isOver) return
    this.stream.consumed(byteCount, this.#host.now())
    this.#host.wake()
  }

  /** Ends the stream; its owner is not told, as it is the one who asks. */
  reset(code: ResetCode, reason: string): void {
    if (this.#isOver) return
    this.#isOver = true
    this.stream.reset(code, reason, this.#host.now())
    this.#host.wake()
  }

  /** As {@link reset}, for others than the owner, who is told. */
  fail(code: ResetCode, reason: string): void {
    if (this.#isOver) return
    this.reset(code, reason)
    this.owner.reset(code, reason, 'us')
  }

  /** For the endpoint: the other end has sent its last. */
  noteEnd(): void {
    this.#ended = true
  }

  /** For the endpoint: the last event of the stream. */
  noteOver(): void {
    this.#isOver = true
  }
}
