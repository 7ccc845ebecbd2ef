import { Command } from 'commander'
import { loadConfig } from '../config/load.ts'
import type { Environment } from '../config/overrides.ts'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import { createSilentLog } from '../log.ts'
import {
  type Inspection,
  inspectStore,
  readQueueOf,
  repairProblems,
  type SessionFacts,
} from '../store/embedded/inspect.ts'
import { type Level, openLevel, repairLevel } from '../store/embedded/level.ts'
import { sessionIdOf } from '../store/session-id.ts'
import { formatTable } from './table.ts'

const help = `
The broker must not be running: it has the store to itself.

  tunnelmq store stats --path ./data
  tunnelmq store queue pump-7 --config /etc/tunnelmq.yaml --json
  tunnelmq store check --path ./data --repair`

/** Bytes of a payload that the table of a queue shows. */
const SHOWN_PAYLOAD_BYTES = 40
const CACHE_BYTES = 8 * 1024 * 1024

interface StoreFlags {
  readonly path?: string
  readonly config?: string
  readonly json?: boolean
  readonly group?: boolean
  readonly mountpoint?: string
  readonly limit?: string
  readonly repair?: boolean
}

/** `tunnelmq store`: looks into the embedded store while no broker runs. */
export function storeCommand(env: Environment = process.env): Command {
  const command = new Command('store').description('look into a store, and check it, while no broker runs')
  subcommand(command, 'stats', 'show how much is stored').action(async (flags: StoreFlags) => {
    await withStore(flags, env, async (level) => printStats(await inspectStore(level), flags))
  })
  subcommand(command, 'sessions', 'list the sessions').action(async (flags: StoreFlags) => {
    await withStore(flags, env, async (level) => printSessions((await inspectStore(level)).sessions, flags))
  })
  subcommand(command, 'queue', 'list what waits for a session')
    .argument('<client>', 'client id; with --group, <group>/<filter>')
    .option('--group', 'the queue of a shared subscription')
    .option('--mountpoint <prefix>', "of the client's listener, if it has one")
    .option('-n, --limit <count>', 'at most so many, oldest first', '100')
    .action(async (client: string, flags: StoreFlags) => {
      await withStore(flags, env, (level) => printQueue(level, client, flags))
    })
  subcommand(command, 'check', 'read every key and value; exit code 1 if something is wrong')
    .option('--repair', 'delete what has no owner, set damaged values aside, mend damaged files')
    .action(async (flags: StoreFlags) => check(flags, env))
  return command.addHelpText('after', help)
}

function subcommand(parent: Command, name: string, description: string): Command {
  return parent
    .command(name)
    .description(description)
    .option('-p, --path <folder>', 'folder of the store')
    .option('-c, --config <file>', 'configuration file, whose store.path is used')
    .option('--json', 'print JSON')
}

async function pathOf(flags: StoreFlags, env: Environment): Promise<string> {
  if (flags.path !== undefined) return flags.path
  const { config } = await loadConfig({ file: flags.config, env })
  return config.store.path
}

async function withStore(
  flags: StoreFlags,
  env: Environment,
  use: (level: Level) => Promise<void> | void,
): Promise<void> {
  const level = await openLevel(await pathOf(flags, env), { cacheBytes: CACHE_BYTES, createIfMissing: false })
  try {
    await use(level)
  } finally {
    await level.close()
  }
}

function printStats(found: Inspection, flags: StoreFlags): void {
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
    setAside: found.quarantined,
    diskBytes: found.diskBytes,
    problems: found.problems.length,
  }
  if (flags.json === true) return printJson(stats)
  process.stdout.write(formatTable(['what', 'count'], Object.entries(stats)))
}

function printSessions(sessions: readonly SessionFacts[], flags: StoreFlags): void {
  const rows = sessions.map(({ createdAtMs, expiresAtMs, ...facts }) => ({
    kind: facts.kind,
    id: facts.id,
    connected: facts.connected,
    subscriptions: facts.subscriptions,
    incomingIds: facts.incomingIds,
    queuedMessages: facts.queuedMessages,
    queuedBytes: facts.queuedBytes,
    created: time(createdAtMs),
    expires: expiresAtMs === 0 ? '' : time(expiresAtMs),
  }))
  if (flags.json === true) return printJson(rows)
  const headings = ['kind', 'id', 'subscriptions', 'queued', 'bytes', 'created', 'expires']
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
      ]),
    ),
  )
}

async function printQueue(level: Level, client: string, flags: StoreFlags): Promise<void> {
  const kind = flags.group === true ? 'group' : 'client'
  const limit = Number(flags.limit)
  if (!Number.isInteger(limit) || limit < 1) {
    throw new TunnelMQError(ErrorCode.usage, `--limit ${flags.limit} is not a count`)
  }
  const { sessions } = await inspectStore(level)
  const id = sessionIdOf(client, kind === 'client' ? (flags.mountpoint ?? '') : '')
  const session = sessions.find((one) => one.kind === kind && one.id === id)
  if (session === undefined) throw new TunnelMQError(ErrorCode.store, `There is no ${kind} ${client}`)
  const rows = []
  for await (const { seq, qos, state, message } of readQueueOf(level, session)) {
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

async function check(flags: StoreFlags, env: Environment): Promise<void> {
  const path = await pathOf(flags, env)
  const repair = flags.repair === true
  try {
    await withStore({ path }, env, (level) => checkValues(level, flags))
  } catch (error) {
    if (!repair || !isDamage(error)) throw error
    process.stderr.write(`${error.message}\nMending the files of ${path} ...\n`)
    await repairLevel(path)
    await withStore({ path }, env, (level) => checkValues(level, flags))
  }
}

async function checkValues(level: Level, flags: StoreFlags): Promise<void> {
  const { problems, sessions } = await inspectStore(level)
  const mended = flags.repair === true ? await repairProblems(level, problems, createSilentLog()) : 0
  if (mended < problems.length) process.exitCode = 1
  const list = problems.map(({ what, repair }) => ({ problem: what, repair }))
  if (flags.json === true) return printJson({ sessions: sessions.length, problems: list, mended })
  for (const { problem, repair } of list) process.stdout.write(`${problem} (repair: ${repair})\n`)
  process.stdout.write(`${problems.length} problems, ${mended} mended, ${sessions.length} sessions\n`)
}

/** Damage of LevelDB's own files, which it can mend; not a lock, or a folder that is not there. */
function isDamage(error: unknown): error is Error {
  return error instanceof Error && /corrupt|damaged|missing files/i.test(error.message)
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
