/** Writes up to this size are put together, when more than one waits: an object and a frame each would cost more. */
const SMALL_BYTES = 4_096
/** What they are put together in. */
const PAGE_BYTES = 16_384
/** Places of acknowledged segments that are kept before the list is moved up. */
const SLACK_COUNT = 256

const GONE = Buffer.alloc(0)

/**
 * What was written and is not acknowledged. Buffers are kept as they came, not copied;
 * only small ones in a row are, into pages.
 */
export class SendBuffer {
  /** A segment may be a page with room at its end; where the next one starts says how much of it counts. */
  #segments: Buffer[] = []
  #starts: number[] = []
  #head = 0
  /** The last segment is a page of ours, with so many bytes used. */
  #pageUsed = -1
  #wasSmall = false
  #acked = 0
  #end = 0

  /** The first byte that is kept. */
  get ackedOffset(): number {
    return this.#acked
  }

  /** Behind the last byte. */
  get endOffset(): number {
    return this.#end
  }

  get byteCount(): number {
    return this.#end - this.#acked
  }

  write(bytes: Buffer): void {
    if (bytes.length === 0) return
    const isSmall = bytes.length <= SMALL_BYTES
    if (isSmall && this.#pageUsed >= 0 && this.#pageUsed + bytes.length <= PAGE_BYTES) {
      this.#pageUsed += bytes.copy(this.#segments.at(-1)!, this.#pageUsed)
    } else if (isSmall && this.#wasSmall && this.byteCount > 0) {
      const page = Buffer.allocUnsafeSlow(PAGE_BYTES)
      this.#append(page)
      this.#pageUsed = bytes.copy(page)
    } else {
      this.#append(bytes)
      this.#pageUsed = -1
    }
    this.#wasSmall = isSmall
    this.#end += bytes.length
  }

  /** Bytes from `offset` on, at most `maxBytes`, out of one segment; `offset` lies within what is kept. */
  read(offset: number, maxBytes: number): Buffer {
    const index = this.#find(offset)
    const segment = this.#segments[index]!
    const from = offset - this.#starts[index]!
    const size = Math.min(this.#endOf(index) - offset, maxBytes)
    return from === 0 && size === segment.length ? segment : segment.subarray(from, from + size)
  }

  /** The bytes before `offset` are not needed any more. */
  acknowledge(offset: number): void {
    if (offset <= this.#acked) return
    this.#acked = offset
    while (this.#head < this.#segments.length && this.#endOf(this.#head) <= offset) {
      this.#segments[this.#head++] = GONE
    }
    if (this.#head === this.#segments.length) this.#empty()
    else if (this.#head >= SLACK_COUNT && this.#head * 2 >= this.#segments.length) this.#moveUp()
  }

  /** Forgets everything. */
  clear(): void {
    this.#acked = this.#end
    this.#empty()
  }

  #append(segment: Buffer): void {
    this.#segments.push(segment)
    this.#starts.push(this.#end)
  }

  #endOf(index: number): number {
    return this.#starts[index + 1] ?? this.#end
  }

  /** The segment that holds `offset`. */
  #find(offset: number): number {
    let low = this.#head
    let high = this.#segments.length - 1
    if (offset >= this.#starts[high]!) return high
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (this.#starts[middle]! <= offset) low = middle
      else high = middle - 1
    }
    return low
  }

  #empty(): void {
    this.#segments.length = 0
    this.#starts.length = 0
    this.#head = 0
    this.#pageUsed = -1
    this.#wasSmall = false
  }

  #moveUp(): void {
    this.#segments.splice(0, this.#head)
    this.#starts.splice(0, this.#head)
    this.#head = 0
  }
}
