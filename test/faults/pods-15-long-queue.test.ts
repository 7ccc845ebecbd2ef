import { it } from 'vitest'
import { startPods } from '../support/pods.ts'
import { longQueue } from './long-queue.ts'

it.each([
  { messageCount: 50_000, name: 'MQTT 3.1.1' },
  { messageCount: 5_000, name: 'MQTT 5', version: 5 as const },
])(
  'delivers $messageCount messages that another pod has queued after one reconnect, all, in order, in bounded memory ($name)',
  async ({ messageCount, version }) => {
    const pods = await startPods(2)
    await longQueue([pods.all[0]!, pods.all[1]!], {
      test: `15 (pods, ${messageCount})`,
      messageCount,
      version,
    })
  },
)
