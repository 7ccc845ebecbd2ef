import { expect, it, onTestFinished } from 'vitest'
import { LoadClient } from '../support/load-client.ts'
import {
  openTunnelBroker,
  peakResidentBytes,
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
/** Of one process, with all that Node takes for itself. */
const mostResidentBytes = 320 * MIB
/** What a stream that nobody reads may have taken: windows, and the buffers of four sockets. */
const mostUnreadBytes = 48 * MIB
const telemetryCount = 3_000

it('stops a stream that is not read, and nothing else: another at full speed, and telemetry, go on', async () => {
  const broker = await openTunnelBroker()
  const target = await openTargetQueue()
  const agent = await startAgent(broker, { data: target.address })
  const forward = await startForward(broker, ['data'])
  const unreadDown = await joinThrough(forward.ports[0], target)
  const unreadUp = await joinThrough(forward.ports[0], target)
  const busy = await joinThrough(forward.ports[0], target)
  const down = startFlow(unreadDown.far, unreadDown.near)
  const up = startFlow(unreadUp.near, unreadUp.far)
  unreadDown.near.pause()
  unreadUp.far.pause()
  const flows = [startFlow(busy.near, busy.far), startFlow(busy.far, busy.near)]

  const [sensor, listener] = ['sensor', 'listener'].map(
    (clientId) => new LoadClient({ port: broker.port, clientId }),
  ) as [LoadClient, LoadClient]
  onTestFinished(async () => {
    await Promise.all([sensor.vanish(), listener.vanish()])
  })
  await sensor.connect()
  await listener.connect()
  await listener.subscribe(['telemetry/#', 1])
  const published = Array.from({ length: telemetryCount }, (_, number) =>
    sensor.publish({ topic: `telemetry/${number % 10}`, payload: `t ${number}`, qos: 1 }),
  )
  await Promise.all([...published, untilMore(flows, 256 * MIB)])
  await until(() => listener.received.length === telemetryCount)
  const stuckAt = [down.sentBytes, up.sentBytes]
  await untilMore(flows, 64 * MIB)
  expect([down.sentBytes, up.sentBytes]).toEqual(stuckAt)
  const peaks = [agent, forward, broker].map(({ pid }) => peakResidentBytes(pid))

  // What was not read was not lost.
  const all = [...flows, down, up]
  for (const flow of all) flow.stop()
  unreadDown.near.resume()
  unreadUp.far.resume()
  for (const { sent, received } of await Promise.all(all.map(({ done }) => done))) expect(received).toBe(sent)
  const [agentPeak, forwardPeak, brokerPeak] = peaks.map((bytes) => Math.round(bytes / MIB))
  reportFlows(
    '7 (unread streams)',
    { busy: flows, 'unread up': up, 'unread down': down },
    `${sensor.acknowledged.size} telemetry messages acknowledged, ${listener.received.length} delivered; ` +
      `peaks: agent ${agentPeak}, client ${forwardPeak}, broker ${brokerPeak} MiB`,
  )
  for (const bytes of stuckAt) expect(bytes).toBeLessThan(mostUnreadBytes)
  for (const peak of peaks) expect(peak).toBeLessThan(mostResidentBytes)
})
