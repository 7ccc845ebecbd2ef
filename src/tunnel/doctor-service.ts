import { randomBytes } from 'node:crypto'
import type { Channel } from './endpoint/channel.ts'
import { TunnelStream } from './endpoint/tunnel-stream.ts'

/**
 * The built-in service of an agent against which `tunnelmq doctor --agent` measures a tunnel. It reaches nothing: what
 * comes is sent back or dropped, within bounds. The first line says what is wanted:
 *
 *   echo       send back what comes
 *   discard    count what comes, and answer with the count at its end
 *   send N     send N bytes
 */
export const DOCTOR_SERVICE = 'doctor'

/** Of one stream: bytes each way, and how long. More resets it. */
export const MAX_DOCTOR_BYTES = 16 * 1_048_576
const MAX_MS = 30_000
/** Streams at once, of all clients; so what it costs is bounded, too. */
export const MAX_DOCTOR_STREAMS = 2

const MAX_LINE_BYTES = 32
const CHUNK_BYTES = 16_384

/** Serves one stream, until it has ended. */
export function serveDoctor(channel: Channel): TunnelStream {
  const stream = new TunnelStream(channel, DOCTOR_SERVICE)
  const timer = setTimeout(() => stream.destroy(), MAX_MS)
  stream.once('close', () => clearTimeout(timer))
  // The client has gone, or asks for too much: that is the end of it.
  stream.on('error', () => undefined)
  let head = Buffer.alloc(0)
  let work: Work | undefined
  let received = 0
  stream.on('data', (bytes: Buffer) => {
    received += bytes.length
    if (received > MAX_DOCTOR_BYTES) return void stream.destroy()
    if (work !== undefined) return work.data(bytes)
    head = Buffer.concat([head, bytes])
    const end = head.indexOf('\n')
    work = end < 0 ? undefined : workOf(stream, head.toString('latin1', 0, end))
    if (work === undefined) {
      if (end >= 0 || head.length > MAX_LINE_BYTES) stream.destroy()
      return
    }
    if (head.length > end + 1) work.data(head.subarray(end + 1))
  })
  stream.on('end', () => (work === undefined ? stream.end() : work.end()))
  channel.accept()
  return stream
}

interface Work {
  data(bytes: Buffer): void
  end(): void
}

function workOf(stream: TunnelStream, line: string): Work | undefined {
  if (line === 'echo') return echo(stream)
  if (line === 'discard') return discard(stream)
  const count = Number(/^send (\d{1,9})$/.exec(line)?.[1] ?? Infinity)
  return count <= MAX_DOCTOR_BYTES ? send(stream, count) : undefined
}

function echo(stream: TunnelStream): Work {
  stream.on('drain', () => stream.resume())
  return {
    data(bytes) {
      if (!stream.write(bytes)) stream.pause()
    },
    end: () => void stream.end(),
  }
}

function discard(stream: TunnelStream): Work {
  let count = 0
  return {
    data: (bytes) => void (count += bytes.length),
    end: () => void stream.end(`${count}\n`),
  }
}

function send(stream: TunnelStream, count: number): Work {
  // Not zeros, which a link that compresses would make nothing of.
  const chunk = randomBytes(CHUNK_BYTES)
  let left = count
  const go = (): void => {
    while (left > 0) {
      const part = chunk.subarray(0, left)
      left -= part.length
      if (!stream.write(part)) return
    }
    if (!stream.writableEnded) stream.end()
  }
  stream.on('drain', go)
  go()
  return { data: () => undefined, end: () => undefined }
}
