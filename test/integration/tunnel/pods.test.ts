import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createAgent, createTunnelClient, type Agent, type TunnelClient } from '../../../src/tunnel/index.ts'
import type { TestBroker } from '../../support/broker.ts'
import { startPod, startPods } from '../../support/broker-pods.ts'
import { connectMqtt, eventOf } from '../../support/broker-world.ts'
import { openSwitchingProxy } from '../../support/switching-proxy.ts'
import { dialPort, digest, digestOf, echo, openTarget, textOf } from '../../support/tunnel-ends.ts'

const MEBIBYTE = 1_048_576

async function agentAt(url: string, target?: string): Promise<Agent> {
  const agent = createAgent({
    url,
    id: 'pi7',
    services: { echo: { target: target ?? (await openTarget(echo)) } },
  })
  onTestFinished(() => agent.close())
  await agent.connected()
  return agent
}

function clientAt(url: string): TunnelClient {
  const client = createTunnelClient({ url, id: 'laptop' })
  onTestFinished(() => client.close())
  return client
}

const streamsOf = (pod: TestBroker, message: string): Record<string, unknown>[] =>
  pod.events.filter(({ msg }) => msg === message)

describe('an agent at one pod and a client at another', () => {
  it('exchange 20 MB each way, byte for byte; the pod of the client knows the stream, and names the other', async () => {
    const { pods } = await startPods(2)
    await agentAt(pods[0]!.url)
    const stream = await clientAt(pods[1]!.url).openStream('pi7/echo')
    const bytes = randomBytes(20 * MEBIBYTE)
    const received = digestOf(stream)
    stream.end(bytes)
    expect(await received).toBe(digest(bytes))
    expect(await eventOf(pods[1]!, 'stream ended')).toMatchObject({
      agent: 'pi7',
      client: 'laptop',
      reason: 'closed',
      bytesUp: bytes.length,
      bytesDown: bytes.length,
    })
    expect(streamsOf(pods[1]!, 'stream opened')).toMatchObject([
      { agentPod: expect.stringMatching(/^[0-9a-f]{16}$/) as string },
    ])
    expect(streamsOf(pods[0]!, 'stream opened')).toEqual([])
  })

  it('meet at once: neither the first OPEN of a client that has just come is lost, nor that to such an agent', async () => {
    const { pods } = await startPods(2)
    await agentAt(pods[0]!.url)
    const tookMs: number[] = []
    for (let i = 0; i < 5; i++) {
      const client = createTunnelClient({ url: pods[1]!.url })
      const startedAt = performance.now()
      const stream = await client.openStream('pi7/echo')
      stream.end('x')
      expect(await textOf(stream)).toBe('x')
      tookMs.push(performance.now() - startedAt)
      await client.close()
    }
    // OPEN is repeated after a second. A machine that is busy may take as long now and then.
    expect(tookMs.toSorted((a, b) => a - b)[2]).toBeLessThan(900)
  })

  it('are told of a service that is not there, and of an agent that is not', async () => {
    const { pods } = await startPods(2)
    await agentAt(pods[0]!.url)
    const client = clientAt(pods[1]!.url)
    await expect(client.openStream('pi7/none')).rejects.toMatchObject({ reset: 'unknown-service' })
    await expect(client.openStream('pi8/echo')).rejects.toMatchObject({ reset: 'agent-offline' })
  })
})

describe('ports and services of the broker', () => {
  it('lead to the agent from every pod, under a name of their own', async () => {
    const { pods } = await startPods(3, { tunnel: { listen: [{ bind: '127.0.0.1:0', to: 'pi7/echo' }] } })
    await agentAt(pods[0]!.url)
    const bytes = randomBytes(3 * MEBIBYTE)
    for (const pod of pods) {
      const socket = await dialPort(pod.tunnelPorts[0]!.port)
      const received = digestOf(socket)
      socket.end(bytes)
      expect(await received).toBe(digest(bytes))
    }
    const names = pods.map((pod) => streamsOf(pod, 'stream opened')[0]!['client'])
    expect(new Set(names).size).toBe(3)
    for (const name of names) expect(name).toMatch(/^broker-[0-9a-f]{16}$/)
  })

  it('are offered by every pod to its own clients, and go on to be when one has stopped', async () => {
    const services = { echo: { target: await openTarget(echo) } }
    const { pods } = await startPods(2, { tunnel: { services } })
    const reader = await connectMqtt(pods[1]!.url)
    const statuses: string[] = []
    reader.on('message', (_topic, payload) => statuses.push(payload.toString()))
    await reader.subscribeAsync('$tunnel/broker/status')
    const client = clientAt(pods[1]!.url)
    await expect.poll(() => statuses.length).toBeGreaterThan(0)
    await pods[0]!.stop()
    const stream = await client.openStream('broker/echo')
    stream.end('here')
    expect(await textOf(stream)).toBe('here')
    expect(statuses.filter((text) => text.includes('"online":false'))).toEqual([])
  })
})

describe('a pod that stops in the middle', () => {
  it.each([
    ['of the agent', [0]],
    ['of the client', [1]],
    ['of the agent, and that of the client', [0, 1]],
  ] as const)(
    '%s: the ends find each other again at other pods, and no byte is lost',
    async (_title, stopped) => {
      const { redis, pods } = await startPods(2)
      const refuges = [await startPod(redis), await startPod(redis)]
      const [agentDoor, clientDoor] = [
        await openSwitchingProxy(pods[0]!.port),
        await openSwitchingProxy(pods[1]!.port),
      ]
      await agentAt(agentDoor.url)
      const client = clientAt(clientDoor.url)
      const stream = await client.openStream('pi7/echo')
      const bytes = randomBytes(20 * MEBIBYTE)
      const received = digestOf(stream)
      let count = 0
      stream.on('data', (part: Buffer) => (count += part.length))
      const write = (part: Buffer): Promise<unknown> =>
        stream.write(part) ? Promise.resolve() : once(stream, 'drain')
      for (let at = 0; at < bytes.length; at += MEBIBYTE) {
        await write(bytes.subarray(at, at + MEBIBYTE))
        if (at !== 8 * MEBIBYTE) continue
        await expect.poll(() => count).toBeGreaterThan(MEBIBYTE)
        agentDoor.lead(refuges[0]!.port)
        clientDoor.lead(refuges[1]!.port)
        await Promise.all(stopped.map((index) => pods[index]!.stop()))
      }
      stream.end()
      expect(await received).toBe(digest(bytes))
      const statuses = redis.command('HGET', '{tunnelmq}:retained', '$tunnel/pi7/status')
      expect(String(await statuses)).toContain('"online":true')
    },
  )
})
