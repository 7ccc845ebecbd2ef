import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { closeCodeOf, dialPort, openTarget } from './tunnel-ends.ts'
import { until } from './tunnel-processes.ts'

/** What goes through a tunnel of processes: counted while it goes, and compared by its SHA-256. */

const CHUNK_BYTES = 65_536
const POOL_BYTES = 128 * CHUNK_BYTES
/** Odd: so that chunks begin anywhere, and none comes twice in a long time. */
const STRIDE_BYTES = 1_000_003
const MIB = 1_048_576

const pool = randomBytes(POOL_BYTES)

function chunkAt(index: number): Buffer {
  const start = (index * STRIDE_BYTES) % (POOL_BYTES - CHUNK_BYTES)
  return pool.subarray(start, start + CHUNK_BYTES)
}

/** A target of the agent, in this process. */
export interface Target {
  /** `127.0.0.1:port`. */
  readonly address: string
  /** The next connection that has come, or will. */
  next(): Promise<Socket>
}

export async function openTargetQueue(): Promise<Target> {
  const came: Socket[] = []
  const waiting: ((socket: Socket) => void)[] = []
  const address = await openTarget((socket) => {
    const taker = waiting.shift()
    if (taker === undefined) came.push(socket)
    else taker(socket)
  })
  return {
    address,
    next: () => {
      const socket = came.shift()
      return socket === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(socket)
    },
  }
}

/** The two sockets that a tunnel joins. */
export interface Joint {
  /** At the forward. */
  readonly near: Socket
  /** At the target. */
  readonly far: Socket
}

export async function joinThrough(port: number | undefined, target: Target): Promise<Joint> {
  const near = await dialPort(port)
  near.on('error', () => undefined)
  const refused = once(near, 'close').then((): never => {
    throw new Error('the connection to the forward was closed before it came to the target')
  })
  return { near, far: await Promise.race([target.next(), refused]) }
}

/** Connects, and waits for the end: its code. The end may come before the news that it is connected. */
export function closeCodeAt(port: number | undefined): Promise<string | undefined> {
  return closeCodeOf(connect({ port: port!, host: '127.0.0.1', allowHalfOpen: true }))
}

export interface FlowResult {
  /** Number of bytes and SHA-256. */
  readonly sent: string
  readonly received: string
}

/** One direction of a joint, under way. */
export interface Flow {
  readonly sentBytes: number
  readonly receivedBytes: number
  /** Ends it, with what was sent until now. */
  stop(): void
  /** Resolves when the receiver has got the end; rejects when either socket fails. */
  readonly done: Promise<FlowResult>
}

/** Sends as fast as it is taken: so many bytes, or until `stop`. */
export function startFlow(from: Socket, to: Socket, byteCount = Infinity): Flow {
  const sent = createHash('sha256')
  const received = createHash('sha256')
  let wantedBytes = byteCount
  const flow = {
    sentBytes: 0,
    receivedBytes: 0,
    stop: () => void (wantedBytes = flow.sentBytes),
    done: Promise.resolve({ sent: '', received: '' }),
  }

  async function pump(): Promise<void> {
    for (let index = 0; flow.sentBytes < wantedBytes; index++) {
      const chunk = chunkAt(index).subarray(0, Math.min(CHUNK_BYTES, wantedBytes - flow.sentBytes))
      sent.update(chunk)
      flow.sentBytes += chunk.length
      if (!from.write(chunk)) await once(from, 'drain')
    }
    from.end()
  }

  async function take(): Promise<void> {
    to.on('data', (bytes: Buffer) => {
      flow.receivedBytes += bytes.length
      received.update(bytes)
    })
    await once(to, 'end')
  }

  flow.done = Promise.all([pump(), take()]).then(() => ({
    sent: `${flow.sentBytes} ${sent.digest('hex')}`,
    received: `${flow.receivedBytes} ${received.digest('hex')}`,
  }))
  // Whoever looks at it later still gets it.
  flow.done.catch(() => undefined)
  return flow
}

/** One line a test: what was sent, and what of it came, each way. */
export function reportFlows(
  test: string,
  flows: Readonly<Record<string, Flow | readonly Flow[]>>,
  more = '',
): void {
  const figures = Object.entries(flows).map(([name, some]) => {
    const all = [some].flat()
    const total = (key: 'sentBytes' | 'receivedBytes'): string =>
      (all.reduce((sum, flow) => sum + flow[key], 0) / MIB).toFixed(1)
    return `${name} ${total('sentBytes')} MiB sent, ${total('receivedBytes')} received`
  })
  console.log(`tunnel fault ${test}: ${[...figures, ...(more === '' ? [] : [more])].join('; ')}`)
}

/** Resolves when each has brought so much more than it had. */
export async function untilMore(flows: readonly Flow[], byteCount: number): Promise<void> {
  const goals = flows.map((flow) => flow.receivedBytes + byteCount)
  await until(() => flows.every((flow, index) => flow.receivedBytes >= goals[index]!))
}
