import { describe, expect, it } from 'vitest'
import {
  connectRaw,
  eventOf,
  openBroker,
  openRaw,
  portOf,
  temporaryFolder,
} from '../../support/broker-world.ts'
import type { ConnectFields } from '../../support/wire.ts'

const anonymous = { type: 'tcp', port: 0, allowAnonymous: true } as const
const listeners = [
  { ...anonymous, name: 'a', mountpoint: 'site-a/' },
  { ...anonymous, name: 'b', mountpoint: 'site-b/' },
  { ...anonymous, name: 'all' },
]

async function openSites(overrides: object = {}) {
  const broker = await openBroker({ listeners, ...overrides })
  return { broker, on: (name: string, fields: ConnectFields) => connectRaw(portOf(broker, name), fields) }
}

describe('listeners with mountpoints', () => {
  it.each([0, 1, 2])(
    'keep their clients apart, and a client does not see the prefix (QoS %i)',
    async (qos) => {
      const { broker, on } = await openSites()
      const [a, b, all] = [
        await on('a', { clientId: 'a1' }),
        await on('b', { clientId: 'b1' }),
        await on('all', { clientId: 'all' }),
      ]
      for (const client of [a, b, all]) await client.subscribe(['#', qos])
      await a.publish({ topic: 'x/1', payload: 'from a', qos })
      await a.ping()
      await b.publish({ topic: 'x/1', payload: 'from b', qos })
      await b.ping()
      await broker.publish({ topic: 'site-a/x/2', payload: 'from all', qos: 2 })
      const seen = async (client: typeof a, last: string): Promise<string[]> =>
        (await client.takeUntil(last)).map(({ topic, payload }) => `${topic}=${payload.toString()}`)
      expect(await seen(a, 'x/2')).toEqual(['x/1=from a', 'x/2=from all'])
      expect(await seen(b, 'x/1')).toEqual(['x/1=from b'])
      expect(await seen(all, 'site-a/x/2')).toEqual([
        'site-a/x/1=from a',
        'site-b/x/1=from b',
        'site-a/x/2=from all',
      ])
      await b.ping()
      expect(b.waitingMessages).toEqual([])
    },
  )

  it('keep retained messages and wills apart', async () => {
    const { broker, on } = await openSites()
    const mortal = await on('a', {
      clientId: 'a1',
      will: { topic: 'gone', payload: 'a', qos: 1, retain: true },
    })
    await mortal.publish({ topic: 'r', payload: 'kept', qos: 1, retain: true })
    const died = new Promise<string>((resolve) => broker.subscribe('#', (topic) => resolve(topic)))
    await mortal.destroy()
    expect(await died).toBe('site-a/gone')
    const a = await on('a', { clientId: 'a2' })
    await a.subscribe(['#', 1])
    expect((await a.nextMessages(2)).map(({ topic }) => topic).sort()).toEqual(['gone', 'r'])
    const b = await on('b', { clientId: 'b1' })
    await b.subscribe(['#', 1], ['r', 1], ['site-a/r', 1])
    await b.ping()
    expect(b.waitingMessages).toEqual([])
  })

  it.each(['memory', 'embedded'] as const)(
    'keep what waits for a persistent session apart (%s)',
    async (type) => {
      const { broker, on } = await openSites({ store: { type, path: await temporaryFolder() } })
      const first = await on('a', { clientId: 'a1', clean: false })
      await first.subscribe(['q/#', 1], ['$share/g/s', 1])
      await first.destroy()
      for (const topic of ['q/1', 's', 'site-b/q/1', 'site-a/s', 'site-a/q/1'])
        await broker.publish({ topic, payload: topic, qos: 1 })
      const again = await on('a', { clientId: 'a1', clean: false })
      const payloads = (await again.takeUntil('q/1')).map(({ payload }) => payload.toString())
      await again.ping()
      payloads.push(...again.waitingMessages.map(({ payload }) => payload.toString()))
      expect(payloads.sort()).toEqual(['site-a/q/1', 'site-a/s'])
    },
  )

  it('do not hand the session of one site to a client of the same id at another', async () => {
    const { broker, on } = await openSites()
    const first = await on('a', { clientId: 'same', clean: false })
    await first.subscribe(['q/#', 1])
    await first.destroy()
    await eventOf(broker, 'client disconnected')
    await broker.publish({ topic: 'site-a/q/1', payload: 'for a', qos: 1 })
    const other = await openRaw(portOf(broker, 'b'))
    expect(await other.connect({ clientId: 'same', clean: false })).toMatchObject({ sessionPresent: false })
    await broker.publish({ topic: 'site-a/q/2', payload: 'for a', qos: 1 })
    await broker.publish({ topic: 'site-a/q/2', payload: 'for a', qos: 0 })
    await other.ping()
    expect(other.waitingMessages).toEqual([])
  })

  it('do not hand over either what waits although the subscription to it has been given up', async () => {
    const { broker, on } = await openSites()
    const first = await on('a', { clientId: 'same', clean: false })
    await first.subscribe(['q/#', 1])
    await broker.publish({ topic: 'site-a/q/1', payload: 'for a', qos: 1 })
    await first.unsubscribe('q/#')
    await first.destroy()
    const other = await on('b', { clientId: 'same', clean: false })
    await other.ping()
    expect(other.waitingMessages).toEqual([])
  })

  it('are namespaces for client ids: the same id at two of them is two clients', async () => {
    const { broker, on } = await openSites()
    const a = await on('a', { clientId: 'same', clean: false })
    const b = await on('b', { clientId: 'same', clean: false })
    for (const client of [a, b]) await client.subscribe(['t', 1])
    await broker.publish({ topic: 'site-a/t', payload: 'for a', qos: 1 })
    expect(await a.nextMessages(1)).toMatchObject([{ topic: 't' }])
    await b.ping()
    expect(b.waitingMessages).toEqual([])
    expect(await broker.disconnect('same', 'site-a/')).toBe(true)
    await a.untilClosed()
    await b.ping()
  })

  it('share groups among the clients of one site only', async () => {
    const { broker, on } = await openSites()
    const a = await on('a', { clientId: 'a1' })
    const b = await on('b', { clientId: 'b1' })
    for (const client of [a, b]) await client.subscribe(['$share/g/work', 1])
    for (let i = 0; i < 4; i++) await broker.publish({ topic: 'site-a/work', payload: String(i), qos: 1 })
    expect(await a.nextMessages(4)).toMatchObject([{ topic: 'work' }, {}, {}, {}])
    await b.ping()
    expect(b.waitingMessages).toEqual([])
  })

  it('leave $SYS as it is, for everyone', async () => {
    const { on } = await openSites({ sysIntervalMs: 60_000 })
    const a = await on('a', { clientId: 'a1' })
    await a.subscribe(['$SYS/broker/version', 0], ['#', 0])
    expect(await a.next('publish')).toMatchObject({ topic: '$SYS/broker/version', retain: true })
    await a.ping()
    expect(a.waitingMessages).toEqual([])
  })
})
