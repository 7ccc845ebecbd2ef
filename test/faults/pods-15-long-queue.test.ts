import { it } from 'vitest'
import { startPods } from '../support/pods.ts'
import { longQueue } from './long-queue.ts'

it('delivers 50,000 messages that another pod has queued after one reconnect, all, in order, in bounded memory', async () => {
  const pods = await startPods(2)
  await longQueue('15 (pods, 50000)', 50_000, [pods.all[0]!, pods.all[1]!])
}, 60_000)
