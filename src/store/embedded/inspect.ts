import type { Log } from '../../log.ts'
import type { QueueEntry, SessionKind } from '../contract.ts'
import { decodeEntry, VERSION } from '../codec.ts'
import { allOf, describeKey, KeyKind, parseKey, queueRange, versionKey } from './keys.ts'
import type { Level } from './level.ts'
import { deleteKeys, setAside } from './load.ts'
import { type StoredRecord, walk, type WalkedRecord } from './walk.ts'

export interface SessionFacts {
  readonly kind: SessionKind
  readonly id: string
  readonly number: number
  readonly connected: boolean
  readonly createdAtMs: number
  readonly expiresAtMs: number
  subscriptions: number
  incomingIds: number
  queuedMessages: number
  queuedBytes: number
}

export interface StoreProblem {
  /** For people. */
  readonly what: string
  readonly repair: 'set aside' | 'delete' | 'none'
  readonly key: Buffer
  readonly value: Buffer
}

export interface Inspection {
  readonly sessions: readonly SessionFacts[]
  readonly retainedMessages: number
  readonly retainedBytes: number
  readonly wills: number
  /** Values that were set aside earlier. */
  readonly quarantined: number
  readonly diskBytes: number
  readonly problems: readonly StoreProblem[]
}

const PORTION = { maxCount: 1_000, maxBytes: 1024 * 1024 }
const EVERYTHING = { from: Buffer.of(0), before: Buffer.of(0xff) }

/** Reads every key and value of a store that no broker has open. */
export async function inspectStore(level: Level): Promise<Inspection> {
  const inspector = new Inspector()
  const version = await level.get(versionKey)
  if (version?.[0] !== VERSION) inspector.report(versionKey, 'layout version is missing or unknown', 'none')
  for await (const portion of walk(level)) for (const walked of portion) inspector.take(walked)
  const quarantined = await countQuarantined(level)
  await findUnknownKeys(level, inspector)
  const { sessions, retainedMessages, retainedBytes, wills, problems } = inspector
  const diskBytes = await level.approximateBytes(EVERYTHING)
  return {
    sessions: [...sessions.values()],
    retainedMessages,
    retainedBytes,
    wills,
    quarantined,
    diskBytes,
    problems,
  }
}

/** Deletes what has no owner, and sets aside what cannot be decoded. Gives the number of mended problems. */
export async function repairProblems(
  level: Level,
  problems: readonly StoreProblem[],
  log: Log,
): Promise<number> {
  const damaged = problems.filter((problem) => problem.repair === 'set aside')
  const orphans = problems.filter((problem) => problem.repair === 'delete')
  await setAside(level, damaged, log)
  await deleteKeys(
    level,
    orphans.map((problem) => problem.key),
  )
  return damaged.length + orphans.length
}

/** The entries of one queue, oldest first, in portions; damaged ones are left out. */
export async function* readQueueOf(level: Level, session: SessionFacts): AsyncGenerator<QueueEntry> {
  for await (const portion of level.scan(queueRange(session.number, 0), PORTION)) {
    for (const [key, value] of portion) {
      const parsed = parseKey(key)
      const entry = parsed?.kind === 'queue' ? decodeEntry(parsed.seq, value) : undefined
      if (entry !== undefined) yield entry
    }
  }
}

class Inspector {
  readonly sessions = new Map<number, SessionFacts>()
  readonly problems: StoreProblem[] = []
  retainedMessages = 0
  retainedBytes = 0
  wills = 0

  report(key: Buffer, what: string, repair: StoreProblem['repair'], value: Buffer = Buffer.alloc(0)): void {
    this.problems.push({ what: `${describeKey(key)}: ${what}`, repair, key, value })
  }

  take({ key, value, record }: WalkedRecord): void {
    if (record.kind === 'corrupt') return this.report(key, 'the value is damaged', 'set aside', value)
    const owner = 'owner' in record ? this.sessions.get(record.owner) : undefined
    if ('owner' in record && owner === undefined) {
      return this.report(key, 'belongs to no session', 'delete', value)
    }
    this.#count(record, owner, key)
  }

  #count(record: StoredRecord, owner: SessionFacts | undefined, key: Buffer): void {
    if (record.kind === 'session') return this.#addSession(record, key)
    if (record.kind === 'retained') {
      this.retainedMessages++
      this.retainedBytes += record.message.payload.length
    } else if (record.kind === 'will') this.wills++
    if (owner === undefined) return
    if (record.kind === 'subscription') owner.subscriptions++
    else if (record.kind === 'incoming') owner.incomingIds++
    else if (record.kind === 'entry') {
      owner.queuedMessages++
      owner.queuedBytes += record.entry.message?.payload.length ?? 0
    }
  }

  #addSession({ sessionKind, id, session }: StoredRecord & { kind: 'session' }, key: Buffer): void {
    const other = this.sessions.get(session.number)
    if (other !== undefined) this.report(key, `has the number of ${JSON.stringify(other.id)}, too`, 'none')
    const { number, connected, createdAtMs, expiresAtMs } = session
    const nothing = { subscriptions: 0, incomingIds: 0, queuedMessages: 0, queuedBytes: 0 }
    this.sessions.set(number, {
      kind: sessionKind,
      id,
      number,
      connected,
      createdAtMs,
      expiresAtMs,
      ...nothing,
    })
  }
}

async function countQuarantined(level: Level): Promise<number> {
  let count = 0
  for await (const portion of level.scan(allOf(KeyKind.quarantine), PORTION)) count += portion.length
  return count
}

async function findUnknownKeys(level: Level, inspector: Inspector): Promise<void> {
  const known = new Set<number>(Object.values(KeyKind))
  for (let first = 0; first < 0xff; first++) {
    if (known.has(first)) continue
    const range = { from: Buffer.of(first), before: Buffer.of(first + 1) }
    for await (const portion of level.scan(range, PORTION)) {
      for (const [key, value] of portion) inspector.report(key, 'is no key of this store', 'set aside', value)
    }
  }
}
