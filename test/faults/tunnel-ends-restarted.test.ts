import { createHash } from 'node:crypto'
import { setTimeout as after } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { closeCodeOf, digestOf } from '../support/tunnel-ends.ts'
import {
  type BrokerKind,
  type EndProcess,
  openFaultBroker,
  startAgent,
  startForward,
  until,
} from '../support/tunnel-processes.ts'
import {
  type Flow,
  type Joint,
  joinThrough,
  openTargetQueue,
  reportFlows,
  startFlow,
  type Target,
  untilMore,
} from '../support/tunnel-processes-traffic.ts'

const MIB = 1_048_576
const streamCount = 8
/** Much longer than the patience of these tests: a socket that is reset was not reset by time-out. */
const patient = ['--resume-timeout', '3600']
/** Well below the 30 s after which an end asks of itself (8.6), above the 8 s for which a young stream doubts (5.3). */
const SOON_MS = 20_000
const brokers: readonly BrokerKind[] = ['tunnelmq', 'mosquitto']

interface World {
  readonly target: Target
  readonly agent: EndProcess
  readonly forward: EndProcess
  readonly joints: readonly Joint[]
  /** Of those that are busy; the others have nothing to say. */
  readonly flows: { readonly up: readonly Flow[]; readonly down: readonly Flow[] }
}

async function openWorld(kind: BrokerKind, isBusy: (index: number) => boolean): Promise<World> {
  const broker = await openFaultBroker(kind)
  const target = await openTargetQueue()
  const agent = await startAgent(broker, { data: target.address }, patient)
  const forward = await startForward(broker, ['data'], patient)
  const joints: Joint[] = []
  const flows: { up: Flow[]; down: Flow[] } = { up: [], down: [] }
  for (let index = 0; index < streamCount; index++) {
    const joint = await joinThrough(forward.ports[0], target)
    joints.push(joint)
    if (!isBusy(index)) continue
    flows.up.push(startFlow(joint.near, joint.far))
    flows.down.push(startFlow(joint.far, joint.near))
  }
  await untilMore([...flows.up, ...flows.down], MIB)
  return { target, agent, forward, joints, flows }
}

async function expectToWork({ forward, target }: World): Promise<void> {
  const { near, far } = await joinThrough(forward.ports[0], target)
  const came = digestOf(far)
  near.end('all is well')
  expect(await came).toBe(`11 ${createHash('sha256').update('all is well').digest('hex')}`)
  far.end()
}

const soon = <T>(what: Promise<T>): Promise<T | string> =>
  Promise.race([what, after(SOON_MS, 'not at once', { ref: false })])

describe.each(brokers)('over %s', (kind) => {
  // An idle stream is asked for by TunnelMQ's broker at once (9.5); elsewhere by its end, after 30 s.
  const isBusy = (index: number): boolean => kind === 'mosquitto' || index === 0

  it('resets the sockets of clients at once when their agent was restarted, and takes new ones', async () => {
    const world = await openWorld(kind, isBusy)
    const { agent, forward, joints, flows } = world
    const closed = Promise.all(joints.map(({ near }) => closeCodeOf(near)))
    await agent.kill()
    await agent.start()
    expect(await soon(closed)).toEqual(joints.map(() => 'ECONNRESET'))
    await until(() => forward.countOf('forward stream ended', { end: 'unknown-stream' }) === streamCount)
    await expectToWork(world)
    reportFlows(`5 (agent restarted, ${kind})`, flows, `${streamCount} sockets reset`)
  })

  it('resets the sockets at targets at once when their client was restarted, and takes new ones', async () => {
    const world = await openWorld(kind, isBusy)
    const { agent, forward, joints, flows } = world
    const closed = Promise.all(joints.map(({ far }) => closeCodeOf(far)))
    await forward.kill()
    await forward.start()
    expect(await soon(closed)).toEqual(joints.map(() => 'ECONNRESET'))
    await until(() => agent.countOf('tunnel stream ended', { end: 'unknown-stream' }) === streamCount)
    await expectToWork(world)
    reportFlows(`5 (client restarted, ${kind})`, flows, `${streamCount} sockets reset`)
  })
})
