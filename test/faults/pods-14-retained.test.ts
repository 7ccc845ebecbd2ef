import { expect, it } from 'vitest'
import { LoadClient } from '../support/load-client.ts'
import { startPods, startReady } from '../support/pods.ts'
import { report } from './ledger.ts'
import { expected, publishTopics, readTopics } from './retained-topics.ts'

it('keeps the latest value of 10,000 topics, set at one pod and changed at another, for readers at any', async () => {
  const pods = await startPods(2)
  const publishers = pods.ports.map(
    (port, i) => new LoadClient({ port, clientId: `publisher-${i}`, window: 500 }),
  )
  await Promise.all(publishers.map((publisher) => publisher.connect()))
  await publishTopics(publishers)
  const [first, second] = pods.all
  const alive = await readTopics(second!.port, 'second')
  expect(await readTopics(first!.port, 'first')).toBe(alive)
  await first!.kill()
  await startReady(first!)
  expect(await readTopics(first!.port, 'started')).toBe(alive)
  for (const pod of pods.all) expect(await pod.metric('tunnelmq_retained_messages')).toBe(expected.size)
  report('14 (pods)', expected.size, `${expected.size} topics retained, ${alive} delivered each time`)
})
