import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type { SessionKind, StoredSession } from '../contract.ts'
import { SessionHandle } from '../session-index.ts'

/** Numbers of entries beyond a gap that are remembered, for one session: messages on their way through our inbox. */
const MAX_COUNTED = 10_000

/** Name of a session in keys: `c` and the session id, or `g` and the key of a shared group. */
export function kidOf(kind: SessionKind, id: string): string {
  return (kind === 'client' ? 'c' : 'g') + id
}

/** Above all numbers that scripts give out, and exact in Lua's and JSON's text (14 digits). */
export function createIncarnation(): number {
  return 1e13 + Math.floor(Math.random() * 8e13)
}

/**
 * A session as this pod knows it. `queuedCount`, `queuedBytes`, `lastSeq`, `sentUpToSeq`, `incomingIds` and
 * `expiresAtMs` are exact while this pod holds its claim; of others they are as of the last load, with what this pod
 * has written since.
 */
export class RedisSession extends SessionHandle {
  readonly kid: string
  /** Tells it from earlier and later sessions of its name, in all pods. */
  incarnation: number
  /** Number of the claim that this pod holds; 0: none. */
  claim = 0
  /** It is in the log, and so known to the listener. Until then only this pod has it. */
  told = false
  /** Acknowledgements that are not submitted yet. */
  readonly acks: { seqs: number[]; bytes: number[]; released: number[]; forgotten: (() => void)[] } = {
    seqs: [],
    bytes: [],
    released: [],
    forgotten: [],
  }
  /** Entries of {@link deletedSeqs} that Redis still has, and their payload bytes. */
  unsettledCount = 0
  unsettledBytes = 0
  #countedUpTo = 0
  readonly #counted = new Set<number>()

  constructor(kind: SessionKind, id: string, createdAtMs: number, incarnation: number) {
    super(kind, id, 0, createdAtMs)
    this.kid = kidOf(kind, id)
    this.incarnation = incarnation
  }

  /** True the first time, for each entry: it may come by our own publish, our inbox, and a read. */
  countEntry(seq: number): boolean {
    if (seq <= this.#countedUpTo || this.#counted.has(seq)) return false
    if (seq > this.lastSeq) this.lastSeq = seq
    if (seq === this.#countedUpTo + 1) this.#countedUpTo = seq
    else this.#counted.add(seq)
    // Without a claim other pods' entries are not told, and gaps are never filled.
    if (this.claim === 0 || this.#counted.size > MAX_COUNTED) this.#countAllTo(this.lastSeq)
    else while (this.#counted.delete(this.#countedUpTo + 1)) this.#countedUpTo++
    return true
  }

  /** Everything up to this entry is in the figures that were read. */
  countedTo(seq: number): void {
    this.lastSeq = seq
    this.#countAllTo(seq)
  }

  #countAllTo(seq: number): void {
    this.#countedUpTo = seq
    this.#counted.clear()
  }
}

/** The handle behind a session that a caller hands in. */
export function redisSessionOf(session: StoredSession): RedisSession {
  if (session instanceof RedisSession) return session
  throw new TunnelMQError(ErrorCode.usage, 'The session was not given out by this store')
}
