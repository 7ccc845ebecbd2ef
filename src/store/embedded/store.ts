import type { Log } from '../../log.ts'
import type { Store, StoreLimits } from '../contract.ts'
import { createStore } from '../store.ts'
import { EmbeddedJournal } from './journal.ts'
import { openLevel } from './level.ts'

export interface EmbeddedStoreOptions {
  /** Folder of the store. */
  readonly path: string
  /** Sync the disk before an answer: what was acknowledged survives a power cut, too. */
  readonly sync: boolean
  /** Read cache. */
  readonly cacheBytes: number
  readonly limits: StoreLimits
  readonly log: Log
  readonly now?: () => number
  /** Between attempts to come back after a failure. */
  readonly retryMs?: number
  /** For tests: a LevelDB that fails when it is told to. */
  readonly openLevel?: typeof openLevel
}

/** The durable store, in one folder, for one process. */
export function createEmbeddedStore(options: EmbeddedStoreOptions): Store {
  const open = options.openLevel ?? openLevel
  const journal = new EmbeddedJournal({
    path: options.path,
    sync: options.sync,
    log: options.log,
    retryMs: options.retryMs ?? 1_000,
    openLevel: (createIfMissing) => open(options.path, { cacheBytes: options.cacheBytes, createIfMissing }),
  })
  return createStore(journal, options.limits, options.now ?? Date.now)
}
