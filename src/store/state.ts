import type { StoredIdentity, StoreLimits, StoredWill } from './contract.ts'
import { RetainedIndex } from './retained-index.ts'
import { SessionIndex } from './session-index.ts'

/** What every store keeps in memory. */
export interface StoreState {
  readonly limits: StoreLimits
  readonly sessions: SessionIndex
  readonly retained: RetainedIndex
  readonly wills: Map<string, StoredWill>
  /** As they were read; taken by whoever keeps them. */
  readonly identities: StoredIdentity[]
  identityRevision: number
  droppedMessages: number
  droppedRetained: number
}

export function createState(limits: StoreLimits): StoreState {
  return {
    limits,
    sessions: new SessionIndex(),
    retained: new RetainedIndex(limits),
    wills: new Map(),
    identities: [],
    identityRevision: 0,
    droppedMessages: 0,
    droppedRetained: 0,
  }
}
