import { afterEach, it } from 'vitest'
import { type BrokerProcess, startBrokerProcess } from '../support/broker-process.ts'
import { longQueue } from './long-queue.ts'

let broker: BrokerProcess

afterEach(() => broker.remove())

it.each([50_000, 200_000])(
  'delivers %i queued messages after one reconnect, all, in order, in bounded memory',
  async (messageCount) => {
    broker = await startBrokerProcess({ config: { session: { queueMaxMessages: 300_000 } } })
    await longQueue(`15 (${messageCount})`, messageCount, [broker, broker])
  },
  120_000,
)
