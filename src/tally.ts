/** So many more of `key`, or fewer. A count of zero is not kept: names come from outside, and there is no end of them. */
export function tally<Key>(counts: Map<Key, number>, key: Key, change: 1 | -1): void {
  const count = (counts.get(key) ?? 0) + change
  if (count === 0) counts.delete(key)
  else counts.set(key, count)
}
