import { ErrorCode, TunnelMQError } from '../errors.ts'
import { countedBytes } from './counted-bytes.ts'
import type { QueueEntry, Store, StoredMessage, StoreLimits } from './contract.ts'
import type { Journal, JournalWrite, Records } from './journal.ts'
import { withOwnPayload } from './pending-publish.ts'
import type { SessionHandle } from './session-index.ts'
import { createStore } from './store.ts'

/** A store that is gone with the process. */
export function createMemoryStore(limits: StoreLimits, now: () => number = Date.now): Store {
  return createStore(createMemoryJournal(), limits, now)
}

/** Queue entries by session, in order of their sequence numbers: a Map iterates in order of insertion. */
type Queues = Map<SessionHandle, Map<number, QueueEntry>>

function createMemoryJournal(): Journal {
  const queues: Queues = new Map()
  const records = createMemoryRecords(queues)
  let answers: ((error: undefined) => void)[] = []
  let opened = false
  let commits = 0

  function answer(settle: (error: undefined) => void): void {
    // After the caller's turn, and in order: as a store does that waits for a disk.
    if (answers.push(settle) === 1) setImmediate(flush)
  }

  function flush(): void {
    const ready = answers
    answers = []
    commits++
    for (const settle of ready) settle(undefined)
  }

  return {
    kind: 'memory',
    failure: undefined,
    get pendingWrites() {
      return answers.length
    },
    pendingBytes: 0,
    get commits() {
      return commits
    },
    corruptValues: 0,
    async open() {
      opened = true
    },
    async close() {
      opened = false
      await new Promise<void>((resolve) => answer(resolve))
    },
    refusal() {
      return opened ? undefined : new TunnelMQError(ErrorCode.storeUnavailable, 'The store is closed')
    },
    write(write: JournalWrite) {
      write.putInto(records)
      answer((error) => write.settle(error))
    },
    answer,
    async readEntries(session, afterSeq, maxCount, maxBytes) {
      const found: QueueEntry[] = []
      let bytes = 0
      for (const entry of queues.get(session)?.values() ?? []) {
        if (entry.seq <= afterSeq) continue
        bytes += entry.message === undefined ? 0 : countedBytes(entry.message)
        if (found.length > 0 && bytes > maxBytes) break
        found.push(entry)
        if (found.length >= maxCount) break
      }
      return found
    },
    dropQueue(session) {
      queues.delete(session)
    },
  }
}

/** Only queues have to be kept: everything else is in memory already. */
function createMemoryRecords(queues: Queues): Records {
  const nothing = (): void => {}
  let lastMessage: StoredMessage | undefined
  let lastCopy: StoredMessage | undefined

  /** One copy for all sessions of a publish. */
  function copyOf(message: StoredMessage): StoredMessage {
    if (message !== lastMessage || lastCopy === undefined) {
      lastMessage = message
      lastCopy = withOwnPayload(message)
    }
    return lastCopy
  }

  return {
    putSession: nothing,
    deleteSession: nothing,
    putSubscription: nothing,
    deleteSubscription: nothing,
    putEntry(session, seq, qos, message) {
      let queue = queues.get(session)
      if (queue === undefined) queues.set(session, (queue = new Map()))
      queue.set(seq, { seq, qos, state: 'publish', message: copyOf(message) })
    },
    putReleased(session, seq) {
      const queue = queues.get(session)
      if (queue?.has(seq) === true) queue.set(seq, { seq, qos: 2, state: 'pubrel', message: undefined })
    },
    deleteEntry(session, seq) {
      const queue = queues.get(session)
      queue?.delete(seq)
      if (queue?.size === 0) queues.delete(session)
    },
    putIncoming: nothing,
    deleteIncoming: nothing,
    putRetained: nothing,
    deleteRetained: nothing,
    putWill: nothing,
    deleteWill: nothing,
    putIdentity: nothing,
    deleteIdentity: nothing,
    putIdentityRevision: nothing,
  }
}
