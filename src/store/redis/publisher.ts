import type { Connection } from './connection.ts'

/** PUBLISH on a connection of its own, bounded by the bytes that Redis has not answered yet. What is lost, is lost. */
export class Publisher {
  readonly #connection: Connection
  readonly #maxBytes: number
  readonly #drainedListeners: (() => void)[] = []
  #pendingBytes = 0
  #isTellScheduled = false

  constructor(connection: Connection, maxBytes: number) {
    this.#connection = connection
    this.#maxBytes = maxBytes
  }

  get pendingBytes(): number {
    return this.#pendingBytes
  }

  onDrained(listener: () => void): void {
    this.#drainedListeners.push(listener)
  }

  /** False: not sent, as there is no connection, or too much is on its way. One message is always taken. */
  publish(channel: string, message: Buffer): boolean {
    const { byteLength } = message
    if (!this.#connection.isUp) return false
    if (this.#pendingBytes > 0 && this.#pendingBytes + byteLength > this.#maxBytes) return false
    this.#pendingBytes += byteLength
    const taken = (): void => {
      this.#pendingBytes -= byteLength
      this.#tell()
    }
    this.#connection.send('publish', [channel, message]).then(taken, taken)
    return true
  }

  /** Once for all the answers that one read has brought. */
  #tell(): void {
    if (this.#isTellScheduled) return
    this.#isTellScheduled = true
    setImmediate(() => {
      this.#isTellScheduled = false
      for (const listener of this.#drainedListeners) listener()
    })
  }
}
