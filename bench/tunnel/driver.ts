import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { feed, GroupMeter, growth, residentBytes, StreamCheck } from './bulk.ts'
import { measureOpening, measurePing } from './ping.ts'
import { type BulkOrder, type BulkPlan, Command, type Figures, type LoadPlan, type Order } from './plan.ts'

/** The near end's process: one order as JSON in the first argument, the figures as JSON on standard output. */

/** Streams that are being opened at once, when many are wanted. */
const OPENING_AT_ONCE = 20
/** What a load has sent or received before the other stream is measured. */
const LOAD_WARMUP_BYTES = 32 * 2 ** 20
const LOAD_REPORT = 'going\n'

async function run({ plan, port, processes }: Order): Promise<Figures> {
  switch (plan.kind) {
    case 'bulk':
      return await measureBulk(plan, port, processes)
    case 'load':
      return await keepLoading(plan, port)
    case 'ping':
      return await measurePing(plan, port)
    case 'open':
      return await measureOpening(plan, port)
    default:
      return plan satisfies never
  }
}

async function measureBulk(
  { direction, streamCount, idleStreamCount, warmupBytes, timedBytes }: BulkPlan,
  port: number,
  processes: Order['processes'],
): Promise<Figures> {
  const before = residentBytes(processes)
  await openIdle(port, idleStreamCount)
  const order: BulkOrder = { group: String(process.pid), warmupBytes, timedBytes, processes }
  const figures = await new Promise<Figures>((resolve, reject) => {
    const meter = new GroupMeter(order)
    const startOne = direction === 'up' ? send : receive
    for (let index = 0; index < streamCount; index++) startOne({ port, order, meter, resolve, reject })
  })
  return { ...figures, ...growth(processes, before) }
}

interface BulkStream {
  readonly port: number
  readonly order: BulkOrder
  readonly meter: GroupMeter
  readonly resolve: (figures: Figures) => void
  readonly reject: (error: unknown) => void
}

/** The far end counts, and answers with the figures. */
function send({ port, order, resolve, reject }: BulkStream): void {
  const socket = openBulk(port, Command.sink, order, reject)
  let line = ''
  socket.on('data', (bytes: Buffer) => {
    line += bytes.toString('utf8')
    if (!line.endsWith('\n')) return
    const answer = JSON.parse(line) as Figures | { error: string } // written by target.ts of the same build
    if ('error' in answer) reject(new Error(answer.error))
    else resolve(answer)
  })
  feed(socket)
}

function receive({ port, order, meter, resolve, reject }: BulkStream): void {
  const socket = openBulk(port, Command.source, order, reject)
  const check = new StreamCheck()
  socket.on('data', (bytes: Buffer) => {
    try {
      check.take(bytes)
      const figures = meter.add(bytes.length)
      if (figures !== undefined) resolve(figures)
    } catch (error) {
      reject(error)
    }
  })
}

/** Says when it is at full speed; with the end of standard input it says how fast it was. */
async function keepLoading({ direction }: LoadPlan, port: number): Promise<Figures> {
  let bytes = 0
  let startedMs: number | undefined
  let startBytes = 0
  const count = (more: number): void => {
    bytes += more
    if (startedMs !== undefined || bytes < LOAD_WARMUP_BYTES) return
    startedMs = performance.now()
    startBytes = bytes
    process.stdout.write(LOAD_REPORT)
  }
  const order: BulkOrder = {
    group: String(process.pid),
    warmupBytes: Number.MAX_SAFE_INTEGER,
    timedBytes: Number.MAX_SAFE_INTEGER,
    processes: [],
  }
  const ended = new Promise<never>((_, reject) => {
    const socket = openBulk(port, direction === 'up' ? Command.sink : Command.source, order, reject)
    if (direction === 'up') feed(socket, count)
    else socket.on('data', (chunk: Buffer) => count(chunk.length))
  })
  await Promise.race([once(process.stdin.resume(), 'end'), ended])
  const elapsedMs = performance.now() - (startedMs ?? Number.NaN)
  return { loadMegabytesPerSecond: (bytes - startBytes) / 1e6 / (elapsedMs / 1000) }
}

function openBulk(port: number, command: string, order: BulkOrder, reject: (error: unknown) => void): Socket {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true })
  socket.once('error', reject)
  socket.once('close', () => reject(new Error('a bulk stream ended before its time')))
  socket.write(`${command}${JSON.stringify(order)}\n`)
  return socket
}

/** Each is known to lead to the far end: one byte went there and back. */
async function openIdle(port: number, streamCount: number): Promise<void> {
  let leftCount = streamCount
  const openInTurn = async (): Promise<void> => {
    while (leftCount-- > 0) {
      const socket = connect({ host: '127.0.0.1', port, noDelay: true })
      socket.write(`${Command.echo}x`)
      await once(socket, 'data')
    }
  }
  await Promise.all(Array.from({ length: OPENING_AT_ONCE }, openInTurn))
}

// The order is written by ../tunnel.ts of the same build; anything else fails in the first line that uses it.
const figures = await run(JSON.parse(process.argv[2] ?? '') as Order)
process.stdout.write(JSON.stringify(figures), () => process.exit(0))
