import { expect, it, onTestFinished } from 'vitest'
import { bridgeTo, listenAt, openBridged, shown } from '../../support/bridge-world.ts'
import { openBroker } from '../../support/broker-world.ts'
import { eventually } from '../../support/eventually.ts'
import { startRedis } from '../../support/redis-server.ts'

it('what comes from the other broker is acknowledged to it when it is stored here, and not before', async () => {
  const redis = await startRedis()
  onTestFinished(() => redis.remove())
  const other = await openBroker({ admin: { port: 0 } })
  const kept = async (): Promise<number> => {
    const text = await (await fetch(`${other.adminUrl}/metrics`)).text()
    return Number(/^tunnelmq_queued_messages (\d+)$/m.exec(text)![1])
  }
  const topics = [{ filter: '#', direction: 'in' as const, qos: 2 }]
  const broker = await openBridged(bridgeTo(other.port, { topics }), {
    store: { type: 'redis', redis: { url: redis.url } },
  })
  const [here, there] = [await listenAt(broker.port, ['#'], { clean: false }), await listenAt(other.port, [])]
  redis.freeze()
  for (const qos of [1, 2, 0] as const) await there.publish({ topic: 'a', payload: 'x', qos })
  // QoS 0 waits for nobody, and came behind the others: they are here.
  await eventually(() => here.received.map(shown)).toEqual(['a=x 0'])
  await there.ping()
  expect(await kept()).toBe(2)
  redis.thaw()
  await eventually(() => here.received.map(shown).toSorted()).toEqual(['a=x 0', 'a=x 1', 'a=x 2'])
  await eventually(kept).toBe(0)
})
