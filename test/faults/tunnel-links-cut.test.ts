import { setTimeout as after } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { type CuttingProxy, openCuttingProxy } from '../support/cutting-proxy.ts'
import {
  type BrokerKind,
  type EndProcess,
  type FaultBroker,
  openFaultBroker,
  startAgent,
  startForward,
} from '../support/tunnel-processes.ts'
import {
  type Flow,
  joinThrough,
  openTargetQueue,
  reportFlows,
  startFlow,
  untilMore,
} from '../support/tunnel-processes-traffic.ts'

const MIB = 1_048_576
const brokers: readonly BrokerKind[] = ['tunnelmq', 'mosquitto']

interface World {
  readonly agent: EndProcess
  readonly forward: EndProcess
  /** The ways of the two to the broker. */
  readonly agentLink: CuttingProxy
  readonly clientLink: CuttingProxy
  readonly flows: { readonly up: Flow; readonly down: Flow }
}

/** One stream that is busy both ways; each end has a way of its own to the broker. */
async function openWorld(kind: BrokerKind, more: readonly string[] = []): Promise<World> {
  const broker = await openFaultBroker(kind)
  const target = await openTargetQueue()
  const agentLink = await openCuttingProxy(broker.port)
  const clientLink = await openCuttingProxy(broker.port)
  const agent = await startAgent(through(agentLink, broker), { data: target.address }, more)
  const forward = await startForward(through(clientLink, broker), ['data'], more)
  const { near, far } = await joinThrough(forward.ports[0], target)
  const flows = { up: startFlow(near, far), down: startFlow(far, near) }
  return { agent, forward, agentLink, clientLink, flows }
}

const through = ({ port }: CuttingProxy, { flags }: FaultBroker): Pick<FaultBroker, 'flags'> => ({
  flags: flags.map((word) => (word.startsWith('mqtt://') ? `mqtt://127.0.0.1:${port}` : word)),
})

async function endInOrder({ flows: { up, down } }: World): Promise<void> {
  up.stop()
  down.stop()
  for (const { sent, received } of await Promise.all([up.done, down.done])) expect(received).toBe(sent)
}

async function resetLinks(kind: BrokerKind): Promise<void> {
  const world = await openWorld(kind)
  const { agent, forward, agentLink, clientLink, flows } = world
  for (const links of [[agentLink], [clientLink], [agentLink, clientLink]])
    for (let time = 0; time < 2; time++) {
      await untilMore([flows.up, flows.down], 4 * MIB)
      for (const link of links) link.cut()
    }
  await untilMore([flows.up, flows.down], 4 * MIB)
  await endInOrder(world)
  const agentLosses = agent.countOf('tunnel agent lost its connection')
  const clientLosses = forward.countOf('tunnel client lost its connection')
  reportFlows(
    `2 (${kind}, links reset)`,
    flows,
    `agent lost ${agentLosses}, client ${clientLosses} connections`,
  )
  expect({ agentLosses, clientLosses }).toEqual({ agentLosses: 4, clientLosses: 4 })
}

async function freezeLinks(kind: BrokerKind): Promise<void> {
  const world = await openWorld(kind, ['--keepalive', '5'])
  const { agent, forward, agentLink, clientLink, flows } = world
  await untilMore([flows.up, flows.down], 4 * MIB)
  agentLink.freeze()
  clientLink.freeze()
  const { reason } = await agent.logged('tunnel agent lost its connection')
  await forward.logged('tunnel client lost its connection')
  await untilMore([flows.up, flows.down], 4 * MIB)
  await endInOrder(world)
  reportFlows(`2 (${kind}, links frozen)`, flows, `agent: ${String(reason)}`)
}

async function cutLinksAllTheTime(kind: BrokerKind): Promise<void> {
  const world = await openWorld(kind)
  const { agent, forward, agentLink, clientLink, flows } = world
  await untilMore([flows.up, flows.down], 4 * MIB)
  const untilMs = performance.now() + 10_000
  while (performance.now() < untilMs) {
    agentLink.cut()
    clientLink.cut()
    await after(300)
  }
  await untilMore([flows.up, flows.down], 4 * MIB)
  await endInOrder(world)
  const losses =
    agent.countOf('tunnel agent lost its connection') + forward.countOf('tunnel client lost its connection')
  reportFlows(`11 (${kind}, links cut every 300 ms)`, flows, `${losses} connections lost`)
  expect(losses).toBeGreaterThan(2)
}

// Side by side, as most of it is waiting.
describe('over TunnelMQ and mosquitto', () => {
  it('loses nothing when either link is reset, or both, six times in one transfer', async () => {
    await Promise.all(brokers.map(resetLinks))
  })

  it('notices links that have gone silent, comes back on new ones, and loses nothing', async () => {
    await Promise.all(brokers.map(freezeLinks))
  })

  it('gets through links that are cut every 300 ms for 10 s', async () => {
    await Promise.all(brokers.map(cutLinksAllTheTime))
  })
})
