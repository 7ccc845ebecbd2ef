import { Duplex, type TransformCallback } from 'node:stream'
import type { Socket } from 'node:net'

/**
 * A client's socket with one request on it, as the service is to see it: the head that we have written, so many bytes of
 * its body, and nothing else of what the client sends. Bytes behind the request end it: they are of another one, and its
 * client has not been told that this connection is closed.
 */
export class OneRequest extends Duplex {
  readonly #socket: Socket
  #head: Buffer | undefined
  #bodyBytes: number
  #isFlowing = false

  constructor(socket: Socket, head: Buffer, bodyBytes: number) {
    super({ allowHalfOpen: true })
    this.#socket = socket
    this.#head = head
    this.#bodyBytes = bodyBytes
    socket.on('data', (chunk: Buffer) => this.#take(chunk))
    socket.once('end', () => this.#ended())
    socket.on('error', (error) => this.destroy(error))
    socket.once('close', () => this.destroy())
    this.pause()
  }

  override _read(): void {
    if (this.#head !== undefined) {
      const head = this.#head
      this.#head = undefined
      this.push(head)
    }
    if (!this.#isFlowing) this.#socket.resume()
    this.#isFlowing = true
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#socket.write(chunk, (error) => done(error))
  }

  override _final(done: TransformCallback): void {
    this.#socket.end(() => done())
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#socket.destroy()
    done(error)
  }

  #take(chunk: Buffer): void {
    if (chunk.length > this.#bodyBytes) {
      this.destroy(new Error('bytes behind the request'))
      return
    }
    this.#bodyBytes -= chunk.length
    if (this.push(chunk)) return
    this.#isFlowing = false
    this.#socket.pause()
  }

  /** A body that is cut short is for the service to see. */
  #ended(): void {
    this.push(null)
  }
}
