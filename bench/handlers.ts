/*
   The chain and its guard, as a listener has them, without broker and network: what a handler costs each CONNECT and
   each PUBLISH. `http` asks a service in a process of its own, over kept connections on loopback.

   npm run bench:handlers [-- --seconds N]      about a minute; prints a page
*/
import { mkdtempSync, rmSync } from 'node:fs'
import { once } from 'node:events'
import { loadavg, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { Children, leaveNothingBehind } from './children.ts'
import { createCases, type ClientFacts, type HandlerCase } from './handlers/cases.ts'
import { describeMachine, describeSource } from './machine.ts'
import { BUSY_LOAD, format, table } from './page.ts'

/** As much of the build in dist as is used here. */
interface Guard {
  authConnect(session: object): Decision | Promise<Decision>
  authPublish(session: object, message: object): Decision | Promise<Decision>
}
interface Decision {
  readonly allowed: boolean
}
interface Modules {
  readonly buildHandlers: (configs: unknown, dependencies: object) => Promise<{ close?(): Promise<void> }[]>
  readonly createChain: (handlers: unknown) => unknown
  readonly createGuard: (chain: unknown, options: object) => Guard
  readonly createSilentLog: () => unknown
  readonly Directory: new (log: unknown) => { loaded(records: readonly object[], revision: number): void }
  readonly handlerSchema: { parse(input: object): unknown }
}

interface Figures {
  /** One after the other: from the question to the answer. */
  readonly medianUs: number
  readonly p99Us: number
  /** CPU time of this process for each. */
  readonly cpuUs: number
  /** With 32 under way at once. */
  readonly perSecond: number
}

const AT_ONCE = 32
const WARMUP_SHARE = 0.2
const dist = new URL('../../dist/', import.meta.url)

async function load(): Promise<Modules> {
  const files = [
    'hooks/build.js',
    'hooks/chain.js',
    'hooks/guard.js',
    'identities/directory.js',
    'log.js',
    'config/handler-schema.js',
  ]
  const loaded = await Promise.all(files.map((file) => import(new URL(file, dist).href) as Promise<object>))
  return Object.assign({}, ...loaded) as Modules
}

function sessionOf({ id, username, password, certificate }: ClientFacts): object {
  return {
    id,
    username,
    password: password === undefined ? undefined : Buffer.from(password),
    will: undefined,
    clean: true,
    keepalive: 60,
    protocolVersion: 4,
    peer: {
      address: '192.0.2.1',
      port: 40_000,
      addressSource: 'socket',
      socketAddress: '192.0.2.1',
      listener: 'tcp-1883',
      transport: 'tcp',
      ...(certificate && { certificate }),
    },
    connectedAtMs: 0,
    attributes: new Map(),
    signal: new AbortController().signal,
  }
}

/** Calls for so long, first one by one, then several at once. */
async function measure(call: (n: number) => Decision | Promise<Decision>, forMs: number): Promise<Figures> {
  let n = 0
  const until = async (endMs: number, times?: number[]): Promise<void> => {
    while (performance.now() < endMs) {
      const startedMs = performance.now()
      const answer = call(n++)
      if (answer instanceof Promise) await answer
      times?.push(performance.now() - startedMs)
    }
  }
  await until(performance.now() + forMs * WARMUP_SHARE)
  const times: number[] = []
  const cpu = process.cpuUsage()
  const first = n
  await until(performance.now() + forMs / 2, times)
  const { user, system } = process.cpuUsage(cpu)
  const calls = n - first
  const startedMs = performance.now()
  const before = n
  await Promise.all(Array.from({ length: AT_ONCE }, () => until(startedMs + forMs / 2)))
  times.sort((a, b) => a - b)
  const quantile = (share: number): number => (times[Math.floor(times.length * share)] ?? 0) * 1_000
  return {
    medianUs: quantile(0.5),
    p99Us: quantile(0.99),
    cpuUs: (user + system) / calls,
    perSecond: ((n - before) * 1_000) / (performance.now() - startedMs),
  }
}

async function run(one: HandlerCase, modules: Modules, forMs: number): Promise<string[][]> {
  const configs = one.handlers.map((handler) => modules.handlerSchema.parse(handler))
  const log = modules.createSilentLog()
  const directory = new modules.Directory(log)
  directory.loaded(one.identities ?? [], 1)
  const handlers = await modules.buildHandlers(configs, { log, mountpoint: '', directory })
  const guard = modules.createGuard(modules.createChain(handlers), {
    timeoutMs: 5_000,
    maxConcurrent: 100,
    onFailure: ({ cause }: { cause: unknown }) => {
      throw new Error(`${one.name}: a handler failed`, { cause })
    },
  })
  const session = sessionOf(one.client(0))
  const connected = await guard.authConnect(session)
  if (one.measures.includes('connect') && connected.allowed === (one.isRefused ?? false))
    throw new Error(`${one.name}: the first client was ${connected.allowed ? 'let in' : 'refused'}`)
  const rows: string[][] = []
  for (const what of one.measures) {
    const figures = await measure(
      what === 'connect'
        ? (n) => guard.authConnect(sessionOf(one.client(n)))
        : (n) =>
            guard.authPublish(session, {
              topic: one.topic(n),
              payload: Buffer.alloc(100),
              retain: false,
              qos: 0,
              dup: false,
              isWill: false,
            }),
      forMs,
    )
    rows.push([
      one.name,
      what,
      format(figures.medianUs),
      format(figures.p99Us),
      format(figures.cpuUs),
      format(figures.perSecond),
    ])
    process.stderr.write(`${one.name}, ${what}: ${format(figures.cpuUs)} us CPU\n`)
  }
  for (const handler of handlers) await handler.close?.()
  return rows
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { seconds: { type: 'string', default: '2' } } })
  const forMs = Number(values.seconds) * 1_000
  if (!(forMs > 0)) throw new Error(`--seconds ${values.seconds}: not a number of seconds`)
  const folder = mkdtempSync(join(tmpdir(), 'tunnelmq-bench-handlers-'))
  const children = new Children()
  leaveNothingBehind(children, folder)
  try {
    const loadAverage = loadavg()[0] ?? 0
    const machine = describeMachine(loadAverage, folder)
    const source = describeSource(resolve(import.meta.dirname, '../..'))
    const program = join(import.meta.dirname, 'handlers', 'service.js')
    const service = children.start({
      command: { file: process.execPath, args: [program] },
      core: undefined,
      folder,
    })
    const [said] = (await once(service.stdout!, 'data')) as [Buffer]
    const serviceUrl = `http://127.0.0.1:${Number(said.toString())}`
    const modules = await load()
    const rows: string[][] = []
    for (const one of await createCases({ folder, serviceUrl }))
      rows.push(...(await run(one, modules, forMs)))
    await children.end(service, 0)
    const busy = loadAverage > BUSY_LOAD ? ' (others were at work: read CPU time, not rates)' : ''
    const page = [
      `# Handlers, ${new Date().toISOString().slice(0, 10)}`,
      table(
        ['', ''],
        [
          [
            'machine',
            `${machine.cpu}, ${machine.coreCount} cores, ${machine.memoryGib} GiB, ${machine.kernel}`,
          ],
          ['load before', `${loadAverage.toFixed(2)}${busy}`],
          ['Node', machine.node],
          ['commit', `${source.commit}${source.isChanged ? ' with uncommitted changes' : ''}`],
          ['each line', `${forMs / 2_000} s one after the other, ${forMs / 2_000} s with ${AT_ONCE} at once`],
        ],
      ),
      'Chain and guard alone, without broker and network; CPU time of this process, threads included, without the service.',
      table(['handler', 'question', 'median us', 'p99 us', 'CPU us', `a second, ${AT_ONCE} at once`], rows),
    ]
    process.stdout.write(`${page.join('\n\n')}\n`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

await main()
