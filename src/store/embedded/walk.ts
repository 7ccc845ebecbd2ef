import type {
  QueueEntry,
  SessionKind,
  StoredIdentity,
  StoredMessage,
  StoredSubscription,
  StoredWill,
} from '../contract.ts'
import {
  decodeEntry,
  decodeMessage,
  decodeSession,
  decodeSubscription,
  type SessionRecord,
  VERSION,
} from '../codec.ts'
import { decodeIdentity } from '../identities.ts'
import { decodeWill } from '../will-codec.ts'
import { allOf, KeyKind, parseKey } from './keys.ts'
import type { Level, LevelEntry } from './level.ts'

export type StoredRecord =
  | {
      readonly kind: 'session'
      readonly sessionKind: SessionKind
      readonly id: string
      readonly session: SessionRecord
    }
  | { readonly kind: 'subscription'; readonly owner: number; readonly subscription: StoredSubscription }
  | { readonly kind: 'incoming'; readonly owner: number; readonly messageId: number }
  | { readonly kind: 'entry'; readonly owner: number; readonly entry: QueueEntry }
  | { readonly kind: 'retained'; readonly message: StoredMessage }
  | { readonly kind: 'will'; readonly will: StoredWill }
  | { readonly kind: 'identity'; readonly identity: StoredIdentity }
  /** The value, or the key, is none that we would have written. */
  | { readonly kind: 'corrupt' }

export interface WalkedRecord {
  readonly key: Buffer
  readonly value: Buffer
  readonly record: StoredRecord
}

const PORTION = { maxCount: 1_000, maxBytes: 1024 * 1024 }

/** Sessions first, so that the owner of everything that follows is known. */
const order = [
  KeyKind.session,
  KeyKind.subscription,
  KeyKind.incoming,
  KeyKind.queue,
  KeyKind.retained,
  KeyKind.will,
  KeyKind.identity,
] as const

/** Every record of the store, in portions. */
export async function* walk(level: Level): AsyncGenerator<WalkedRecord[]> {
  for (const kind of order) {
    for await (const entries of level.scan(allOf(kind), PORTION)) yield entries.map(decode)
  }
}

function decode([key, value]: LevelEntry): WalkedRecord {
  return { key, value, record: decodeRecord(key, value) ?? { kind: 'corrupt' } }
}

/** Undefined: we would not have written it. */
export function decodeRecord(key: Buffer, value: Buffer): StoredRecord | undefined {
  const parsed = parseKey(key)
  switch (parsed?.kind) {
    case 'session': {
      const session = decodeSession(value)
      return session && { kind: 'session', sessionKind: parsed.sessionKind, id: parsed.id, session }
    }
    case 'subscription': {
      const subscription = decodeSubscription(parsed.filter, value)
      return subscription && { kind: 'subscription', owner: parsed.session, subscription }
    }
    case 'incoming': {
      if (value.length !== 1 || value[0] !== VERSION || parsed.messageId === 0) return undefined
      return { kind: 'incoming', owner: parsed.session, messageId: parsed.messageId }
    }
    case 'queue': {
      const entry = decodeEntry(parsed.seq, value)
      return entry && { kind: 'entry', owner: parsed.session, entry }
    }
    case 'retained': {
      const message = decodeMessage(value)
      return message?.topic === parsed.name ? { kind: 'retained', message } : undefined
    }
    case 'will': {
      const will = decodeWill(parsed.name, value)
      return will && { kind: 'will', will }
    }
    case 'identity': {
      const identity = decodeIdentity(parsed.name, value)
      return identity && { kind: 'identity', identity }
    }
    default:
      return undefined
  }
}
