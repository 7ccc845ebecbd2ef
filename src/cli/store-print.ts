import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { Inspection, SessionFacts, StoreInspector } from '../store/inspection.ts'
import { NEVER_EXPIRES } from '../store/session-expiry.ts'
import { sessionIdOf } from '../store/session-id.ts'
import { formatTable } from './table.ts'

/** Bytes of a payload that the table of a queue shows. */
const SHOWN_PAYLOAD_BYTES = 40

export interface PrintFlags {
  readonly json?: boolean
}

export interface QueueFlags extends PrintFlags {
  readonly group?: boolean
  readonly mountpoint?: string
  readonly limit?: string
}

/** How much is stored, in sums. */
export function printStats(found: Inspection, flags: PrintFlags): void {
  const sum = (of: (session: SessionFacts) => number): number =>
    found.sessions.reduce((total, session) => total + of(session), 0)
  const stats = {
    sessions: found.sessions.filter((session) => session.kind === 'client').length,
    groups: found.sessions.filter((session) => session.kind === 'group').length,
    subscriptions: sum((session) => session.subscriptions),
    incomingIds: sum((session) => session.incomingIds),
    queuedMessages: sum((session) => session.queuedMessages),
    queuedBytes: sum((session) => session.queuedBytes),
    retainedMessages: found.retainedMessages,
    retainedBytes: found.retainedBytes,
    wills: found.wills,
    identities: found.identities,
    setAside: found.quarantined,
    ...found.size,
    problems: found.problems.length,
  }
  printCounts(stats, flags)
}

/** A row for each. */
export function printSessions(sessions: readonly SessionFacts[], flags: PrintFlags): void {
  const rows = sessions.map(({ createdAtMs, expiresAtMs, expirySeconds = null, ...facts }) => ({
    kind: facts.kind,
    id: facts.id,
    connected: facts.connected,
    subscriptions: facts.subscriptions,
    incomingIds: facts.incomingIds,
    queuedMessages: facts.queuedMessages,
    queuedBytes: facts.queuedBytes,
    created: time(createdAtMs),
    expires: expiresAtMs === 0 ? '' : time(expiresAtMs),
    expirySeconds,
  }))
  if (flags.json === true) return printJson(rows)
  const headings = ['kind', 'id', 'subscriptions', 'queued', 'bytes', 'created', 'expires', 'expiry']
  process.stdout.write(
    formatTable(
      headings,
      rows.map((row) => [
        row.kind,
        printable(row.id),
        row.subscriptions,
        row.queuedMessages,
        row.queuedBytes,
        row.created,
        row.expires,
        expiryText(row.expirySeconds),
      ]),
    ),
  )
}

/** What waits for one client, or for a group. Throws TMQ_STORE when there is none, TMQ_USAGE. */
export async function printQueue(
  inspector: StoreInspector,
  client: string,
  flags: QueueFlags,
): Promise<void> {
  const kind = flags.group === true ? 'group' : 'client'
  const limit = Number(flags.limit)
  if (!Number.isInteger(limit) || limit < 1) {
    throw new TunnelMQError(ErrorCode.usage, `--limit ${flags.limit} is not a count`)
  }
  const id = sessionIdOf(client, kind === 'client' ? (flags.mountpoint ?? '') : '')
  const queue = await inspector.queue(kind, id)
  if (queue === undefined) throw new TunnelMQError(ErrorCode.store, `There is no ${kind} ${client}`)
  const rows = []
  for await (const { seq, qos, state, message } of queue) {
    if (rows.length >= limit) break
    rows.push({
      seq,
      qos,
      state,
      topic: message?.topic ?? '',
      publisher: message?.publisher ?? '',
      published: message === undefined ? '' : time(message.publishedAtMs),
      bytes: message?.payload.length ?? 0,
      payload: message?.payload.subarray(0, SHOWN_PAYLOAD_BYTES).toString('utf8') ?? '',
    })
  }
  if (flags.json === true) return printJson(rows)
  const cells = rows.map((row) =>
    Object.values(row).map((cell) => (typeof cell === 'string' ? printable(cell) : cell)),
  )
  const headings = ['seq', 'qos', 'state', 'topic', 'publisher', 'published', 'bytes', 'payload']
  process.stdout.write(formatTable(headings, cells))
}

/** Each problem, and how many there are. */
export function printProblems({ problems, sessions }: Inspection, mended: number, flags: PrintFlags): void {
  const list = problems.map(({ what, repair }) => ({ problem: what, repair }))
  if (flags.json === true) return printJson({ sessions: sessions.length, problems: list, mended })
  for (const { problem, repair } of list) process.stdout.write(`${printable(problem)} (repair: ${repair})\n`)
  process.stdout.write(`${problems.length} problems, ${mended} mended, ${sessions.length} sessions\n`)
}

/** Names and numbers. */
export function printCounts(counts: Readonly<Record<string, number>>, flags: PrintFlags): void {
  if (flags.json === true) return printJson(counts)
  process.stdout.write(formatTable(['what', 'count'], Object.entries(counts)))
}

/** The interval that a client of MQTT 5 has asked for; others have that of the configuration. */
function expiryText(seconds: number | null): string {
  if (seconds === null) return ''
  return seconds === NEVER_EXPIRES ? 'never' : `${seconds} s`
}

function time(ms: number): string {
  const date = new Date(ms)
  return Number.isNaN(date.getTime()) ? '?' : date.toISOString()
}

/** Control characters of clients do not reach the terminal. */
function printable(text: string): string {
  return text.replaceAll(/\p{C}/gu, '\u{b7}')
}

function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, undefined, 2)}\n`)
}
