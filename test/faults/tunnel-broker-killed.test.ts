import { expect, it } from 'vitest'
import {
  type BrokerKind,
  openFaultBroker,
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
/** 1 GiB, but where somebody says less: `.ci/run` does. */
const carriedMib = Number(process.env['CARRIED_MIB'] ?? 1_024)
const brokers: readonly BrokerKind[] = ['tunnelmq', 'mosquitto']

it.each(brokers)(
  `carries ${carriedMib} MiB each way, bit for bit, though %s is killed and started again in the middle`,
  async (kind) => {
    const broker = await openFaultBroker(kind)
    const target = await openTargetQueue()
    await startAgent(broker, { data: target.address })
    const forward = await startForward(broker, ['data'])
    const one = await joinThrough(forward.ports[0], target)
    const other = await joinThrough(forward.ports[0], target)
    const up = startFlow(one.near, one.far, carriedMib * MIB)
    const down = startFlow(other.far, other.near, carriedMib * MIB)
    one.far.end()
    other.near.end()

    // One of them may be much faster than the other: neither is to be at its end.
    await until(() => {
      const [least = 0, most = 0] = [up.receivedBytes, down.receivedBytes].toSorted((a, b) => a - b)
      return least > (carriedMib * MIB) / 64 && most > 0.3 * carriedMib * MIB
    })
    const inTheMiddle = [up, down].every(({ sentBytes }) => sentBytes < carriedMib * MIB)
    await broker.kill()
    const atDeath = up.receivedBytes + down.receivedBytes
    await broker.start()
    const results = await Promise.all([up.done, down.done])
    reportFlows(`1 (${kind} killed)`, { up, down }, `${Math.round(atDeath / MIB)} MiB had come before`)
    expect(inTheMiddle).toBe(true)
    for (const { sent, received } of results) expect(received).toBe(sent)
  },
)

async function restartFiveTimes(kind: BrokerKind): Promise<void> {
  const broker = await openFaultBroker(kind)
  const target = await openTargetQueue()
  await startAgent(broker, { data: target.address })
  const forward = await startForward(broker, ['data'])
  const { near, far } = await joinThrough(forward.ports[0], target)
  const flows = { up: startFlow(near, far), down: startFlow(far, near) }
  const { up, down } = flows
  const moved: number[] = []
  for (let restart = 0; restart < 5; restart++) {
    const [upBefore, downBefore] = [up.receivedBytes, down.receivedBytes]
    await untilMore([up, down], 8 * MIB)
    moved.push(Math.round((up.receivedBytes + down.receivedBytes - upBefore - downBefore) / MIB))
    await broker.kill()
    await broker.start()
  }
  up.stop()
  down.stop()
  const results = await Promise.all([up.done, down.done])
  reportFlows(`11 (${kind} restarted 5 times)`, flows, `between restarts ${moved.join(', ')} MiB`)
  for (const { sent, received } of results) expect(received).toBe(sent)
}

it('goes on through 5 restarts of either broker, one after the other, in one stream', async () => {
  // Side by side, as most of it is waiting.
  await Promise.all(brokers.map(restartFiveTimes))
})
