import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { hiddenReset, resetSocket } from '../../tunnel/endpoint/socket-end.ts'

/**
 * A client's socket with one request on it, as the service is to see it behind the head that we have written: so many
 * bytes of its body, and nothing else of what the client sends. Bytes behind the request end it: they are of another one,
 * with credentials, and its client has not seen that this connection is for one.
 */
export class OneRequest extends Duplex {
  readonly #socket: Socket
  #bodyBytes: number

  /** `first`: of the body, read already. */
  constructor(socket: Socket, bodyBytes: number, first: Buffer) {
    super({ allowHalfOpen: true })
    this.#socket = socket
    this.#bodyBytes = bodyBytes
    socket.on('data', (chunk: Buffer) => this.#take(chunk))
    // A body that is cut short is for the service to see.
    socket.once('end', () => this.#end())
    socket.once('close', () => this.destroy())
    if (first.length > 0) this.#take(first)
    if (socket.readableEnded) this.#end()
  }

  override _read(): void {
    this.#socket.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#socket.write(chunk, done)
  }

  override _final(done: () => void): void {
    this.#socket.end(done)
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    // An answer that is cut short must not look like one that has ended.
    if (this.writableFinished) this.#socket.destroy()
    else resetSocket(this.#socket)
    done(error)
  }

  #end(): void {
    if (hiddenReset(this.#socket) === undefined) this.push(null)
    else this.destroy()
  }

  #take(chunk: Buffer): void {
    if (chunk.length > this.#bodyBytes) {
      this.destroy()
      return
    }
    this.#bodyBytes -= chunk.length
    if (!this.push(chunk)) this.#socket.pause()
  }
}
