import type { Wire } from './wire.ts'

/**
 * Gathers what is written to a connection into few system calls, without letting a keystroke wait:
 *
 *   idle ──write──▶ soon ──end of this callback: flush──▶ turn ──end of this turn: flush──▶ idle
 *
 * What is first written in a turn of the event loop leaves as soon as the callback that wrote it is over;
 * what other callbacks of the same turn write leaves together, at its end. Beside 20 busy sockets a ping took
 * 200 us like this, as with a write for each callback, and 370 us when all waited for the end of the turn;
 * in bulk it was the fastest of the three.
 */
export class Outbound {
  readonly #wire: Wire
  #chunks: Buffer[] = []
  #gatheredBytes = 0
  #phase: 'idle' | 'soon' | 'turn' = 'idle'

  constructor(wire: Wire) {
    this.#wire = wire
  }

  /** Bytes that the operating system has not yet taken. */
  get pendingBytes(): number {
    return this.#gatheredBytes + this.#wire.pendingBytes
  }

  write(chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.#gatheredBytes += chunk.length
    if (this.#phase !== 'idle') return
    this.#phase = 'soon'
    process.nextTick(this.#callbackOver)
  }

  flush(): void {
    if (this.#chunks.length === 0) return
    const chunks = this.#chunks
    this.#chunks = []
    this.#gatheredBytes = 0
    this.#wire.write(chunks)
  }

  readonly #callbackOver = (): void => {
    this.#phase = 'turn'
    setImmediate(this.#turnOver)
    this.flush()
  }

  readonly #turnOver = (): void => {
    this.#phase = 'idle'
    this.flush()
  }
}
