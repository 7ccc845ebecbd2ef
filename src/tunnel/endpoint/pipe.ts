import type { Duplex } from 'node:stream'
import { ResetCode } from '../protocol/reset-code.ts'
import type { Channel, ChannelOwner } from './channel.ts'
import { hiddenReset, resetSocket } from './socket-end.ts'

/** How a stream ended, for a log line. */
export type PipeEnd =
  | { readonly kind: 'closed' }
  | { readonly kind: 'reset'; readonly code: ResetCode; readonly reason: string; readonly by: 'peer' | 'us' }

/** A socket with more than this waiting in it is slow: keystrokes need not be handed over one by one. */
const SLOW_BYTES = 65_536
/** Pieces up to this size are put together for it: as an object each, bytes would take 200 times their size. */
const SMALL_BYTES = 4_096
/** What they are put together in. */
const PAGE_BYTES = 16_384

export interface PipeOptions {
  /** Client: the target is connected. */
  accepted?(): void
  /** Once. */
  ended(end: PipeEnd): void
  /** What the error of the socket means to the other end; without it a TCP reset. */
  faultOf?(error: NodeJS.ErrnoException): { readonly code: ResetCode; readonly reason: string } | undefined
}

/**
 * A socket and a stream, joined: TCP as if there were no tunnel between. Half-close goes both ways, a reset is passed on
 * as a reset, and a reader that does not read stops its own stream: bytes that wait in the socket give no credit.
 * The socket must allow half-open; it may still be connecting.
 */
export class Pipe implements ChannelOwner {
  readonly #channel: Channel
  readonly #socket: Duplex
  readonly #options: PipeOptions
  #unconsumedBytes = 0
  #isOver = false
  /** Written bytes wait for {@link #release}, which a callback that is due will call. */
  #isGathering = false
  #isTurnBegun = false
  /** Small pieces for a slow socket, until some of what is before them was taken. */
  #page: Buffer | undefined
  #pageBytes = 0

  constructor(channel: Channel, socket: Duplex, options: PipeOptions) {
    this.#channel = channel
    this.#socket = socket
    this.#options = options
    socket.on('data', (bytes: Buffer) => {
      if (!channel.write(bytes)) socket.pause()
    })
    socket.once('end', () => this.#ended())
    socket.on('error', (error) => this.#broken(error))
    socket.once('close', () => this.#gone())
    // It may have gone while somebody looked at who it is, or ended: that is told also while it is paused.
    if (socket.destroyed) this.#gone()
    else if (socket.readableEnded) this.#ended()
  }

  accepted(): void {
    this.#options.accepted?.()
  }

  data(bytes: Buffer): void {
    if (this.#socket.destroyed) return
    const isSlow = this.#unconsumedBytes > SLOW_BYTES
    this.#unconsumedBytes += bytes.length
    if (isSlow && bytes.length <= SMALL_BYTES) {
      this.#addToPage(bytes)
      return
    }
    this.#writePage()
    this.#write(bytes)
  }

  #write(bytes: Buffer): void {
    this.#gather()
    this.#socket.write(bytes, this.#taken)
  }

  #addToPage(bytes: Buffer): void {
    if (this.#pageBytes + bytes.length > PAGE_BYTES) this.#writePage()
    this.#page ??= Buffer.allocUnsafeSlow(PAGE_BYTES)
    this.#pageBytes += bytes.copy(this.#page, this.#pageBytes)
  }

  #writePage(): void {
    const page = this.#page?.subarray(0, this.#pageBytes)
    this.#page = undefined
    this.#pageBytes = 0
    if (page !== undefined && !this.#socket.destroyed) this.#write(page)
  }

  // A system call for each frame would be half of all work. As on the link, what comes first in a turn of the event
  // loop leaves when the frames behind it have been looked at, the rest at the end of the turn.
  #gather(): void {
    if (this.#isGathering) return
    this.#isGathering = true
    this.#socket.cork()
    if (this.#isTurnBegun) return
    this.#isTurnBegun = true
    process.nextTick(this.#firstOver)
  }

  readonly #firstOver = (): void => {
    this.#release()
    setImmediate(this.#turnOver)
  }

  readonly #turnOver = (): void => {
    this.#isTurnBegun = false
    if (this.#isGathering) this.#release()
  }

  #release(): void {
    this.#isGathering = false
    this.#socket.uncork()
    this.#taken()
  }

  end(): void {
    this.#writePage()
    this.#socket.end()
  }

  room(): void {
    this.#socket.resume()
  }

  // The socket may have bytes left to hand to its reader: that is between the two of them now.
  closed(): void {
    this.#over({ kind: 'closed' })
  }

  reset(code: ResetCode, reason: string, by: 'peer' | 'us'): void {
    this.#over({ kind: 'reset', code, reason, by })
    // As without a tunnel: what has come before the reset is there before it.
    if (this.#isGathering) this.#release()
    resetSocket(this.#socket)
  }

  /** Ends stream and socket from this side. */
  abort(code: ResetCode, reason: string): void {
    if (this.#isOver) return
    this.#channel.reset(code, reason)
    this.reset(code, reason, 'us')
  }

  // One function for all writes, also called behind each: most of them the kernel takes at once.
  readonly #taken = (): void => {
    const { writableLength } = this.#socket
    const waitingBytes = writableLength + this.#pageBytes
    const byteCount = this.#unconsumedBytes - waitingBytes
    if (byteCount > 0) {
      this.#unconsumedBytes = waitingBytes
      this.#channel.consumed(byteCount)
    }
    if (writableLength <= SLOW_BYTES / 2) this.#writePage()
  }

  #ended(): void {
    const error = hiddenReset(this.#socket)
    if (error === undefined) this.#channel.finish()
    else this.#broken(error)
  }

  #broken(error: NodeJS.ErrnoException): void {
    const { code, reason } = this.#options.faultOf?.(error) ?? {
      code: ResetCode.reset,
      reason: `the TCP connection was reset (${error.code ?? error.message})`,
    }
    this.abort(code, reason)
  }

  #gone(): void {
    if (this.#socket.readableEnded && this.#socket.writableFinished) return
    this.abort(ResetCode.reset, 'the TCP connection was closed')
  }

  #over(end: PipeEnd): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#options.ended(end)
  }
}
