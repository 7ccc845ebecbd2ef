import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { decodeMessage } from '../codec.ts'
import type { StoredMessage, StoreLimits } from '../contract.ts'
import { RetainedIndex } from '../retained-index.ts'
import type { RedisLink } from './contract.ts'
import { listIn, textIn } from './reply.ts'

/** Bytes that one read should bring; the count of values is adapted to it. */
const READ_BYTES = 1024 * 1024
const FIRST_COUNT = 16
const MAX_COUNT = 2_000

/** The retained messages of all pods in memory. The log names topics; their values are fetched, once a read of the log. */
export class RetainedReplica {
  readonly index: RetainedIndex
  corruptValues = 0
  readonly #link: RedisLink
  /** Topics to be fetched, with the position of the log that has named them last. */
  #named = new Map<string, number>()
  #fetching: Promise<void> | undefined
  /** Values that this pod has set before the log has come to them, and their positions. */
  readonly #ahead = new Map<string, number>()

  constructor(link: RedisLink, limits: StoreLimits) {
    this.#link = link
    // Bounds are kept by the scripts.
    this.index = new RetainedIndex(limits)
    link.follower.onLog('retained', ([, , topic], position) => {
      if (typeof topic !== 'string') throw new TunnelMQError(ErrorCode.store, 'Not a topic')
      this.#named.set(topic, position)
      return (this.#fetching ??= this.#fetch())
    })
  }

  /** This pod has set (or, with undefined, cleared) a value, at this position of the log. */
  changedHere(topic: string, message: StoredMessage | undefined, position: number): void {
    if (this.#link.follower.position >= position) return
    this.index.restore(topic, message)
    this.#ahead.set(topic, position)
  }

  async load(): Promise<void> {
    // All of it is in what is read now; or it is lost, and so are the positions: Redis may have older data.
    this.#ahead.clear()
    const present = new Set<string>()
    let cursor = '0'
    let count = FIRST_COUNT
    do {
      const reply = listIn(
        await this.#link.command('HSCAN', this.#link.key('retained'), cursor, 'COUNT', count),
      )
      cursor = textIn(reply[0])
      const pairs = listIn(reply[1])
      let bytes = 0
      for (let at = 0; at + 1 < pairs.length; at += 2) {
        const topic = textIn(pairs[at])
        const value = pairs[at + 1]
        if (!Buffer.isBuffer(value)) continue
        bytes += value.length
        present.add(topic)
        if (!this.#ahead.has(topic)) this.#set(topic, value)
      }
      count = adapted(count, bytes)
    } while (cursor !== '0')
    for (const { topic } of [...this.index.values()]) {
      if (!present.has(topic) && !this.#ahead.has(topic)) this.index.delete(topic)
    }
  }

  async #fetch(): Promise<void> {
    // After this read's last handler: each topic once.
    await Promise.resolve()
    const named = this.#named
    this.#named = new Map()
    this.#fetching = undefined
    try {
      await this.#fetchAll([...named])
    } catch {
      this.#link.reload('Retained messages could not be read')
    }
  }

  async #fetchAll(named: readonly (readonly [topic: string, position: number])[]): Promise<void> {
    let count = FIRST_COUNT
    for (let from = 0; from < named.length;) {
      const portion = named.slice(from, from + count)
      from += portion.length
      const topics = portion.map(([topic]) => topic)
      const values = listIn(await this.#link.command('HMGET', this.#link.key('retained'), ...topics))
      let bytes = 0
      for (const [at, [topic, position]] of portion.entries()) {
        const value = values[at]
        if (Buffer.isBuffer(value)) bytes += value.length
        const ahead = this.#ahead.get(topic)
        if (ahead !== undefined && ahead > position) continue
        this.#ahead.delete(topic)
        this.#set(topic, Buffer.isBuffer(value) ? value : undefined)
      }
      count = adapted(count, bytes)
    }
  }

  #set(topic: string, value: Buffer | undefined): void {
    const message = value && decodeMessage(value)
    if (value !== undefined && message?.topic !== topic) {
      this.corruptValues++
      this.index.delete(topic)
      return
    }
    // A copy: the reply of which it is a slice may be large.
    this.index.restore(topic, message && { ...message, payload: Buffer.from(message.payload) })
  }
}

function adapted(count: number, bytes: number): number {
  if (bytes > READ_BYTES) return Math.max(1, Math.floor((count * READ_BYTES) / bytes))
  return Math.min(count * 2, MAX_COUNT)
}
