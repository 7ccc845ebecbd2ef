import { it } from 'vitest'
import { longQueue } from '../faults/long-queue.ts'
import { startPods } from '../support/pods.ts'

it('delivers 200,000 messages that another pod has queued after one reconnect, all, in order, in bounded memory', async () => {
  const pods = await startPods(2)
  await longQueue([pods.all[0]!, pods.all[1]!], { test: '15 (pods, 200000)', messageCount: 200_000 })
}, 180_000)
