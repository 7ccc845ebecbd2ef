import { hasWildcard } from './topics.ts'

/** Topics whose matches are remembered until a subscription changes. */
const MAX_REMEMBERED_TOPICS = 10_000
/** All of them together: 10,000 topics may have 10,000 subscribers each. */
const MAX_REMEMBERED_MATCHES = 200_000
const NONE: readonly never[] = []

interface Level<S> {
  readonly children: Map<string, Level<S>>
  /** Filters that end here. */
  here: S[]
  /** Filters that end with `#` below here. */
  below: S[]
}

/**
 * Which subscriptions match a topic: a Map for filters without wildcards, a trie for the others.
 * Generic in what a subscription is; a subscriber may be there under several filters.
 */
export class Router<S> {
  readonly #maxRememberedTopics: number
  readonly #exact = new Map<string, S[]>()
  readonly #root: Level<S> = createLevel()
  #wildcards = 0
  #size = 0
  /** What `match` found, for as long as nothing changes. */
  #remembered = new Map<string, readonly S[]>()
  #rememberedMatches = 0

  constructor(maxRememberedTopics = MAX_REMEMBERED_TOPICS) {
    this.#maxRememberedTopics = maxRememberedTopics
  }

  get size(): number {
    return this.#size
  }

  add(filter: string, subscription: S): void {
    this.#changed()
    this.#size++
    if (!hasWildcard(filter)) {
      const list = this.#exact.get(filter)
      if (list === undefined) this.#exact.set(filter, [subscription])
      else list.push(subscription)
      return
    }
    this.#wildcards++
    const levels = filter.split('/')
    const below = levels.at(-1) === '#'
    if (below) levels.pop()
    let level = this.#root
    for (const name of levels) {
      let next = level.children.get(name)
      if (next === undefined) level.children.set(name, (next = createLevel()))
      level = next
    }
    ;(below ? level.below : level.here).push(subscription)
  }

  /** True when it was there. */
  remove(filter: string, subscription: S): boolean {
    const removed = hasWildcard(filter)
      ? this.#removeWildcard(filter, subscription)
      : this.#removeExact(filter, subscription)
    if (!removed) return false
    this.#changed()
    this.#size--
    return true
  }

  /** Every subscription whose filter matches. Do not keep or change the array. */
  match(topic: string): readonly S[] {
    if (this.#wildcards === 0) return this.#exact.get(topic) ?? NONE
    const known = this.#remembered.get(topic)
    if (known !== undefined) return known
    const found: S[] = []
    const exact = this.#exact.get(topic)
    if (exact !== undefined) append(found, exact)
    const levels = topic.split('/')
    if (topic.startsWith('$')) {
      // A leading wildcard does not match `$` topics. [MQTT-4.7.2-1]
      const level = this.#root.children.get(levels[0]!)
      if (level !== undefined) collect(level, levels, 1, found)
    } else collect(this.#root, levels, 0, found)
    if (this.#maxRememberedTopics === 0) return found
    const isFull = this.#rememberedMatches + found.length > MAX_REMEMBERED_MATCHES
    if (isFull || this.#remembered.size >= this.#maxRememberedTopics) this.#changed()
    this.#remembered.set(topic, found)
    this.#rememberedMatches += found.length
    return found
  }

  #changed(): void {
    if (this.#remembered.size === 0) return
    this.#remembered = new Map()
    this.#rememberedMatches = 0
  }

  #removeExact(filter: string, subscription: S): boolean {
    const list = this.#exact.get(filter)
    if (list === undefined || !removeOne(list, subscription)) return false
    if (list.length === 0) this.#exact.delete(filter)
    return true
  }

  #removeWildcard(filter: string, subscription: S): boolean {
    const levels = filter.split('/')
    const below = levels.at(-1) === '#'
    if (below) levels.pop()
    const path: Level<S>[] = [this.#root]
    for (const name of levels) {
      const next = path.at(-1)!.children.get(name)
      if (next === undefined) return false
      path.push(next)
    }
    const last = path.at(-1)!
    if (!removeOne(below ? last.below : last.here, subscription)) return false
    this.#wildcards--
    for (let i = levels.length; i > 0; i--) {
      const level = path[i]!
      if (level.children.size + level.here.length + level.below.length > 0) break
      path[i - 1]!.children.delete(levels[i - 1]!)
    }
    return true
  }
}

function createLevel<S>(): Level<S> {
  return { children: new Map(), here: [], below: [] }
}

function collect<S>(level: Level<S>, levels: readonly string[], index: number, found: S[]): void {
  // `sport/#` also matches `sport`. [MQTT-4.7.1-2]
  append(found, level.below)
  if (index === levels.length) {
    append(found, level.here)
    return
  }
  const named = level.children.get(levels[index]!)
  if (named !== undefined) collect(named, levels, index + 1, found)
  const any = level.children.get('+')
  if (any !== undefined) collect(any, levels, index + 1, found)
}

// Not `push(...list)`: a list may be longer than the stack is deep.
function append<S>(found: S[], list: readonly S[]): void {
  for (const subscription of list) found.push(subscription)
}

function removeOne<S>(list: S[], item: S): boolean {
  const index = list.indexOf(item)
  if (index < 0) return false
  list.splice(index, 1)
  return true
}
