import { createHash, type Hash } from 'node:crypto'
import type { QueueEntry, StoredMessage, StoredWill } from '../contract.ts'
import { encodeEntry, encodeMessage } from '../codec.ts'
import { encodeWill } from '../will-codec.ts'
import type { MovedSession } from './contract.ts'

/** What of a session must be the same after it was moved, as one number that is kept for each. */
export class SessionDigest {
  readonly #hash: Hash
  #closed: string | undefined

  constructor(session: MovedSession) {
    this.#hash = createHash('sha256')
    const subscriptions = session.subscriptions
      .map(({ filter, matchFilter, shareGroup = '', qos }) =>
        JSON.stringify([filter, matchFilter, shareGroup, qos]),
      )
      .toSorted()
    const incomingIds = session.incomingIds.toSorted((a, b) => a - b)
    const { kind, id, createdAtMs, lastSeq, expirySeconds } = session
    this.#hash.update(
      JSON.stringify([kind, id, createdAtMs, lastSeq, expirySeconds, subscriptions, incomingIds]),
    )
  }

  add({ seq, qos, state, message }: QueueEntry): void {
    this.#hash.update(`${seq} ${qos} ${state} `)
    if (message !== undefined) this.#hash.update(encodeEntry(message, qos))
  }

  close(): string {
    this.#closed ??= this.#hash.digest('base64')
    return this.#closed
  }
}

export function digestOfMessage(message: StoredMessage): string {
  return createHash('sha256').update(encodeMessage(message)).digest('base64')
}

/** Without when it is due: each kind of store keeps that in its own way. */
export function digestOfWill(will: StoredWill): string {
  return createHash('sha256')
    .update(encodeWill({ ...will, dueAtMs: 0 }))
    .digest('base64')
}
