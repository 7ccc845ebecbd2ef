import { expect, it } from 'vitest'
import { startPods } from '../support/pods.ts'
import { mixedLoad } from './mixed-load.ts'

it.each([1, 2])(
  'without a fault, 10,000 messages of every QoS reach every subscriber once and in order (%i pods)',
  async (count) => {
    const pods = await startPods(count)
    await mixedLoad(`1 (redis, pods: ${count})`, pods.ports)
    for (const pod of pods.all) expect(await pod.metric('tunnelmq_unhandled_errors_total')).toBe(0)
  },
)
