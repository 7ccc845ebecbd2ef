import { afterEach, it } from 'vitest'
import { type BrokerProcess, startBrokerProcess } from '../support/broker-process.ts'
import { startPods } from '../support/pods.ts'
import { longQueue } from './long-queue.ts'

let broker: BrokerProcess

afterEach(() => broker.remove())

const session = { queueMaxMessages: 300_000 }

it.each([
  { messageCount: 50_000, name: 'MQTT 3.1.1' },
  { messageCount: 200_000, name: 'MQTT 3.1.1' },
  { messageCount: 20_000, name: 'MQTT 5', version: 5 as const },
])(
  'delivers $messageCount queued messages after one reconnect, all, in order, in bounded memory ($name)',
  async ({ messageCount, version }) => {
    broker = await startBrokerProcess({ config: { session } })
    await longQueue([broker, broker], { test: `15 (${messageCount})`, messageCount, version })
  },
)

it('delivers 5,000 messages that were queued in memory after one reconnect (MQTT 5)', async () => {
  broker = await startBrokerProcess({ config: { session, store: { type: 'memory' } } })
  const test = { test: '15 (memory, 5000)', messageCount: 5_000, version: 5 } as const
  await longQueue([broker, broker], { ...test, isRestarted: false })
})

it('delivers 5,000 messages that were queued in Redis by the only pod after one reconnect (MQTT 5)', async () => {
  broker = (await startPods(1)).all[0]!
  await longQueue([broker, broker], { test: '15 (one pod, 5000)', messageCount: 5_000, version: 5 })
})
