/*
   What a start of the broker costs: from the spawn of `tunnelmq broker` to `ready` in its log, with an empty store.

   npm run bench:start [-- --times N]      seconds; prints a page
*/
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { Children, leaveNothingBehind } from './children.ts'
import { describeMachine, describeSource } from './machine.ts'
import { BUSY_LOAD, format, table } from './page.ts'

interface Start {
  readonly wallMs: number
  readonly cpuMs: number
  readonly rssMib: number
}

const program = resolve(import.meta.dirname, '../../dist/cli/index.js')
/** Of /proc; what Linux has everywhere. */
const TICKS_PER_SECOND = 100

async function start(children: Children, folder: string): Promise<Start> {
  const startedMs = performance.now()
  const child = children.start({
    command: {
      file: process.execPath,
      args: [
        '--max-semi-space-size=16',
        '--initial-old-space-size=64',
        program,
        'broker',
        '--config',
        join(folder, 'tunnelmq.yaml'),
      ],
    },
    core: undefined,
    folder,
    // What it prints for people.
    isQuiet: true,
  })
  for await (const line of createInterface({ input: child.stdout! })) {
    if (!line.includes('"msg":"ready"')) continue
    const wallMs = performance.now() - startedMs
    const { cpuMs, rssMib } = usageOf(child.pid!)
    await children.end(child, 0)
    rmSync(join(folder, 'store'), { recursive: true, force: true })
    return { wallMs, cpuMs, rssMib }
  }
  throw new Error('the broker ended before it was ready')
}

/** Fields of proc(5), counted behind the name, which may have spaces. */
function usageOf(pid: number): { cpuMs: number; rssMib: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const ticks = Number(fields[11]) + Number(fields[12])
  const rssKib = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
  return { cpuMs: (ticks * 1_000) / TICKS_PER_SECOND, rssMib: rssKib / 1024 }
}

function quantile(starts: readonly Start[], name: keyof Start, share: number): string {
  const values = starts.map((one) => one[name]).sort((a, b) => a - b)
  return format(values[Math.floor((values.length - 1) * share)])
}

const { values } = parseArgs({ options: { times: { type: 'string', default: '20' } } })
const times = Number(values.times)
if (!Number.isInteger(times) || times < 1) throw new Error(`--times ${values.times}: not a number of starts`)
const folder = mkdtempSync(join(tmpdir(), 'tunnelmq-bench-start-'))
const children = new Children()
leaveNothingBehind(children, folder)
const config = {
  listeners: [
    { type: 'tcp', port: 0 },
    { type: 'ws', port: 0 },
  ],
  admin: { port: 0 },
  store: { path: join(folder, 'store') },
}
// YAML, of which JSON is a part.
writeFileSync(join(folder, 'tunnelmq.yaml'), JSON.stringify(config))
try {
  const loadAverage = loadavg()[0] ?? 0
  const machine = describeMachine(loadAverage, folder)
  const source = describeSource(resolve(import.meta.dirname, '../..'))
  const starts: Start[] = []
  // The first one reads the files from the disk.
  await start(children, folder)
  while (starts.length < times) starts.push(await start(children, folder))
  const row = (name: keyof Start, label: string): string[] => [
    label,
    ...[0, 0.5, 1].map((share) => quantile(starts, name, share)),
  ]
  const busy = loadAverage > BUSY_LOAD ? ' (others were at work: read CPU time)' : ''
  const page = [
    `# Start, ${new Date().toISOString().slice(0, 10)}`,
    `${machine.cpu}, ${machine.coreCount} cores, ${machine.kernel}, Node ${machine.node}; load before ${loadAverage.toFixed(2)}${busy}; ` +
      `commit ${source.commit}${source.isChanged ? ' with uncommitted changes' : ''}; ${times} starts`,
    table(
      ['until it is ready', 'least', 'median', 'most'],
      [row('wallMs', 'time, ms'), row('cpuMs', 'CPU time, ms'), row('rssMib', 'memory (RSS), MiB')],
    ),
  ]
  process.stdout.write(`${page.join('\n\n')}\n`)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
