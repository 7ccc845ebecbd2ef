import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import type { TunnelClient } from '../tunnel/client.ts'
import { DOCTOR_SERVICE, MAX_DOCTOR_BYTES } from '../tunnel/doctor-service.ts'
import type { TunnelStream } from '../tunnel/endpoint/tunnel-stream.ts'
import { TunnelError } from '../tunnel/tunnel-error.ts'
import { findingsOf, median, messageOf, msText, type Finding } from './finding.ts'

const { ok, warn, fail, skipped } = findingsOf('tunnel')

const OPENS = 5
const ECHOES = 20
const ECHO_BYTES = 64
const OPEN_TIMEOUT_MS = 20_000
const TIMEOUT_MS = 60_000
/** So long it is sent, on a link that is slow; what is on its way then comes on top. */
const SEND_MS = 2_000
const CHUNK_BYTES = 16_384
/** Less than the agent takes of one stream, which counts our line, too. */
const SEND_BYTES = MAX_DOCTOR_BYTES / 2
/** Of what the agent sends: first a little, to see how much can be had in about {@link SEND_MS}. */
const FIRST_BYTES = 65_536

/** `target`: the name of an agent, or `agent/service`. `connect` rejects with why there is no client. */
export async function checkTunnel(
  target: string | undefined,
  connect: () => Promise<TunnelClient>,
): Promise<readonly Finding[]> {
  if (target === undefined) return [skipped('--agent NAME measures the way to an agent')]
  const [agent = '', service] = target.split('/')
  let client: TunnelClient
  try {
    client = await connect()
  } catch (error) {
    return [
      fail(
        `${agent}: no way to the broker: ${messageOf(error)}`,
        'see docs/tunnels.md, When it does not work',
      ),
    ]
  }
  // An agent that falls silent in the middle: its streams end with the client, and what waits for them fails.
  const timer = setTimeout(() => void client.close(0), TIMEOUT_MS)
  try {
    return service === undefined ? await measure(client, agent) : [await measureOpen(client, target)]
  } catch (error) {
    return [await judgeFailure(client, agent, error)]
  } finally {
    clearTimeout(timer)
    await client.close()
  }
}

async function measure(client: TunnelClient, agent: string): Promise<readonly Finding[]> {
  const to = `${agent}/${DOCTOR_SERVICE}`
  return [
    await measureOpen(client, to),
    await measureRoundTrip(client, to, agent),
    await measureThroughput(client, to, agent),
  ]
}

async function measureOpen(client: TunnelClient, to: string): Promise<Finding> {
  const timesMs: number[] = []
  for (let count = 0; count < OPENS; count++) {
    const startedAt = performance.now()
    const stream = await openStream(client, to)
    timesMs.push(performance.now() - startedAt)
    await ended(stream)
  }
  return ok(
    `${to.replace(/\/doctor$/, '')}: opened in ${msText(median(timesMs))} (median of ${timesMs.length})`,
  )
}

async function measureRoundTrip(client: TunnelClient, to: string, agent: string): Promise<Finding> {
  const stream = await openStream(client, to)
  stream.write('echo\n')
  const timesMs: number[] = []
  for (let count = 0; count < ECHOES; count++) {
    const startedAt = performance.now()
    stream.write(Buffer.alloc(ECHO_BYTES, count))
    let missing = ECHO_BYTES
    while (missing > 0) missing -= (await next(stream)).length
    timesMs.push(performance.now() - startedAt)
  }
  await ended(stream)
  return ok(
    `${agent}: round trip ${msText(median(timesMs))} (median of ${timesMs.length}; most ${msText(Math.max(...timesMs))})`,
  )
}

async function measureThroughput(client: TunnelClient, to: string, agent: string): Promise<Finding> {
  const up = await sendUp(await openStream(client, to))
  const first = await takeDown(await openStream(client, to), FIRST_BYTES)
  const wanted = Math.min(SEND_BYTES, Math.max(FIRST_BYTES, Math.floor((first * SEND_MS) / 1_000)))
  const down = await takeDown(await openStream(client, to), wanted)
  return ok(`${agent}: ${rate(up)} to the agent, ${rate(down)} from it`)
}

/** Bytes a second, as the agent has counted them. */
async function sendUp(stream: TunnelStream): Promise<number> {
  const chunk = Buffer.alloc(CHUNK_BYTES, 'TunnelMQ doctor')
  const startedAt = performance.now()
  stream.write('discard\n')
  for (let sent = 0; sent < SEND_BYTES && performance.now() - startedAt < SEND_MS; sent += chunk.length)
    if (!stream.write(chunk)) await once(stream, 'drain')
  stream.end()
  const count = Number(await text(stream))
  return count / ((performance.now() - startedAt) / 1_000)
}

async function takeDown(stream: TunnelStream, bytes: number): Promise<number> {
  const startedAt = performance.now()
  stream.end(`send ${bytes}\n`)
  let received = 0
  for await (const chunk of stream as AsyncIterable<Buffer>) received += chunk.length
  return received / ((performance.now() - startedAt) / 1_000)
}

function openStream(client: TunnelClient, to: string): Promise<TunnelStream> {
  return client.openStream(to, { signal: AbortSignal.timeout(OPEN_TIMEOUT_MS) })
}

async function next(stream: TunnelStream): Promise<Buffer> {
  for (;;) {
    const bytes = stream.read() as Buffer | null
    if (bytes !== null) return bytes
    if (stream.readableEnded) throw new Error('the agent has ended the stream')
    await once(stream, 'readable')
  }
}

/** In order where the service answers an end; a reset otherwise. */
async function ended(stream: TunnelStream): Promise<void> {
  const closed = once(stream, 'close')
  stream.on('error', () => undefined)
  stream.destroy()
  await closed
}

async function judgeFailure(client: TunnelClient, agent: string, error: unknown): Promise<Finding> {
  if (!(error instanceof TunnelError))
    return fail(`${agent}: ${messageOf(error)}`, 'see docs/tunnels.md, When it does not work')
  if (error.reset === 'unknown-service' && error.message.includes(`'${DOCTOR_SERVICE}'`)) {
    const services = (await client.agents().catch(() => [])).find(({ id }) => id === agent)?.services ?? []
    return warn(
      `${agent} is there, and does not answer the doctor (doctor: false, or an older version)`,
      `--agent ${agent}/${services[0] ?? 'SERVICE'} measures how long one of its services takes to open`,
    )
  }
  if (error.reset === 'forbidden')
    return fail(
      `${agent}: ${error.message}`,
      `the right to publish on $tunnel/${agent}/doctor/# is needed (docs/tunnels.md)`,
    )
  return fail(
    `${agent}: ${error.message}`,
    'is its process running, and at this broker? journalctl -u tunnelmq-agent there',
  )
}

function rate(bytesPerSecond: number): string {
  return bytesPerSecond >= 1_048_576
    ? `${(bytesPerSecond / 1_048_576).toFixed(1)} MiB/s`
    : `${(bytesPerSecond / 1_024).toFixed(1)} KiB/s`
}
