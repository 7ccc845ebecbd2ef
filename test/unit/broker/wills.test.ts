import { describe, expect, it } from 'vitest'
import { Wills } from '../../../src/broker/wills.ts'
import { createSilentLog } from '../../../src/log.ts'
import { BrokerParts } from '../../support/broker-parts.ts'
import { message } from '../../support/store-fixtures.ts'

async function open(messageExpiryMs = 0): Promise<{ parts: BrokerParts; wills: Wills }> {
  const parts = await BrokerParts.open()
  const { store, dispatcher, sessions } = parts
  return { parts, wills: new Wills({ store, dispatcher, sessions, log: createSilentLog() }, messageExpiryMs) }
}

describe('a will', () => {
  it('expires as other messages do, when it says so, and at the latest when the configuration says so', async () => {
    const { parts, wills } = await open(60_000)
    const asked: readonly [string, number | undefined][] = [
      ['none', undefined],
      ['shorter', 10],
      ['longer', 600],
    ]
    for (const [id, messageExpirySeconds] of asked) {
      const will = message(`will/${id}`, 'x', { qos: 1, retain: true })
      await parts.store.putWill({ clientId: id, message: will })
      await wills.publish(id, { ...will, messageExpirySeconds })
    }
    const secondsOf = (id: string): number => {
      const { expiresAtMs, publishedAtMs } = parts.store.retained(`will/${id}`)!
      return (expiresAtMs - publishedAtMs) / 1_000
    }
    expect(asked.map(([id]) => secondsOf(id))).toEqual([60, 10, 60])
  })

  it('has its delay begin at the first start after its connection, and not again at the next ones', async () => {
    const { parts } = await open()
    await parts.connect('c', false, { sessionExpirySeconds: 600 })
    const will = { clientId: 'c', message: message('will/c', 'x', { qos: 1 }), delaySeconds: 300 }
    await parts.store.putWill(will)
    const dueAtMs = () => parts.store.wills.get('c')!.dueAtMs
    const got: string[] = []
    const start = async (): Promise<Wills> => {
      const { store, dispatcher, sessions, subscriptions } = await BrokerParts.open({ store: parts.store })
      subscriptions.listen('will/#', ({ topic }) => void got.push(topic))
      const wills = new Wills({ store, dispatcher, sessions, log: createSilentLog() }, 0)
      wills.publishOrphansAfter(0)
      return wills
    }
    const startedMs = Date.now()
    const first = await start()
    await expect.poll(dueAtMs).toBeGreaterThanOrEqual(startedMs + 300_000)
    first.stop()
    const second = await start()
    await parts.quiet()
    expect([dueAtMs()! < Date.now() + 300_000, got]).toEqual([true, []])
    second.stop()
    // As if the minutes had passed.
    await parts.store.putWill({ ...parts.store.wills.get('c')!, dueAtMs: dueAtMs()! - 300_000 })
    const third = await start()
    await expect.poll(() => got).toEqual(['will/c'])
    third.stop()
  })

  it('does not wait any longer when its client is back', async () => {
    const { parts, wills } = await open()
    const got: string[] = []
    parts.subscriptions.listen('will/#', ({ topic }) => void got.push(topic))
    for (const id of ['back', 'away']) {
      await parts.store.putWill({ clientId: id, message: message(`will/${id}`, 'x', { qos: 1 }) })
      await wills.wait(id, Date.now())
      if (id === 'back') wills.returned(id)
    }
    await expect.poll(() => got).toEqual(['will/away'])
    wills.stop()
  })
})
