import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import type { BrokerProcess } from '../support/broker-process.ts'
import { runCli } from '../support/run-cli.ts'
import { echo, openTarget } from '../support/tunnel-ends.ts'
import {
  type EndProcess,
  type FaultBroker,
  openFileCount,
  openTunnelBroker,
  residentBytes,
  startAgent,
  startForward,
  until,
} from '../support/tunnel-processes.ts'

const MIB = 1_048_576
const names = ['agent', 'client', 'broker'] as const
/** As users run them: a client tells of what went wrong only. */
const quiet = ['--log-level', 'warn']

interface World {
  readonly broker: BrokerProcess & FaultBroker
  readonly processes: readonly { readonly pid: number }[]
  readonly forward: EndProcess
}

async function openWorld(): Promise<World> {
  const broker = await openTunnelBroker()
  const agent = await startAgent(broker, { echo: await openTarget(echo) })
  const forward = await startForward(broker, ['echo'], quiet)
  return { broker, processes: [agent, forward, broker], forward }
}

/** All comes back, and both ends close. */
async function echoOnce(port: number, bytes: Buffer): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const closed = once(socket, 'close')
  socket.end(bytes)
  await expectBack(socket, bytes)
  await closed
}

/** Resolves when as many bytes have come back; they must be the same. */
async function expectBack(socket: Socket, bytes: Buffer): Promise<void> {
  const came: Buffer[] = []
  let byteCount = 0
  await new Promise<void>((resolve, reject) => {
    const take = (chunk: Buffer): void => {
      came.push(chunk)
      byteCount += chunk.length
      if (byteCount < bytes.length) return
      socket.off('data', take)
      resolve()
    }
    socket.once('error', reject)
    socket.once('close', () => reject(new Error(`closed after ${byteCount} of ${bytes.length} bytes`)))
    socket.on('data', take)
  })
  expect(Buffer.concat(came).equals(bytes)).toBe(true)
}

/** No stream is left: not at the broker, nor by the word of the agent, nor as an open file. */
async function expectNothingLeft({ broker, processes }: World, fileCounts: readonly number[]): Promise<void> {
  await until(async () => (await broker.metric('tunnelmq_tunnel_streams')) === 0)
  await until(() => processes.every(({ pid }, index) => openFileCount(pid) <= fileCounts[index]!))
  await until(async () => {
    const { stdout } = await runCli(['agents', '--json', ...broker.flags])
    return (JSON.parse(stdout) as { streams: number }).streams === 0
  })
}

const describeMemory = (before: readonly number[], after: readonly number[]): string =>
  names.map((name, i) => `${name} ${toMiB(before[i]!)} to ${toMiB(after[i]!)} MiB`).join(', ')
const toMiB = (bytes: number): number => Math.round(bytes / MIB)

describe('many streams through one forward', () => {
  it('carries 1,000 at once, each with bytes of its own, also behind a restart of the broker, and keeps none', async () => {
    const world = await openWorld()
    const { broker, processes, forward } = world
    const fileCounts = processes.map(({ pid }) => openFileCount(pid))
    const sockets = Array.from({ length: 1_000 }, () =>
      connect({ port: forward.ports[0]!, host: '127.0.0.1', allowHalfOpen: true }),
    )
    const echoAll = (): Promise<unknown> =>
      Promise.all(
        sockets.map(async (socket) => {
          const bytes = randomBytes(8_192)
          socket.write(bytes)
          await expectBack(socket, bytes)
        }),
      )
    await echoAll()
    expect(await broker.metric('tunnelmq_tunnel_streams')).toBe(1_000)
    const memory = processes.map(({ pid }) => toMiB(residentBytes(pid)))
    await broker.kill()
    await broker.start()
    await echoAll()
    const closed = sockets.map((socket) => once(socket, 'close'))
    for (const socket of sockets) socket.end()
    await Promise.all(closed)
    await expectNothingLeft(world, fileCounts)
    const figures = names.map((name, index) => `${name} ${memory[index]} MiB`).join(', ')
    console.log(
      `tunnel fault 8: 1,000 streams at once, 8,192 bytes echoed on each before and behind a restart; ${figures}`,
    )
  })

  it('carries 20,000 short connections, and keeps nothing of them', async () => {
    const world = await openWorld()
    const { broker, processes, forward } = world
    const fileCounts = processes.map(({ pid }) => openFileCount(pid))
    const port = forward.ports[0]!
    let begun = 0
    const lane = async (count: number): Promise<void> => {
      while (begun < count) {
        begun++
        await echoOnce(port, randomBytes(100 + (begun % 900)))
      }
    }
    const lanes = (count: number): Promise<unknown> =>
      Promise.all(Array.from({ length: 20 }, () => lane(count)))
    await lanes(5_000)
    const early = processes.map(({ pid }) => residentBytes(pid))
    await lanes(20_000)
    const late = processes.map(({ pid }) => residentBytes(pid))
    await expectNothingLeft(world, fileCounts)
    expect(await broker.metric('tunnelmq_tunnel_streams_ended_total', 'reason="closed"')).toBe(20_000)
    console.log(
      `tunnel fault 9: 20,000 connections, each echoed and closed; memory at 5,000 and at 20,000: ${describeMemory(early, late)}`,
    )
    // What is kept of each for the time of a reconnect (docs/tunnel-protocol.md 8.4) is small.
    for (const [index, bytes] of late.entries()) expect(bytes - early[index]!).toBeLessThan(64 * MIB)
  })
})
