import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { countedBytes } from '../counted-bytes.ts'
import { decodeEntry, messageCountedBytes } from '../codec.ts'
import type { QueueEntry, Store, StoredSession } from '../contract.ts'
import type { RedisLink, ScriptReply } from './contract.ts'
import type { Replica } from './replica.ts'
import { numberIn } from './reply.ts'
import type { Requests } from './requests.ts'
import { type RedisSession, redisSessionOf } from './session.ts'

/** Entries that one op acknowledges or gives back: a command of a script takes some thousand arguments. */
const OP_ENTRIES = 1_000

/**
 * The queues of sessions, on the side of delivery. A read shows what Redis had then; what was acknowledged or
 * released meanwhile, or is still on its way to Redis, is taken into account here.
 */
export class RedisQueues implements Pick<
  Store,
  'readQueue' | 'browseQueue' | 'handedOut' | 'acknowledge' | 'release' | 'releaseIncoming' | 'giveBack'
> {
  corruptValues = 0
  readonly #requests: Requests
  readonly #replica: Replica
  /** Sessions with acknowledgements that are not submitted. */
  #acknowledged = new Set<RedisSession>()
  /** Entries that have come for sessions whose claims are under way, since then. */
  readonly #arrivals = new Map<
    string,
    { claims: number; entries: (readonly [seq: number, bytes: number])[] }
  >()

  constructor(link: RedisLink, requests: Requests, replica: Replica) {
    this.#requests = requests
    this.#replica = replica
    link.follower.onInbox('message', ([, , entries], message) => this.#arrived(entries, message))
  }

  async readQueue(
    handle: StoredSession,
    afterSeq: number,
    maxCount: number,
    maxBytes: number,
  ): Promise<readonly QueueEntry[]> {
    const session = redisSessionOf(handle)
    if (session.kind === 'group') return this.#lease(session, maxCount, maxBytes)
    if (session.sweeping !== undefined) await session.sweeping.catch(() => {})
    if (session.removed) return []
    session.readsUnderWay++
    try {
      for (let from = afterSeq; ;) {
        const { claim } = session
        const reply = await this.#requests.read('read-queue', session.kid, from, maxCount, maxBytes, claim)
        if (reply.length < 2 || session.removed) {
          this.#requests.fencedIn(session.id, claim, reply)
          return []
        }
        from = numberIn(reply.at(-2))
        const current = this.#entriesIn(session, reply).filter(({ seq }) => !session.deletedSeqs.has(seq))
        if (current.length === 0) continue
        this.handedOut(session, from)
        return current
      }
    } finally {
      session.readsUnderWay--
      if (session.readsUnderWay === 0) {
        for (const seq of session.deletedDuringRead.splice(0)) session.deletedSeqs.delete(seq)
      }
    }
  }

  /** Of sessions of all pods: without a claim nobody is asked whose it is. */
  async browseQueue(
    handle: StoredSession,
    afterSeq: number,
    maxCount: number,
    maxBytes: number,
  ): Promise<readonly QueueEntry[]> {
    const session = redisSessionOf(handle)
    for (let from = afterSeq; ;) {
      const reply = await this.#requests.read('read-queue', session.kid, from, maxCount, maxBytes, 0)
      if (reply.length < 2) return []
      from = numberIn(reply.at(-2))
      const entries = browsed(session, reply)
      if (entries.length > 0) return entries
    }
  }

  handedOut(handle: StoredSession, seq: number): void {
    const session = redisSessionOf(handle)
    session.readUpToSeq = Math.max(session.readUpToSeq, seq)
  }

  acknowledge(handle: StoredSession, seq: number, payloadBytes: number, forgotten?: () => void): boolean {
    const session = redisSessionOf(handle)
    if (session.removed || session.deletedSeqs.has(seq)) return false
    const isReleased = session.releasedSeqs.delete(seq)
    const bytes = isReleased ? 0 : payloadBytes
    this.#replica.index.dequeue(session, 1, bytes)
    session.deletedSeqs.add(seq)
    session.unsettledCount++
    session.unsettledBytes += bytes
    const { acks } = session
    if (isReleased) acks.released.push(seq)
    else {
      acks.seqs.push(seq)
      acks.bytes.push(bytes)
    }
    if (forgotten !== undefined) acks.forgotten.push(forgotten)
    this.#acknowledgedLater(session)
    if (acks.seqs.length + acks.released.length >= OP_ENTRIES) this.submitAcknowledged(session)
    return true
  }

  /** Acknowledgements of this session go ahead of what is submitted next. */
  submitAcknowledged(session: RedisSession): void {
    const { seqs, bytes, released, forgotten } = session.acks
    if (seqs.length + released.length === 0) return
    this.#acknowledged.delete(session)
    session.acks.seqs = []
    session.acks.bytes = []
    session.acks.released = []
    session.acks.forgotten = []
    const sum = bytes.reduce((total, one) => total + one, 0)
    const { claim } = session
    const isGroup = session.kind === 'group'
    const args = isGroup
      ? [session.id, seqs.length, ...seqs, ...bytes]
      : [session.kid, claim, sum, released.length, ...released, ...seqs]
    const options = { patience: 'keep', frees: true, bytes: 16 * args.length } as const
    this.#requests.submit(isGroup ? 'acknowledge-leased' : 'acknowledge', args, options, (error, reply) => {
      session.unsettledCount -= seqs.length + released.length
      session.unsettledBytes -= sum
      for (const seq of released) this.#forgotten(session, seq)
      for (const seq of seqs) this.#forgotten(session, seq)
      if (error !== undefined || this.#requests.fencedIn(session.id, claim, reply) !== undefined) return
      for (const tell of forgotten) tell()
    })
  }

  submitAllAcknowledged(): void {
    for (const session of this.#acknowledged) this.submitAcknowledged(session)
  }

  release(
    handle: StoredSession,
    seq: number,
    payloadBytes: number,
    done: (error: Error | undefined) => void,
  ): void {
    const session = redisSessionOf(handle)
    const requests = this.#requests
    const { refusal } = requests
    if (refusal !== undefined || session.removed || session.deletedSeqs.has(seq)) {
      return requests.barrier(() => done(refusal))
    }
    if (!session.releasedSeqs.has(seq)) {
      session.releasedSeqs.add(seq)
      this.#replica.index.dequeue(session, 0, payloadBytes)
    }
    const { claim } = session
    const args = [session.kid, claim, seq, payloadBytes]
    requests.submit('release', args, { patience: 'keep', frees: true }, (error, reply) => {
      const failure = error ?? requests.fencedIn(session.id, claim, reply)
      if (failure !== undefined) session.releasedSeqs.delete(seq)
      done(failure)
    })
  }

  releaseIncoming(handle: StoredSession, messageId: number, done: (error: Error | undefined) => void): void {
    const session = redisSessionOf(handle)
    const requests = this.#requests
    const { refusal } = requests
    if (refusal !== undefined || session.removed) return requests.barrier(() => done(refusal))
    const wasTaken = session.incomingIds.delete(messageId)
    const { claim } = session
    const args = [session.kid, claim, messageId]
    requests.submit('release-incoming', args, { patience: 'wait', frees: true }, (error, reply) => {
      if (error !== undefined && wasTaken) session.incomingIds.add(messageId)
      done(error ?? requests.fencedIn(session.id, claim, reply))
    })
  }

  giveBack(handle: StoredSession, seqs: readonly number[]): void {
    const group = redisSessionOf(handle)
    if (group.kind !== 'group' || group.removed) return
    this.submitAcknowledged(group)
    for (let from = 0; from < seqs.length; from += OP_ENTRIES) {
      const args = [group.id, ...seqs.slice(from, from + OP_ENTRIES)]
      const options = { patience: 'keep', frees: true, bytes: 16 * args.length } as const
      this.#requests.submit('give-back', args, options, () => {})
    }
  }

  /** A claim of this session is under way: what arrives now may not be in the figures that it answers. */
  claimBegins(kid: string): void {
    const under = this.#arrivals.get(kid)
    if (under === undefined) this.#arrivals.set(kid, { claims: 1, entries: [] })
    else under.claims++
  }

  /** After the figures of `session` were set. */
  claimEnds(kid: string, session: RedisSession | undefined): void {
    const under = this.#arrivals.get(kid)
    if (under === undefined) return
    if (--under.claims === 0) this.#arrivals.delete(kid)
    if (session === undefined) return
    for (const [seq, bytes] of under.entries) this.#replica.countEntry(session, seq, bytes)
  }

  async #lease(group: RedisSession, maxCount: number, maxBytes: number): Promise<readonly QueueEntry[]> {
    if (group.removed) return []
    const count = Math.min(maxCount, OP_ENTRIES)
    // Kept: if it were given up, and made for all that, nobody would know what this pod has.
    // Without memory too: what is delivered makes room.
    const options = { patience: 'keep', frees: true } as const
    const reply = await this.#requests.ask('lease', [group.id, count, maxBytes], options)
    return this.#entriesIn(group, reply).filter(({ seq }) => !group.deletedSeqs.has(seq))
  }

  #entriesIn(session: RedisSession, reply: readonly ScriptReply[]): QueueEntry[] {
    const entries: QueueEntry[] = []
    for (let at = 0; at + 1 < reply.length; at += 2) {
      const seq = numberIn(reply[at])
      const value = reply[at + 1]
      const entry = Buffer.isBuffer(value) ? decodeEntry(seq, value) : releasedEntry(seq)
      if (entry === undefined) {
        this.corruptValues++
        this.acknowledge(session, seq, 0)
        continue
      }
      this.#replica.countEntry(session, seq, entry.message === undefined ? 0 : countedBytes(entry.message))
      const isReleased = entry.state === 'pubrel' || session.releasedSeqs.has(seq)
      if (isReleased) session.releasedSeqs.add(seq)
      entries.push(isReleased ? releasedEntry(seq) : entry)
    }
    return entries
  }

  #arrived(entries: unknown, message: Buffer | undefined): void {
    const bytes = message && messageCountedBytes(message)
    if (bytes === undefined) throw new TunnelMQError(ErrorCode.store, 'Not a message')
    if (!Array.isArray(entries)) return // none: Lua's empty table
    for (const entry of entries as unknown[]) {
      if (!Array.isArray(entry)) throw new TunnelMQError(ErrorCode.store, 'Not an entry')
      const [kid, seq] = entry as unknown[]
      if (typeof kid !== 'string' || typeof seq !== 'number')
        throw new TunnelMQError(ErrorCode.store, 'Not an entry')
      const session = this.#replica.byKid(kid)
      const under = this.#arrivals.get(kid)
      if (under !== undefined) under.entries.push([seq, bytes])
      if (session !== undefined) this.#replica.countEntry(session, seq, bytes)
    }
  }

  #acknowledgedLater(session: RedisSession): void {
    if (this.#acknowledged.size === 0) {
      // Those of other sockets in this turn of the loop come along.
      setImmediate(() => this.submitAllAcknowledged())
    }
    this.#acknowledged.add(session)
  }

  #forgotten(session: RedisSession, seq: number): void {
    if (session.readsUnderWay > 0) session.deletedDuringRead.push(seq)
    else session.deletedSeqs.delete(seq)
  }
}

/** What was acknowledged here may still be in Redis. Entries that cannot be read are left to whoever delivers. */
function browsed(session: RedisSession, reply: readonly ScriptReply[]): QueueEntry[] {
  const entries: QueueEntry[] = []
  for (let at = 0; at + 1 < reply.length; at += 2) {
    const seq = numberIn(reply[at])
    const value = reply[at + 1]
    if (session.deletedSeqs.has(seq)) continue
    const isReleased = !Buffer.isBuffer(value) || session.releasedSeqs.has(seq)
    const entry = isReleased ? releasedEntry(seq) : decodeEntry(seq, value)
    if (entry !== undefined) entries.push(entry)
  }
  return entries
}

function releasedEntry(seq: number): QueueEntry {
  return { seq, qos: 2, state: 'pubrel', message: undefined }
}
