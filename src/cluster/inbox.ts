import { decodeMessage } from '../store/codec.ts'
import type { InboxEntry, RedisStore } from '../store/redis/contract.ts'
import type { ArrivedEntry, ClusterEvents } from './contract.ts'

export interface InboxOptions {
  readonly store: Pick<RedisStore, 'link' | 'sessions' | 'groups'>
  readonly garbage: () => void
}

/** What other pods have put into the inbox of this one: messages at QoS 1 and 2, and wake-ups. */
export interface Inbox {
  start(events: ClusterEvents): void
  /** Messages that have come. */
  readonly count: number
}

export function createInbox({ store, garbage }: InboxOptions): Inbox {
  const { link, sessions, groups } = store
  let events: ClusterEvents | undefined
  let count = 0

  /** Undefined: not an entry. Null: its session is gone. */
  const decodeEntry = (entry: unknown): ArrivedEntry | null | undefined => {
    const [kid, seq, qos] = Array.isArray(entry) ? (entry as unknown[]) : []
    if (typeof kid !== 'string' || !Number.isSafeInteger(seq) || (qos !== 1 && qos !== 2)) return undefined
    const kind = kid[0]
    if (kind !== 'c' && kind !== 'g') return undefined
    const session = (kind === 'c' ? sessions : groups).get(kid.slice(1))
    return session === undefined ? null : { session, seq: Number(seq), qos }
  }

  const takeMessage = (entry: InboxEntry, value: Buffer | undefined): void => {
    const [, toConnected, stored] = entry
    const message = value && decodeMessage(value)
    const list = listOf(stored)
    const isHeadSound = (toConnected === 0 || toConnected === 1) && list !== undefined
    if (message === undefined || !isHeadSound) return garbage()
    const entries: ArrivedEntry[] = []
    for (const each of list) {
      const decoded = decodeEntry(each)
      if (decoded === undefined) garbage()
      else if (decoded !== null) entries.push(decoded)
    }
    count++
    if (entries.length > 0 || toConnected === 1) events?.arrived(message, entries, toConnected === 1)
  }

  link.follower.onInbox('message', takeMessage)
  link.follower.onInbox('filled', ([, key]) => {
    if (typeof key === 'string' && key !== '') events?.groupFilled(key)
    else garbage()
  })
  link.follower.onInboxGap(() => {
    events?.rescan()
    events?.inboxLost()
  })
  link.onReloaded(() => events?.rescan())

  return {
    start(listener) {
      events = listener
    },
    get count() {
      return count
    },
  }
}

/** Redis' Lua cannot tell an empty list from an empty object, and writes `{}`. */
function listOf(value: unknown): readonly unknown[] | undefined {
  if (Array.isArray(value)) return value
  const isEmpty = typeof value === 'object' && value !== null && Object.keys(value).length === 0
  return isEmpty ? [] : undefined
}
