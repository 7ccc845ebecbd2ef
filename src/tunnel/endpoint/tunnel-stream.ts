import { Duplex } from 'node:stream'
import { ResetCode } from '../protocol/reset-code.ts'
import { TunnelError } from '../tunnel-error.ts'
import type { Channel, ChannelOwner } from './channel.ts'

/** So many pieces that wait are put together: as an object each, bytes would take 200 times their size. */
const MAX_PIECES = 256

/**
 * A stream of a tunnel as a Duplex of Node. `end()` closes one direction only; `destroy()` before both have ended
 * resets the stream; one that is reset by the other end is destroyed with a {@link TunnelError}.
 */
export class TunnelStream extends Duplex {
  /** As in `pi7/ssh`. */
  readonly to: string
  readonly #channel: Channel
  /** Bytes that nobody has asked for yet; at most the window of the stream. */
  readonly #waiting: Buffer[] = []
  /** Pieces at its head that were put together. */
  #joinedCount = 0
  #isWanted = false
  #hasEnded = false
  #isNew = true
  #written: (() => void) | undefined

  /** For the client; programs get theirs from `openStream`. */
  constructor(channel: Channel, to: string) {
    super({ allowHalfOpen: true, autoDestroy: true })
    this.to = to
    this.#channel = channel
    const owner: ChannelOwner = {
      accepted: () => undefined,
      data: (bytes) => {
        this.#waiting.push(bytes)
        if (this.#waiting.length - this.#joinedCount >= MAX_PIECES) this.#join()
        this.#handOn()
      },
      end: () => {
        this.#hasEnded = true
        this.#handOn()
      },
      room: () => this.#roomAgain(),
      closed: () => undefined,
      reset: (code, reason, by) => {
        // A program that closes its client knows.
        const isOwnEnd = by === 'us' && code === ResetCode.shutdown
        const error = isOwnEnd ? undefined : new TunnelError(code, `${to}: ${reason}`)
        // Whoever awaits it cannot listen yet, and an 'error' without a listener ends the process.
        if (this.#isNew) setImmediate(() => this.destroy(error))
        else this.destroy(error)
      },
    }
    channel.owner = owner
    setImmediate(() => (this.#isNew = false))
  }

  /** Payload bytes sent and acknowledged, and received. */
  get bytes(): { readonly sent: number; readonly received: number } {
    return { sent: this.#channel.stream.sentBytes, received: this.#channel.stream.receivedBytes }
  }

  override _read(): void {
    this.#isWanted = true
    this.#handOn()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    // A copy: the program may use its buffer again, and we may have to send it again.
    if (this.#channel.write(Buffer.from(chunk))) done()
    else this.#written = done
  }

  override _writev(
    chunks: { chunk: Buffer; encoding: BufferEncoding }[],
    done: (error?: Error | null) => void,
  ): void {
    const all = Buffer.concat(chunks.map(({ chunk }) => chunk))
    if (this.#channel.write(all)) done()
    else this.#written = done
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#channel.finish()
    done()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#waiting.length = 0
    if (!this.readableEnded || !this.writableFinished)
      this.#channel.reset(ResetCode.reset, 'the program has destroyed the stream')
    this.#written?.()
    this.#written = undefined
    done(error)
  }

  // Credit for what the reader has asked for only: `push` would take it all.
  #handOn(): void {
    while (this.#isWanted) {
      const bytes = this.#waiting.shift()
      if (bytes === undefined) break
      if (this.#joinedCount > 0) this.#joinedCount--
      this.#isWanted = this.push(bytes)
      this.#channel.consumed(bytes.length)
    }
    if (this.#hasEnded && this.#waiting.length === 0) {
      this.#hasEnded = false
      this.push(null)
    }
  }

  #join(): void {
    const pieces = this.#waiting.splice(this.#joinedCount)
    this.#waiting.push(Buffer.concat(pieces))
    this.#joinedCount++
  }

  #roomAgain(): void {
    const done = this.#written
    this.#written = undefined
    done?.()
  }
}
