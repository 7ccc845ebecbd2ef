import { onTestFinished } from 'vitest'
import type { ConfigInput } from '../../src/config/schema.ts'
import { startTestBroker } from '../support/broker.ts'
import { type BrokerProcess, type LogEvent, startBrokerProcess } from '../support/broker-process.ts'
import { temporaryFolder } from '../support/broker-world.ts'
import { metricOf } from '../support/metric.ts'
import { startPods } from '../support/pods.ts'
import { startRedis } from '../support/redis-server.ts'

/** Where one broker keeps what it has taken over. */
export type StoreType = 'memory' | 'embedded' | 'redis'

/** What memory keeps is gone with its process: a kill or a restart of it leaves nothing that could be lost. */
export type LastingStore = Exclude<StoreType, 'memory'>

export type SingleConfig = Partial<Omit<ConfigInput, 'listeners' | 'store' | 'admin'>>

/** A broker alone with its store: a Redis is its own, too. */
export interface SingleBroker {
  readonly port: number
  readonly events: readonly LogEvent[]
  metric(name: string, label?: string): Promise<number>
}

/** In this process, which costs less than one of its own: for faults that it survives. Ended with the test. */
export async function openSingle(type: StoreType, config: SingleConfig = {}): Promise<SingleBroker> {
  const broker = await startTestBroker({ ...config, store: await storeOf(type), admin: { port: 0 } })
  onTestFinished(() => broker.stop())
  return {
    port: broker.port,
    events: broker.events,
    metric: (name, label) => metricOf(broker.adminUrl!, name, label),
  }
}

async function storeOf(type: StoreType): Promise<NonNullable<ConfigInput['store']>> {
  if (type === 'memory') return { type }
  if (type === 'embedded') return { type, path: await temporaryFolder() }
  const redis = await startRedis()
  onTestFinished(() => redis.remove())
  return { type, redis: { url: redis.url } }
}

/** A process of the built program, to be killed and started again. Ended with the test. */
export async function startSingle(type: LastingStore, config: SingleConfig = {}): Promise<BrokerProcess> {
  if (type === 'redis') return (await startPods(1, { config })).all[0]!
  const broker = await startBrokerProcess({ config })
  onTestFinished(() => broker.remove())
  return broker
}
