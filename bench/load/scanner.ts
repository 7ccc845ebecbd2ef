/** Where one MQTT packet ends and the next begins, in whatever pieces the bytes arrive. Pure. */

/** The fixed header is at most one byte of type and four of length. MQTT 3.1.1, 2.2.3 */
const MAX_FIXED_HEADER_BYTES = 5

/** Told of each whole packet. The bytes are only lent: they are overwritten after the call. */
export interface PacketSink {
  packet(header: number, bytes: Buffer, bodyStart: number, bodyEnd: number): void
}

/** Cuts a byte stream into packets without copying, except for a packet that spans two chunks. */
export class PacketScanner {
  readonly #sink: PacketSink
  #held: Buffer = Buffer.alloc(0)
  #heldBytes = 0

  constructor(sink: PacketSink) {
    this.#sink = sink
  }

  /** Takes the first `length` bytes of `chunk`. Throws when a remaining length is longer than four bytes. */
  push(chunk: Buffer, length: number): void {
    let at = this.#heldBytes > 0 ? this.#complete(chunk, length) : 0
    const sink = this.#sink
    while (at < length) {
      let bodyAt = at + 1
      let bodyBytes = 0
      let factor = 1
      let digit = 0x80
      while (bodyAt < length && digit >= 0x80) {
        digit = chunk[bodyAt++] ?? 0
        bodyBytes += (digit & 0x7f) * factor
        factor *= 128
      }
      if (bodyAt - at > MAX_FIXED_HEADER_BYTES) throw new Error('remaining length longer than four bytes')
      const end = bodyAt + bodyBytes
      if (digit >= 0x80 || end > length) return this.#hold(chunk, at, length)
      sink.packet(chunk[at] ?? 0, chunk, bodyAt, end)
      at = end
    }
  }

  /** Adds to the packet that was held, byte by byte in its header, then in one piece. Returns where it ended. */
  #complete(chunk: Buffer, length: number): number {
    let at = 0
    while (at < length) {
      const bodyAt = bodyOffset(this.#held, this.#heldBytes)
      const wholeBytes = bodyAt === 0 ? this.#heldBytes + 1 : bodyAt + bodyLength(this.#held, bodyAt)
      const take = Math.min(wholeBytes - this.#heldBytes, length - at)
      this.#append(chunk, at, at + take, wholeBytes)
      at += take
      const startsAt = bodyOffset(this.#held, this.#heldBytes)
      if (startsAt > 0 && this.#heldBytes === startsAt + bodyLength(this.#held, startsAt)) {
        const end = this.#heldBytes
        this.#heldBytes = 0
        this.#sink.packet(this.#held[0] ?? 0, this.#held, startsAt, end)
        return at
      }
    }
    return at
  }

  #hold(chunk: Buffer, start: number, end: number): void {
    this.#append(chunk, start, end, end - start)
  }

  #append(chunk: Buffer, start: number, end: number, roomBytes: number): void {
    if (this.#held.length < Math.max(roomBytes, this.#heldBytes + end - start)) {
      const larger = Buffer.allocUnsafe(Math.max(roomBytes * 2, 256))
      this.#held.copy(larger, 0, 0, this.#heldBytes)
      this.#held = larger
    }
    chunk.copy(this.#held, this.#heldBytes, start, end)
    this.#heldBytes += end - start
  }
}

/** Where the body begins, or 0 while the remaining length is incomplete. */
function bodyOffset(bytes: Buffer, length: number): number {
  for (let at = 1; at < length; at++) {
    if (at >= MAX_FIXED_HEADER_BYTES) throw new Error('remaining length longer than four bytes')
    if ((bytes[at] ?? 0) < 0x80) return at + 1
  }
  return 0
}

function bodyLength(bytes: Buffer, bodyAt: number): number {
  let length = 0
  for (let at = bodyAt - 1; at >= 1; at--) length = length * 128 + ((bytes[at] ?? 0) & 0x7f)
  return length
}
