/** Entries that are looked at in one turn of the event loop: about a millisecond. */
const PORTION = 1_000

/**
 * The first `count` of what `items` give, in the order of `compare`, without sorting all of it: of 100,000 sessions one
 * page is kept. Other work comes in between, in which the items may change: one that goes and comes again is there once.
 * `candidateOf` is called for each of them; undefined: it is none.
 */
export async function firstOf<Item, Candidate>(
  items: Iterable<Item>,
  count: number,
  compare: (a: Candidate, b: Candidate) => number,
  candidateOf: (item: Item) => Candidate | undefined,
): Promise<Candidate[]> {
  let kept: Candidate[] = []
  /** Of `count` that were kept; what comes behind it is not needed. */
  let last: Candidate | undefined
  let looked = 0
  for (const item of items) {
    if (++looked % PORTION === 0) await new Promise((resolve) => setImmediate(resolve))
    const candidate = candidateOf(item)
    if (candidate === undefined || (last !== undefined && compare(candidate, last) >= 0)) continue
    kept.push(candidate)
    // Sorted once for as many as are kept: a step costs about as much as in a heap, and less code.
    if (kept.length < 2 * count) continue
    kept = inOrder(kept, compare).slice(0, count)
    last = kept.length < count ? undefined : kept.at(-1)
  }
  return inOrder(kept, compare).slice(0, count)
}

/** Of equal ones the one that came last. */
function inOrder<Candidate>(
  kept: readonly Candidate[],
  compare: (a: Candidate, b: Candidate) => number,
): Candidate[] {
  const sorted = kept.toSorted(compare)
  return sorted.filter((one, index) => index + 1 === sorted.length || compare(one, sorted[index + 1]!) !== 0)
}
