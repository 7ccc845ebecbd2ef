import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createTunnelClient, type TunnelClient } from '../../../src/tunnel/index.ts'
import { openBroker } from '../../support/broker-world.ts'
import { openCuttingProxy, type CuttingProxy } from '../../support/cutting-proxy.ts'
import { eventually } from '../../support/eventually.ts'
import { startMosquitto } from '../../support/mosquitto.ts'
import {
  closeCodeOf,
  dialPort,
  digest,
  digestOf,
  echo,
  later,
  openTarget,
  textOf,
} from '../../support/tunnel-ends.ts'

/** Debian's, with Debian's paho-mqtt. */
const PYTHON = '/usr/bin/python3'
const program = new URL('../../../examples/python-agent/agent.py', import.meta.url).pathname
const MIB = 1024 * 1024

interface PythonAgent {
  readonly child: ChildProcess
  /** Resolves when it has subscribed once more. */
  readonly ready: () => Promise<void>
}

/** The example as a process, ready to serve, and killed when the test ends. */
async function startAgent(
  port: number,
  topicPrefix: string,
  services: Record<string, string>,
): Promise<PythonAgent> {
  const offered = Object.entries(services).flatMap(([name, target]) => ['--service', `${name}=${target}`])
  const options = [
    '--broker',
    '127.0.0.1',
    '--port',
    String(port),
    '--id',
    'pi7',
    '--topic-prefix',
    topicPrefix,
  ]
  const child = spawn(PYTHON, ['-B', program, ...options, ...offered], { stdio: ['ignore', 'pipe', 'pipe'] })
  let errors = ''
  child.stderr.on('data', (bytes: Buffer) => (errors += bytes.toString()))
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      const gone = once(child, 'exit')
      child.kill('SIGKILL')
      await gone
    }
    expect(errors).toBe('')
  })
  const waiting: (() => void)[] = []
  let readyCount = 0
  createInterface(child.stdout).on('line', (line) => {
    if (line !== 'ready') return
    readyCount++
    waiting.shift()?.()
  })
  const ready = async (): Promise<void> => {
    if (readyCount === 0) await new Promise<void>((resolve) => waiting.push(resolve))
    readyCount--
  }
  await ready()
  return { child, ready }
}

interface World extends PythonAgent {
  readonly client: TunnelClient
  readonly agentWay: CuttingProxy
  readonly clientWay: CuttingProxy
}

const places: Record<string, () => Promise<{ port: number; topicPrefix: string }>> = {
  'TunnelMQ, $tunnel/': async () => ({ port: (await openBroker()).port, topicPrefix: '$tunnel' }),
  'mosquitto, tunnel/': async () => ({ port: (await startMosquitto()).port, topicPrefix: 'tunnel' }),
}

async function openWorld(
  open: () => Promise<{ port: number; topicPrefix: string }>,
  services: Record<string, string>,
): Promise<World> {
  const { port, topicPrefix } = await open()
  const agentWay = await openCuttingProxy(port)
  const clientWay = await openCuttingProxy(port)
  const agent = await startAgent(agentWay.port, topicPrefix, services)
  const client = createTunnelClient({ url: `mqtt://127.0.0.1:${clientWay.port}`, topicPrefix, id: 'laptop' })
  onTestFinished(() => client.close())
  await client.connected()
  // It has subscribed, and its status may still be on its way: a client that asks before takes the agent for absent.
  await eventually(() => client.agents()).toMatchObject([{ id: 'pi7', online: true }])
  return { ...agent, client, agentWay, clientWay }
}

