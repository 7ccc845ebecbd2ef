/** Pieces that are kept early. With more, what comes early is dropped, and is sent again. */
const MAX_PIECES = 4_096
/** A piece may keep a buffer alive that is so many times larger than itself; otherwise it is copied. */
const MAX_WASTE = 4

interface Piece {
  offset: number
  bytes: Buffer
}

/** What was received: how far in order, and what came early. docs/tunnel-protocol.md 6.2 */
export class ReceiveBuffer {
  /** Sorted, and none overlaps another. */
  readonly #pieces: Piece[] = []
  #next = 0
  #end = Infinity

  /** All bytes before this one were received. */
  get nextOffset(): number {
    return this.#next
  }

  /** What is told to the sender: FIN takes one offset. */
  get ackedOffset(): number {
    return this.isComplete ? this.#end + 1 : this.#next
  }

  /** FIN was received, and every byte before it. */
  get isComplete(): boolean {
    return this.#next === this.#end
  }

  /** The first offset that was received behind a gap (7.4). */
  get gapOffset(): number | undefined {
    const first = this.#pieces[0]?.offset ?? this.#end
    return first > this.#next && first !== Infinity ? first : undefined
  }

  /** Why a frame breaks 6.2, or undefined. */
  fault(offset: number, byteCount: number, fin: boolean, limit: number): string | undefined {
    const end = offset + byteCount
    if (byteCount > 0 && end > limit) return `bytes up to ${end}, beyond the credit of ${limit}`
    if (end > this.#end) return `bytes up to ${end}, beyond the end at ${this.#end}`
    if (!fin || end === this.#end) return undefined
    if (this.#end !== Infinity) return `an end at ${end}, and another at ${this.#end}`
    const last = this.#pieces.at(-1)
    const received = last === undefined ? this.#next : Math.max(this.#next, last.offset + last.bytes.length)
    return end < received ? `an end at ${end}, before what was sent` : undefined
  }

  finish(offset: number): void {
    this.#end = offset
  }

  /** Takes bytes, and gives back what may be handed on at once. What is early is kept; ask {@link takeKept}. */
  receive(offset: number, bytes: Buffer): Buffer | undefined {
    const end = offset + bytes.length
    if (end <= this.#next) return undefined
    if (offset > this.#next) {
      this.keep(offset, bytes)
      return undefined
    }
    const fresh = offset === this.#next ? bytes : bytes.subarray(this.#next - offset)
    this.#next = end
    return fresh
  }

  /** What follows in order, of that which came early. */
  takeKept(): Buffer | undefined {
    for (;;) {
      const first = this.#pieces[0]
      if (first === undefined || first.offset > this.#next) return undefined
      this.#pieces.shift()
      const end = first.offset + first.bytes.length
      if (end <= this.#next) continue
      const bytes = first.bytes.subarray(this.#next - first.offset)
      this.#next = end
      return bytes
    }
  }

  /** Keeps bytes for later, also those that are next. False: some had to be dropped. */
  keep(offset: number, bytes: Buffer): boolean {
    const end = offset + bytes.length
    let from = Math.max(offset, this.#next)
    let index = this.#placeOf(from)
    const before = this.#pieces[index - 1]
    if (before !== undefined) from = Math.max(from, before.offset + before.bytes.length)
    while (from < end) {
      const behind = this.#pieces[index]
      const to = Math.min(end, behind?.offset ?? end)
      if (to > from) {
        if (this.#pieces.length >= MAX_PIECES) return false
        this.#pieces.splice(index++, 0, {
          offset: from,
          bytes: own(bytes.subarray(from - offset, to - offset)),
        })
      }
      from = behind === undefined ? end : Math.max(to, behind.offset + behind.bytes.length)
      index++
    }
    return true
  }

  clear(): void {
    this.#pieces.length = 0
  }

  /** How many pieces begin before `offset`, or there. */
  #placeOf(offset: number): number {
    let low = 0
    let high = this.#pieces.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#pieces[middle]!.offset <= offset) low = middle + 1
      else high = middle
    }
    return low
  }
}

function own(bytes: Buffer): Buffer {
  return bytes.buffer.byteLength > MAX_WASTE * bytes.length ? Buffer.from(bytes) : bytes
}
