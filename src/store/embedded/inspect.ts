import { createSilentLog, type Log } from '../../log.ts'
import { countedBytes } from '../counted-bytes.ts'
import type { QueueEntry } from '../contract.ts'
import { decodeEntry } from '../codec.ts'
import type { Inspection, Repair, SessionFacts, StoreInspector, StoreProblem } from '../inspection.ts'
import { allOf, describeKey, KeyKind, parseKey, queueRange, versionKey } from './keys.ts'
import { readLayout } from './layout.ts'
import type { Level } from './level.ts'
import { deleteKeys, setAside } from './load.ts'
import { type StoredRecord, walk, type WalkedRecord } from './walk.ts'

interface NumberedFacts extends SessionFacts {
  readonly number: number
}

interface LevelProblem extends StoreProblem {
  readonly key: Buffer
  readonly value: Buffer
}

interface LevelInspection extends Inspection {
  readonly sessions: readonly NumberedFacts[]
  readonly problems: readonly LevelProblem[]
}

const PORTION = { maxCount: 1_000, maxBytes: 1024 * 1024 }
const EVERYTHING = { from: Buffer.of(0), before: Buffer.of(0xff) }

/** Looks into the LevelDB of that folder, which is open; `close` closes it. Throws TMQ_STORE for a layout that it does not read. */
export function inspectLevel(level: Level, path: string): StoreInspector {
  let last: LevelInspection | undefined
  return {
    inspect: async () => (last = await inspectStore(level, path)),
    repair: () => repairProblems(level, last?.problems ?? [], createSilentLog()),
    async queue(kind, id) {
      const { sessions } = (last ??= await inspectStore(level, path))
      const session = sessions.find((one) => one.kind === kind && one.id === id)
      return session && readQueueOf(level, session)
    },
    close: () => level.close(),
  }
}

async function inspectStore(level: Level, path: string): Promise<LevelInspection> {
  const inspector = new Inspector()
  const layout = await readLayout(level, path)
  if (layout === 'unfinished') {
    inspector.report(versionKey, 'a migration into this store is not finished: run it again', 'none')
  } else if (layout === 'missing') {
    inspector.report(versionKey, 'layout version is missing', 'none')
  }
  for await (const portion of walk(level)) for (const walked of portion) inspector.take(walked)
  const quarantined = await countQuarantined(level)
  await findUnknownKeys(level, inspector)
  const { sessions, retainedMessages, retainedBytes, wills, identities, problems } = inspector
  const diskBytes = await level.approximateBytes(EVERYTHING)
  return {
    sessions: [...sessions.values()],
    retainedMessages,
    retainedBytes,
    wills,
    identities,
    quarantined,
    size: { diskBytes },
    problems,
  }
}

/** Deletes what has no owner, and sets aside what cannot be decoded. Gives the number of mended problems. */
async function repairProblems(level: Level, problems: readonly LevelProblem[], log: Log): Promise<number> {
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
async function* readQueueOf(level: Level, session: NumberedFacts): AsyncGenerator<QueueEntry> {
  for await (const portion of level.scan(queueRange(session.number, 0), PORTION)) {
    for (const [key, value] of portion) {
      const parsed = parseKey(key)
      const entry = parsed?.kind === 'queue' ? decodeEntry(parsed.seq, value) : undefined
      if (entry !== undefined) yield entry
    }
  }
}

class Inspector {
  readonly sessions = new Map<number, NumberedFacts>()
  readonly problems: LevelProblem[] = []
  retainedMessages = 0
  retainedBytes = 0
  wills = 0
  identities = 0

  report(key: Buffer, what: string, repair: Repair, value: Buffer = Buffer.alloc(0)): void {
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

  #count(record: StoredRecord, owner: NumberedFacts | undefined, key: Buffer): void {
    if (record.kind === 'session') return this.#addSession(record, key)
    if (record.kind === 'retained') {
      this.retainedMessages++
      this.retainedBytes += countedBytes(record.message)
    } else if (record.kind === 'will') this.wills++
    else if (record.kind === 'identity') this.identities++
    if (owner === undefined) return
    if (record.kind === 'subscription') owner.subscriptions++
    else if (record.kind === 'incoming') owner.incomingIds++
    else if (record.kind === 'entry') {
      owner.queuedMessages++
      const { message } = record.entry
      owner.queuedBytes += message === undefined ? 0 : countedBytes(message)
    }
  }

  #addSession({ sessionKind, id, session }: StoredRecord & { kind: 'session' }, key: Buffer): void {
    const other = this.sessions.get(session.number)
    if (other !== undefined) this.report(key, `has the number of ${JSON.stringify(other.id)}, too`, 'none')
    const { number, connected, createdAtMs, expiresAtMs, expirySeconds } = session
    const nothing = { subscriptions: 0, incomingIds: 0, queuedMessages: 0, queuedBytes: 0 }
    this.sessions.set(number, {
      kind: sessionKind,
      id,
      number,
      connected,
      createdAtMs,
      expiresAtMs,
      expirySeconds,
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
