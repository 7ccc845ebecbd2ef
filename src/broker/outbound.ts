import type { Transport } from '../listeners/transport.ts'
import {
  LARGE_PAYLOAD_BYTES,
  measure,
  writeHead,
  type PublishParts,
  type PublishWire,
} from './publish-wire.ts'

/** Smallest buffer that writes are gathered in. */
const PAGE_BYTES = 1_024
const MAX_PAGE_BYTES = 65_536
/** While the peer is slow, at most this much is handed over at a time, so that progress can be seen. */
const SLOW_WRITE_BYTES = 131_072

/** Outbounds that have something to write at the end of this turn of the event loop. */
let dirty: Outbound[] = []

function flushDirty(): void {
  const turn = dirty
  dirty = []
  for (const outbound of turn) outbound.flush()
}

/**
 * Gathers everything that is written to one connection in one turn of the event loop into one write.
 * A system call for each packet is what makes bare Aedes slow (bench/README.md).
 */
export class Outbound {
  readonly #transport: Transport
  #page: Buffer | undefined
  #pageLength = 0
  #chunks: Buffer[] = []
  #chunksBytes = 0
  #scheduled = false
  #waiting = false
  #closed = false
  /** When the transport last took everything it was given; meaningful while `waiting`. */
  lastProgressMs = 0

  constructor(transport: Transport) {
    this.#transport = transport
  }

  /** Bytes not yet taken by the operating system. */
  get pendingBytes(): number {
    return this.#chunksBytes + this.#pageLength + this.#transport.pendingBytes
  }

  /** The peer has not taken what it was last given. */
  get waiting(): boolean {
    return this.#waiting
  }

  /** Small writes are copied, so the caller may go on using its buffer. */
  write(bytes: Buffer): void {
    if (this.#closed) return
    const length = bytes.length
    if (length > MAX_PAGE_BYTES / 4) {
      this.#append(bytes)
      return
    }
    const page = this.#room(length)
    page.set(bytes, this.#pageLength)
    this.#pageLength += length
  }

  /**
   * One PUBLISH; `first` holds type and flags, `messageId` is 0 at QoS 0, `alias` is 0 where there is none. Returns its
   * bytes.
   */
  writePublish(wire: PublishWire, first: number, messageId: number, alias = 0): number {
    const length = wire.bytes.length
    const bytes = length + (wire.payload?.length ?? 0)
    if (this.#closed) return bytes
    const page = this.#room(length)
    const offset = this.#pageLength
    page.set(wire.bytes, offset)
    page[offset] = first
    if (messageId !== 0) {
      page[offset + wire.idAt] = messageId >> 8
      page[offset + wire.idAt + 1] = messageId & 0xff
    }
    if (alias !== 0) {
      page[offset + wire.aliasAt] = alias >> 8
      page[offset + wire.aliasAt + 1] = alias & 0xff
    }
    this.#pageLength = offset + length
    if (wire.payload !== undefined) this.#append(wire.payload)
    return bytes
  }

  /** As {@link writePublish}, encoded where it is gathered, as nobody else gets these bytes. Returns how many they are. */
  encodePublish(parts: PublishParts, first: number, messageId: number, alias = 0): number {
    const { payload } = parts
    const measures = measure(parts)
    const { headBytes } = measures
    const bytes = headBytes + payload.length
    if (this.#closed) return bytes
    const large = payload.length > LARGE_PAYLOAD_BYTES
    const page = this.#room(large ? headBytes : bytes)
    const offset = this.#pageLength
    writeHead(page, offset, parts, measures, first, messageId, alias)
    if (!large) page.set(payload, offset + headBytes)
    this.#pageLength = offset + (large ? headBytes : bytes)
    if (large) this.#append(payload)
    return bytes
  }

  /** Writes what has been gathered. Called at the end of the turn, and when the peer takes bytes again. */
  flush(): void {
    this.#scheduled = false
    if (this.#closed || this.#waiting) return
    this.#closePage()
    if (this.#chunks.length === 0) return
    const chunks = this.#chunks
    this.#chunks = []
    this.#chunksBytes = 0
    this.#hand(chunks)
  }

  /** The transport has taken everything: the next piece, if there is one. */
  drained(nowMs: number): void {
    this.#waiting = false
    this.lastProgressMs = nowMs
    this.#closePage()
    let bytes = 0
    let count = 0
    while (count < this.#chunks.length && bytes < SLOW_WRITE_BYTES) bytes += this.#chunks[count++]!.length
    if (count === 0) return
    this.#chunksBytes -= bytes
    this.#hand(this.#chunks.splice(0, count))
    if (this.#chunks.length > 0) this.#schedule()
  }

  /** Hands over what is left, whether or not the peer is slow: the connection ends behind it. */
  finish(): void {
    this.#waiting = false
    this.flush()
    this.#closed = true
  }

  #hand(chunks: Buffer[]): void {
    const transport = this.#transport
    if (chunks.length === 1) transport.write(chunks[0]!)
    else transport.writev(chunks)
    if (transport.pendingBytes > 0) {
      this.#waiting = true
      this.lastProgressMs = Date.now()
    }
  }

  #append(chunk: Buffer): void {
    this.#closePage()
    this.#chunks.push(chunk)
    this.#chunksBytes += chunk.length
    this.#schedule()
  }

  #closePage(): void {
    if (this.#pageLength === 0) return
    const page = this.#page!
    this.#chunks.push(page.subarray(0, this.#pageLength))
    this.#chunksBytes += this.#pageLength
    this.#page = undefined
    this.#pageLength = 0
  }

  #room(length: number): Buffer {
    let page = this.#page
    if (page === undefined) {
      page = this.#page = Buffer.allocUnsafe(Math.max(length, PAGE_BYTES))
      this.#schedule()
    } else if (this.#pageLength + length > page.length) {
      if (page.length >= MAX_PAGE_BYTES) {
        this.#closePage()
        page = this.#page = Buffer.allocUnsafe(Math.max(length, MAX_PAGE_BYTES))
      } else {
        const larger = Buffer.allocUnsafe(Math.max(page.length * 4, this.#pageLength + length))
        page.copy(larger, 0, 0, this.#pageLength)
        page = this.#page = larger
      }
    }
    return page
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    if (dirty.push(this) === 1) setImmediate(flushDirty)
  }
}
