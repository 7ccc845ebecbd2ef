import { EventEmitter } from 'node:events'

/** The connection, as its engine stream needs it. */
export interface StreamOwner {
  readonly phase: 'connect' | 'connecting' | 'open' | 'closed'
  /** Aedes has dealt with the packet that it was fed. */
  engineIdle(): void
  /** Bytes for the peer. */
  engineWrite(bytes: Buffer): void
  /** Aedes is done with the connection. */
  engineDestroyed(error: Error | undefined): void
}

/**
 * What Aedes takes for its socket: it is fed one control packet at a time, and its next `read()` says that it
 * has dealt with it. Made when a CONNECT has come, so that silent connections cost nothing of it.
 */
export class EngineStream extends EventEmitter {
  /** Aedes writes its client here. */
  client: unknown
  readonly readable = true
  readonly #owner: StreamOwner
  #packet: Buffer | undefined

  constructor(owner: StreamOwner) {
    super()
    this.#owner = owner
    // A stream without an `error` listener would end the process.
    this.on('error', ignore)
  }

  /** The connection that this is the stream of. */
  get owner(): StreamOwner {
    return this.#owner
  }

  feed(packet: Buffer): void {
    this.#packet = packet
    this.emit('readable')
  }

  get writable(): boolean {
    return !this.destroyed
  }

  get destroyed(): boolean {
    return this.#owner.phase === 'closed'
  }

  read(): Buffer | null {
    const packet = this.#packet
    this.#packet = undefined
    if (packet !== undefined) return packet
    this.#owner.engineIdle()
    return null
  }

  /** Always accepted: the bound is kept where messages are delivered. */
  write(chunk: Buffer | string, encoding?: BufferEncoding): boolean {
    this.#owner.engineWrite(typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk)
    return true
  }

  destroy(error?: Error): this {
    this.#owner.engineDestroyed(error)
    return this
  }
}

function ignore(): void {}
