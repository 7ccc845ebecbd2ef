import type { StoredMessage } from './contract.ts'
import { countedBytes } from './counted-bytes.ts'

const DOLLAR = 0x24

interface Level {
  readonly children: Map<string, Level>
  message: StoredMessage | undefined
}

/** Retained messages: a map for exact topics, and a trie over the levels for filters. */
export class RetainedIndex {
  readonly #byTopic = new Map<string, StoredMessage>()
  readonly #root: Level = { children: new Map(), message: undefined }
  readonly #maxMessages: number
  readonly #maxBytes: number
  #bytes = 0
  #earliestExpiryMs = Number.POSITIVE_INFINITY

  constructor(limits: { readonly retainedMaxMessages: number; readonly retainedMaxBytes: number }) {
    this.#maxMessages = limits.retainedMaxMessages
    this.#maxBytes = limits.retainedMaxBytes
  }

  get size(): number {
    return this.#byTopic.size
  }

  get bytes(): number {
    return this.#bytes
  }

  get(topic: string): StoredMessage | undefined {
    return this.#byTopic.get(topic)
  }

  /** Is there room for this value, in place of what the topic has now? */
  admits(message: StoredMessage): boolean {
    const previous = this.#byTopic.get(message.topic)
    if (previous === undefined && this.#byTopic.size >= this.#maxMessages) return false
    return this.#bytes - countedOf(previous) + countedBytes(message) <= this.#maxBytes
  }

  /** Takes the message as it is: its payload must not be a piece of something big. Bounds are the caller's. */
  set(message: StoredMessage): void {
    const previous = this.#byTopic.get(message.topic)
    this.#bytes += countedBytes(message) - countedOf(previous)
    if (message.expiresAtMs > 0)
      this.#earliestExpiryMs = Math.min(this.#earliestExpiryMs, message.expiresAtMs)
    this.#byTopic.set(message.topic, message)
    let level = this.#root
    for (const name of message.topic.split('/')) {
      let child = level.children.get(name)
      if (child === undefined) {
        child = { children: new Map(), message: undefined }
        level.children.set(name, child)
      }
      level = child
    }
    level.message = message
  }

  delete(topic: string): void {
    const previous = this.#byTopic.get(topic)
    if (previous === undefined) return
    this.#byTopic.delete(topic)
    this.#bytes -= countedBytes(previous)
    const names = topic.split('/')
    const path: Level[] = [this.#root]
    for (const name of names) {
      const child = path.at(-1)?.children.get(name)
      if (child === undefined) return
      path.push(child)
    }
    const last = path.at(-1)
    if (last !== undefined) last.message = undefined
    for (let i = names.length; i > 0; i--) {
      const level = path[i]
      const name = names[i - 1]
      if (level === undefined || name === undefined) return
      if (level.message !== undefined || level.children.size > 0) return
      path[i - 1]?.children.delete(name)
    }
  }

  /** Puts a topic back to an earlier value. */
  restore(topic: string, previous: StoredMessage | undefined): void {
    if (previous === undefined) this.delete(topic)
    else this.set(previous)
  }

  /** Messages whose topics match the filter; expired ones are left out. */
  matching(filter: string, nowMs: number): StoredMessage[] {
    const found: StoredMessage[] = []
    const take = (level: Level): void => {
      if (level.message !== undefined && !isExpired(level.message, nowMs)) found.push(level.message)
    }
    const names = filter.split('/')
    // A stack of our own: the depth of a topic is the client's choice, and must not become a depth of calls.
    const open: [level: Level, depth: number][] = [[this.#root, 0]]
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      const [level, depth] = next
      const name = names[depth]
      if (name === undefined) {
        take(level)
      } else if (name === '#') {
        // '#' also stands for its parent [MQTT-4.7.1-2]; the parent of a bare '#' is no topic.
        for (const below of depth === 0 ? wildcardChildren(level, 0) : [level]) takeAll(below, take)
      } else if (name === '+') {
        for (const child of wildcardChildren(level, depth)) open.push([child, depth + 1])
      } else {
        const child = level.children.get(name)
        if (child !== undefined) open.push([child, depth + 1])
      }
    }
    return found
  }

  /** Topics whose messages have expired. Cheap when nothing can have. */
  expired(nowMs: number): string[] {
    if (this.#earliestExpiryMs > nowMs) return []
    const topics: string[] = []
    this.#earliestExpiryMs = Number.POSITIVE_INFINITY
    for (const [topic, message] of this.#byTopic) {
      if (isExpired(message, nowMs)) topics.push(topic)
      if (message.expiresAtMs > 0)
        this.#earliestExpiryMs = Math.min(this.#earliestExpiryMs, message.expiresAtMs)
    }
    return topics
  }

  *values(): Generator<StoredMessage> {
    yield* this.#byTopic.values()
  }
}

/** Has the message's time passed? */
export function isExpired(message: StoredMessage, nowMs: number): boolean {
  return message.expiresAtMs > 0 && message.expiresAtMs <= nowMs
}

function takeAll(top: Level, take: (level: Level) => void): void {
  const open = [top]
  for (let level = open.pop(); level !== undefined; level = open.pop()) {
    take(level)
    for (const child of level.children.values()) open.push(child)
  }
}

/** A wildcard in the first level does not match topics that begin with `$`. [MQTT-4.7.2-1] */
function* wildcardChildren(level: Level, depth: number): Generator<Level> {
  for (const [name, child] of level.children) {
    if (depth > 0 || name.charCodeAt(0) !== DOLLAR) yield child
  }
}

function countedOf(message: StoredMessage | undefined): number {
  return message === undefined ? 0 : countedBytes(message)
}