describe.each(Object.entries(places))('the Python agent over %s', (_, open) => {
  it('carries every byte both ways, of several streams at once', async () => {
    const { client } = await openWorld(open, { echo: await openTarget(echo) })
    const { port } = await client.forward({ to: 'pi7/echo' })
    const sent = [8 * MIB, 3 * MIB, 100_000, 1].map((size) => randomBytes(size))
    const received = await Promise.all(
      sent.map(async (bytes) => {
        const socket = await dialPort(port)
        const digested = digestOf(socket)
        socket.end(bytes)
        return await digested
      }),
    )
    expect(received).toEqual(sent.map(digest))
  })

  it('keeps half-close: who has ended still reads the answer', async () => {
    const target = await openTarget((socket) => {
      let question = ''
      socket.on('data', (bytes) => (question += bytes.toString()))
      socket.once('end', () => socket.end(`answer to ${question}`))
    })
    const { client } = await openWorld(open, { ask: target })
    const { port } = await client.forward({ to: 'pi7/ask' })
    const socket = await dialPort(port)
    socket.end('the question')
    expect(await textOf(socket)).toBe('answer to the question')
    await eventually(() => client.streams).toBe(0)
  })

  it('goes on with its streams when either connection, or both, are cut', async () => {
    const { client, agentWay, clientWay, ready } = await openWorld(open, { echo: await openTarget(echo) })
    const { port } = await client.forward({ to: 'pi7/echo' })
    const socket = await dialPort(port)
    const sent = randomBytes(24 * MIB)
    let count = 0
    const cuts = [
      () => agentWay.cut(),
      () => clientWay.cut(),
      () => {
        agentWay.cut()
        clientWay.cut()
      },
    ]
    socket.on('data', (bytes: Buffer) => {
      count += bytes.length
      if (count > (4 - cuts.length) * 5 * MIB) cuts.shift()?.()
    })
    const received = digestOf(socket)
    socket.end(sent)
    expect(await received).toBe(digest(sent))
    expect(cuts).toEqual([])
    await ready()
    await ready()
  })

  it('passes resets on, in both directions', async () => {
    const seen = later<string | undefined>()
    const services = {
      rude: await openTarget((socket) => socket.once('data', () => socket.resetAndDestroy())),
      patient: await openTarget((socket) => {
        socket.write('hello')
        void closeCodeOf(socket).then(seen.resolve)
      }),
    }
    const { client } = await openWorld(open, services)
    const rude = await dialPort((await client.forward({ to: 'pi7/rude' })).port)
    const code = closeCodeOf(rude)
    rude.write('x')
    expect(await code).toBe('ECONNRESET')
    const patient = await dialPort((await client.forward({ to: 'pi7/patient' })).port)
    await once(patient, 'data')
    patient.resetAndDestroy()
    expect(await seen.promise).toBe('ECONNRESET')
  })

  it('says why a stream cannot be opened, and what it offers', async () => {
    const { client, child } = await openWorld(open, {
      closed: '127.0.0.1:1',
      nowhere: '255.255.255.255:1',
    })
    await eventually(() => client.agents()).toMatchObject([{ services: ['closed', 'nowhere'] }])
    await expect(client.openStream('pi7/closed')).rejects.toMatchObject({ reset: 'refused' })
    await expect(client.openStream('pi7/nowhere')).rejects.toMatchObject({ reset: 'unreachable' })
    await expect(client.openStream('pi7/other')).rejects.toMatchObject({ reset: 'unknown-service' })
    child.kill('SIGTERM')
    await once(child, 'exit')
    await eventually(() => client.agents()).toMatchObject([{ id: 'pi7', online: false }])
  })

  it('stops a writer whose reader does not read, and nobody else', async () => {
    const released = later<void>()
    const slow = later<string>()
    const services = {
      slow: await openTarget(
        (socket) => void released.promise.then(() => digestOf(socket)).then(slow.resolve),
      ),
      echo: await openTarget(echo),
    }
    const { client } = await openWorld(open, services)
    const stuck = await dialPort((await client.forward({ to: 'pi7/slow' })).port)
    const sent = randomBytes(32 * MIB)
    stuck.end(sent)
    const other = await dialPort((await client.forward({ to: 'pi7/echo' })).port)
    const quick = randomBytes(2 * MIB)
    const received = digestOf(other)
    other.end(quick)
    expect(await received).toBe(digest(quick))
    released.resolve()
    expect(await slow.promise).toBe(digest(sent))
  })
})
