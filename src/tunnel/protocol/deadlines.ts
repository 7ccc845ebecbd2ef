/** What can be woken at a time. Both fields belong to {@link Deadlines}. */
export interface Timed {
  wakeMs: number
  heapIndex: number
}

/**
 * Who is to be woken when: a heap, so that neither setting a time nor asking for the next one looks at everybody.
 * A time is only ever brought forward; who is woken too early looks, and asks again.
 */
export class Deadlines<T extends Timed> {
  readonly #heap: T[] = []

  get nextMs(): number {
    return this.#heap[0]?.wakeMs ?? Infinity
  }

  /** Wakes `item` at `atMs`, or before. */
  wake(item: T, atMs: number): void {
    if (atMs >= item.wakeMs) return
    item.wakeMs = atMs
    if (item.heapIndex < 0) {
      item.heapIndex = this.#heap.length
      this.#heap.push(item)
    }
    this.#rise(item)
  }

  /** Takes out one whose time has come. */
  takeDue(nowMs: number): T | undefined {
    const first = this.#heap[0]
    if (first === undefined || first.wakeMs > nowMs) return undefined
    this.remove(first)
    return first
  }

  remove(item: T): void {
    const index = item.heapIndex
    if (index < 0) return
    item.heapIndex = -1
    item.wakeMs = Infinity
    const last = this.#heap.pop()!
    if (last === item) return
    this.#put(last, index)
    this.#rise(last)
    this.#sink(last)
  }

  #put(item: T, index: number): void {
    this.#heap[index] = item
    item.heapIndex = index
  }

  #rise(item: T): void {
    let index = item.heapIndex
    while (index > 0) {
      const above = (index - 1) >> 1
      const other = this.#heap[above]!
      if (other.wakeMs <= item.wakeMs) break
      this.#put(other, index)
      index = above
    }
    this.#put(item, index)
  }

  #sink(item: T): void {
    const heap = this.#heap
    let index = item.heapIndex
    for (;;) {
      let below = 2 * index + 1
      if (below + 1 < heap.length && heap[below + 1]!.wakeMs < heap[below]!.wakeMs) below++
      const other = heap[below]
      if (other === undefined || other.wakeMs >= item.wakeMs) break
      this.#put(other, index)
      index = below
    }
    this.#put(item, index)
  }
}
