import { setTimeout as after } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { openTunnelBroker, startAgent, startForward } from '../support/tunnel-processes.ts'
import {
  joinThrough,
  openTargetQueue,
  reportFlows,
  startFlow,
  untilMore,
} from '../support/tunnel-processes-traffic.ts'

const MIB = 1_048_576
const STOPPED_MS = 10_000

async function stopInTheMiddle(name: 'agent' | 'client' | 'broker'): Promise<void> {
  const broker = await openTunnelBroker()
  const target = await openTargetQueue()
  const agent = await startAgent(broker, { data: target.address })
  const client = await startForward(broker, ['data'])
  const { near, far } = await joinThrough(client.ports[0], target)
  const flows = { up: startFlow(near, far), down: startFlow(far, near) }
  const both = [flows.up, flows.down]
  await untilMore(both, 16 * MIB)

  const { pid } = { agent, client, broker }[name]
  process.kill(pid, 'SIGSTOP')
  // What waits in sockets on both sides still comes; then nothing.
  await after(STOPPED_MS / 2)
  const before = both.map(({ receivedBytes }) => receivedBytes)
  await after(STOPPED_MS / 2)
  const behind = both.map(({ receivedBytes }) => receivedBytes)
  process.kill(pid, 'SIGCONT')
  expect(behind).toEqual(before)
  await untilMore(both, 16 * MIB)
  flows.up.stop()
  flows.down.stop()
  const results = await Promise.all([flows.up.done, flows.down.done])
  reportFlows(`3 (${name} stopped for 10 s)`, flows)
  for (const { sent, received } of results) expect(received).toBe(sent)
  expect(agent.countOf('tunnel agent lost its connection')).toBe(0)
  expect(client.countOf('tunnel client lost its connection')).toBe(0)
}

it('goes on where it was when the agent, the client or the broker has been stopped for 10 s in the middle', async () => {
  // Side by side, as most of it is waiting.
  await Promise.all([stopInTheMiddle('agent'), stopInTheMiddle('client'), stopInTheMiddle('broker')])
})
