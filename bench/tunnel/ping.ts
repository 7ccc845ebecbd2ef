import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { Command, type Figures, type OpenPlan, type PingPlan } from './plan.ts'

/** Times of one message there and back, and of opening a stream. */

const MESSAGE_BYTES = 64
const US_PER_MS = 1000
/** Of the time: pings that take long are few, and so is their warm-up. */
const WARMUP_SHARE = 5
/** No answer for this long: the tunnel hangs, and nothing else will end the wait. */
const ANSWER_DEADLINE_MS = 10_000

export async function measurePing({ warmupCount, count, mostMs }: PingPlan, port: number): Promise<Figures> {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true })
  socket.write(Command.echo)
  const timesUs = await pingInTurn(socket, { warmupCount, count, mostMs })
  socket.destroy()
  return {
    pingP50Us: percentile(timesUs, 0.5),
    pingP99Us: percentile(timesUs, 0.99),
    pingCount: timesUs.length,
  }
}

export async function measureOpening({ warmupCount, count }: OpenPlan, port: number): Promise<Figures> {
  const timesUs: number[] = []
  for (let index = 0; index < warmupCount + count; index++) {
    const startedMs = performance.now()
    const socket = connect({ host: '127.0.0.1', port, noDelay: true })
    socket.write(`${Command.echo}x`)
    await once(socket, 'data', { signal: AbortSignal.timeout(ANSWER_DEADLINE_MS) })
    if (index >= warmupCount) timesUs.push((performance.now() - startedMs) * US_PER_MS)
    socket.destroy()
  }
  return { openP50Us: percentile(timesUs, 0.5), openP99Us: percentile(timesUs, 0.99) }
}

/** Without promises between the pings: a turn of the event loop is not the tunnel's. */
async function pingInTurn(
  socket: Socket,
  { warmupCount, count, mostMs }: Omit<PingPlan, 'kind'>,
): Promise<number[]> {
  return await new Promise((resolve, reject) => {
    const timesUs: number[] = []
    const message = Buffer.alloc(MESSAGE_BYTES, 0x70)
    let countedFromMs: number | undefined
    const beganMs = performance.now()
    let sentCount = 0
    let receivedBytes = 0
    let sentMs = 0
    const next = (): void => {
      receivedBytes = 0
      message.writeUInt32BE(sentCount++)
      sentMs = performance.now()
      socket.write(message)
    }
    socket.on('data', (bytes: Buffer) => {
      if (message.compare(bytes, 0, bytes.length, receivedBytes, receivedBytes + bytes.length) !== 0)
        return reject(new Error(`another answer than ping ${sentCount - 1}`))
      receivedBytes += bytes.length
      if (receivedBytes < MESSAGE_BYTES) return
      const nowMs = performance.now()
      if (countedFromMs !== undefined) timesUs.push((nowMs - sentMs) * US_PER_MS)
      else if (sentCount === warmupCount || nowMs - beganMs > mostMs / WARMUP_SHARE) countedFromMs = nowMs
      if (timesUs.length === count || nowMs - (countedFromMs ?? nowMs) > mostMs) resolve(timesUs)
      else next()
    })
    socket.setTimeout(ANSWER_DEADLINE_MS, () => reject(new Error(`no answer to ping ${sentCount - 1}`)))
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('the ping stream ended before its time')))
    next()
  })
}

function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}
