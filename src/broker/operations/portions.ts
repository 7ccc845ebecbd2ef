/** Entries that are looked at in one turn of the event loop: about a millisecond. */
const PORTION = 1_000

/**
 * The first `count` of what `items` gives, in the order of `compare`, without sorting all of it: of 100,000 sessions one
 * page is kept. Other work comes in between, in which the items may change. `visit` is called for each of them and says
 * which are candidates.
 */
export async function firstOf<Item>(
  items: Iterable<Item>,
  count: number,
  compare: (a: Item, b: Item) => number,
  visit: (item: Item) => boolean,
): Promise<Item[]> {
  let kept: Item[] = []
  /** Of `count` that were kept; what comes behind it is not needed. */
  let last: Item | undefined
  let looked = 0
  for (const item of items) {
    if (++looked % PORTION === 0) await new Promise((resolve) => setImmediate(resolve))
    if (!visit(item) || (last !== undefined && compare(item, last) >= 0)) continue
    kept.push(item)
    // Sorted once for as many as are kept: a step costs about as much as in a heap, and less code.
    if (kept.length < 2 * count) continue
    kept = kept.toSorted(compare).slice(0, count)
    last = kept.at(-1)
  }
  return kept.toSorted(compare).slice(0, count)
}
