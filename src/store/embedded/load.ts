import { countedBytes } from '../counted-bytes.ts'
import type { Log } from '../../log.ts'
import { MAX_UNFORGOTTEN_COUNT } from '../contract.ts'
import { SessionHandle } from '../session-index.ts'
import type { StoreState } from '../state.ts'
import { damagedSessions, describeKey, identityRevisionKey, quarantineKey } from './keys.ts'
import type { Level } from './level.ts'
import { RecordBatch } from './record-batch.ts'
import { type StoredRecord, walk, type WalkedRecord } from './walk.ts'

export interface LoadResult {
  readonly corruptValues: number
  readonly orphans: number
}

/** Reads everything into the state, takes orphans away, and sets aside what cannot be decoded. */
export async function loadStore(level: Level, state: StoreState, log: Log): Promise<LoadResult> {
  const loader = new Loader(state)
  for await (const portion of walk(level)) {
    for (const walked of portion) loader.take(walked)
    await setAside(level, loader.corrupt.splice(0), log)
  }
  await writeSessions(level, loader.finish())
  state.identityRevision = Number((await level.get(identityRevisionKey)) ?? 0) || 0
  if (loader.orphans.length > 0) await removeOrphans(level, loader.orphans, log)
  return { corruptValues: loader.corruptValues, orphans: loader.orphans.length }
}

/** Puts values that cannot be decoded under keys that nobody reads, so that they can be looked at. */
export async function setAside(
  level: Level,
  corrupt: readonly { key: Buffer; value: Buffer }[],
  log: Log,
): Promise<void> {
  if (corrupt.length === 0) return
  const batch = level.begin()
  for (const { key, value } of corrupt) {
    log.error({ key: describeKey(key), bytes: value.length }, 'set aside a stored value that is damaged')
    batch.put(quarantineKey(key), value)
    batch.del(key)
  }
  await batch.write(true)
}

async function removeOrphans(level: Level, orphans: readonly Buffer[], log: Log): Promise<void> {
  for await (const _ of level.scan(damagedSessions, { maxCount: 1, maxBytes: 1 })) {
    // What looks like an orphan may belong to a session whose record lies aside: that is for people to decide.
    log.error({ keys: orphans.length }, 'queues of damaged sessions are kept; run `tunnelmq store check`')
    return
  }
  await deleteKeys(level, orphans)
  log.info({ keys: orphans.length }, 'removed what sessions have left behind')
}

async function writeSessions(level: Level, sessions: readonly SessionHandle[]): Promise<void> {
  if (sessions.length === 0) return
  const batch = new RecordBatch(level.begin())
  for (const session of sessions) batch.putSession(session)
  await batch.write(false)
}

export async function deleteKeys(level: Level, keys: readonly Buffer[]): Promise<void> {
  for (let i = 0; i < keys.length; i += 1_000) {
    const batch = level.begin()
    for (const key of keys.slice(i, i + 1_000)) batch.del(key)
    await batch.write(false)
  }
}

/** Builds the state from records that come in the order of {@link walk}. */
class Loader {
  readonly corrupt: WalkedRecord[] = []
  readonly orphans: Buffer[] = []
  corruptValues = 0
  readonly #state: StoreState
  readonly #byNumber = new Map<number, SessionHandle>()

  constructor(state: StoreState) {
    this.#state = state
  }

  take(walked: WalkedRecord): void {
    const { record } = walked
    const owner = 'owner' in record ? this.#byNumber.get(record.owner) : undefined
    if ('owner' in record && owner === undefined) {
      this.orphans.push(walked.key)
      this.#state.sessions.reserveNumber(record.owner)
      return
    }
    this.#add(record, owner, walked)
  }

  /**
   * Once all entries are known: numbering goes on behind the last one. Gives the sessions that were connected
   * and are not any more: only what they have now can have been sent.
   */
  finish(): SessionHandle[] {
    const ended: SessionHandle[] = []
    for (const session of this.#byNumber.values()) {
      session.lastSeq = Math.max(session.lastSeq, session.seqMark)
      if (session.connected) ended.push(session)
      session.connected = false
    }
    return ended
  }

  #add(record: StoredRecord, owner: SessionHandle | undefined, walked: WalkedRecord): void {
    const { sessions, retained, wills } = this.#state
    switch (record.kind) {
      case 'session':
        return this.#addSession(record)
      case 'subscription':
        if (owner) sessions.setSubscription(owner, record.subscription.filter, record.subscription)
        return
      case 'incoming':
        owner?.incomingIds.add(record.messageId)
        return
      case 'entry':
        if (owner) this.#addEntry(owner, record)
        return
      case 'retained':
        retained.set(record.message)
        return
      case 'will':
        wills.set(record.will.clientId, record.will)
        return
      case 'identity':
        this.#state.identities.push(record.identity)
        return
      case 'corrupt':
        this.corruptValues++
        this.corrupt.push(walked)
        return
      default:
        return record satisfies never
    }
  }

  #addSession({ sessionKind, id, session: record }: StoredRecord & { kind: 'session' }): void {
    const session = new SessionHandle(sessionKind, id, record.number, record.createdAtMs)
    session.seqMark = record.seqMark
    session.sentUpToSeq = record.sentUpToSeq
    session.expiresAtMs = record.expiresAtMs
    session.expirySeconds = record.expirySeconds
    session.connected = record.connected
    this.#byNumber.set(record.number, session)
    this.#state.sessions.restore(session)
  }

  #addEntry(owner: SessionHandle, { entry }: StoredRecord & { kind: 'entry' }): void {
    const { sessions, limits } = this.#state
    sessions.enqueue(owner, 1, entry.message === undefined ? 0 : countedBytes(entry.message))
    owner.lastSeq = entry.seq
    if (entry.state === 'pubrel') owner.releasedSeqs.add(entry.seq)
    const expiresAtMs = entry.message?.expiresAtMs ?? 0
    if (expiresAtMs > 0) owner.earliestExpiryMs = Math.min(owner.earliestExpiryMs, expiresAtMs)
    // Connected when the process ended: as many of the oldest as the window holds may have been on their way,
    // behind those that were acknowledged and not forgotten on the disk.
    if (owner.connected && owner.queuedCount <= limits.maxInflight + MAX_UNFORGOTTEN_COUNT) {
      owner.sentUpToSeq = Math.max(owner.sentUpToSeq, entry.seq)
    }
  }
}
