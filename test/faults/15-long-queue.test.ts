import { afterEach, it } from 'vitest'
import { type BrokerProcess, startBrokerProcess } from '../support/broker-process.ts'
import { longQueue } from './long-queue.ts'

let broker: BrokerProcess

afterEach(() => broker.remove())

it.each([
  { messageCount: 50_000, name: 'MQTT 3.1.1' },
  { messageCount: 200_000, name: 'MQTT 3.1.1' },
  { messageCount: 20_000, name: 'MQTT 5', version: 5 as const },
])(
  'delivers $messageCount queued messages after one reconnect, all, in order, in bounded memory ($name)',
  async ({ messageCount, version }) => {
    broker = await startBrokerProcess({ config: { session: { queueMaxMessages: 300_000 } } })
    await longQueue(`15 (${messageCount})`, messageCount, [broker, broker], version)
  },
  120_000,
)
