import { expect, it } from 'vitest'
import { closeCodeOf } from '../support/tunnel-ends.ts'
import {
  openFaultBroker,
  openTunnelBroker,
  startAgent,
  startForward,
  until,
} from '../support/tunnel-processes.ts'
import {
  joinThrough,
  openTargetQueue,
  reportFlows,
  startFlow,
  untilMore,
} from '../support/tunnel-processes-traffic.ts'

const MIB = 1_048_576
const RESUME_SECONDS = 3
const soon = ['--resume-timeout', String(RESUME_SECONDS)]

const openShortBroker = (): ReturnType<typeof openTunnelBroker> =>
  openTunnelBroker({ config: { tunnel: { resumeTimeoutMs: RESUME_SECONDS * 1_000 } } })

it('resets the sockets at both ends, and says why, when the broker is gone for longer than streams wait', async () => {
  const broker = await openShortBroker()
  const target = await openTargetQueue()
  const agent = await startAgent(broker, { data: target.address }, soon)
  const forward = await startForward(broker, ['data'], soon)
  const { near, far } = await joinThrough(forward.ports[0], target)
  const closed = Promise.all([closeCodeOf(near), closeCodeOf(far)])
  const flows = { up: startFlow(near, far), down: startFlow(far, near) }
  await untilMore([flows.up, flows.down], 4 * MIB)
  await broker.kill()
  expect(await closed).toEqual(['ECONNRESET', 'ECONNRESET'])
  const why = { end: 'timeout', by: 'this end', reason: `nothing heard for ${RESUME_SECONDS * 1_000} ms` }
  expect(await forward.logged('forward stream ended')).toMatchObject(why)
  expect(await agent.logged('tunnel stream ended')).toMatchObject(why)
  reportFlows('4 (broker gone)', flows, 'both sockets reset')

  await broker.start()
  await agent.logged('tunnel agent connected', {}, 1)
  await forward.logged('tunnel client connected', {}, 1)
  const next = await joinThrough(forward.ports[0], target)
  const again = startFlow(next.near, next.far, MIB)
  next.far.end()
  const { sent, received } = await again.done
  expect(received).toBe(sent)
  await until(async () => (await broker.metric('tunnelmq_tunnel_streams')) === 0)
})

it.each(['tunnelmq', 'mosquitto'] as const)(
  'resets the socket of the client when the agent was killed and does not come back, over %s',
  async (kind) => {
    const ours = kind === 'tunnelmq' ? await openShortBroker() : undefined
    const broker = ours ?? (await openFaultBroker(kind))
    const target = await openTargetQueue()
    const agent = await startAgent(broker, { data: target.address }, soon)
    const forward = await startForward(broker, ['data'], soon)
    const { near, far } = await joinThrough(forward.ports[0], target)
    const closed = closeCodeOf(near)
    const flows = { up: startFlow(near, far), down: startFlow(far, near) }
    await untilMore([flows.up, flows.down], 4 * MIB)
    await agent.kill()
    expect(await closed).toBe('ECONNRESET')
    const event = await forward.logged('forward stream ended')
    reportFlows(`4 (agent gone, ${kind})`, flows, `${String(event['end'])}: ${String(event['reason'])}`)
    // Whichever of the two sees it first: the client itself, or the broker for it.
    expect(['timeout', 'agent-offline']).toContain(event['end'])
    await until(async () => ((await ours?.metric('tunnelmq_tunnel_streams')) ?? 0) === 0)
  },
)

it.each(['tunnelmq', 'mosquitto'] as const)(
  'resets the socket at the target when the client was killed and does not come back, over %s',
  async (kind) => {
    const ours = kind === 'tunnelmq' ? await openShortBroker() : undefined
    const broker = ours ?? (await openFaultBroker(kind))
    const target = await openTargetQueue()
    const agent = await startAgent(broker, { data: target.address }, soon)
    const forward = await startForward(broker, ['data'], soon)
    const { near, far } = await joinThrough(forward.ports[0], target)
    const closed = closeCodeOf(far)
    const flows = { up: startFlow(near, far), down: startFlow(far, near) }
    await untilMore([flows.up, flows.down], 4 * MIB)
    await forward.kill()
    expect(await closed).toBe('ECONNRESET')
    const event = await agent.logged('tunnel stream ended')
    reportFlows(`4 (client gone, ${kind})`, flows, `${String(event['end'])}: ${String(event['reason'])}`)
    expect(event['end']).toBe('timeout')
    await until(async () => ((await ours?.metric('tunnelmq_tunnel_streams')) ?? 0) === 0)
  },
)
