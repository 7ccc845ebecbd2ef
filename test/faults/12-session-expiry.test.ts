import { describe, expect, it } from 'vitest'
import { LoadClient } from '../support/load-client.ts'
import { eventually, missing, report, texts } from './ledger.ts'
import { enter, mqtt5, returnAtTheEdge } from './session-edge.ts'
import { openSingle, type SingleBroker, startSingle } from './single-broker.ts'

/** So many are left, connected or away. */
async function storedCountIs(broker: Pick<SingleBroker, 'metric'>, count: number): Promise<void> {
  const isRight = async (): Promise<boolean> =>
    (await broker.metric('tunnelmq_sessions', 'state="stored"')) === count
  await eventually(isRight, 40_000, 200)
}

// A store in memory can do all that has no death in it.
describe.each([
  { type: 'memory', rounds: 3, clientCount: 60 },
  { type: 'embedded', rounds: 2, clientCount: 20 },
  { type: 'redis', rounds: 2, clientCount: 20 },
] as const)('of one broker with the $type store, session expiry', ({ type, rounds, clientCount }) => {
  it('removes sessions whose clients stay away, and never one that is connected', async () => {
    const broker = await openSingle(type, { session: { expiryMs: 2_000 } })
    const stayers = [await enter(broker.port, 'stayer'), await enter(broker.port, 'stayer-5', mqtt5(2))]
    const commuters = [await enter(broker.port, 'commuter'), await enter(broker.port, 'commuter-5', mqtt5(2))]
    const publisher = new LoadClient({ port: broker.port, clientId: 'publisher' })
    await publisher.connect()
    for (let round = 0; round < rounds; round++) {
      const briefs = [
        await enter(broker.port, `brief-${round}`),
        await enter(broker.port, `brief-5-${round}`, mqtt5(1)),
      ]
      for (const brief of briefs) await brief.disconnect()
      // Its time away begins anew each time.
      for (const commuter of commuters) await commuter.vanish()
      await publisher.publish({ topic: 'to/all', payload: `all ${round}`, qos: 1 })
      for (const commuter of commuters) expect((await commuter.connect()).sessionPresent).toBe(true)
      await storedCountIs(broker, 4)
      for (const brief of briefs) {
        expect((await brief.connect()).sessionPresent).toBe(false)
        await brief.ping()
        expect(brief.received).toEqual([])
        await brief.disconnect()
      }
    }
    for (const client of [...stayers, ...commuters]) {
      await eventually(() => client.received.length >= rounds)
      expect(missing(publisher.acknowledged, texts(client.received))).toEqual([])
    }
    await storedCountIs(broker, 4)
    const delivered = stayers[0]!.received.length
    report(`12 (away, ${type})`, publisher.acknowledged.size, `${delivered} delivered to each that stayed`)
  })

  it('either keeps a session whole or removes it whole when its client is back just as it ends', async () => {
    const expiryMs = 2_000
    const broker = await openSingle(type, { session: { expiryMs } })
    await returnAtTheEdge({
      name: `12 (back, ${type})`,
      publisherPort: broker.port,
      clientCount,
      expiryMs,
      enterAs: (i) => enter(broker.port, `edge-${i}`, i % 2 === 0 ? {} : mqtt5(expiryMs / 1_000)),
      awayMs: (i) => (i * 2_700) / clientCount,
      returnPort: () => undefined,
    })
  })
})

it.each(['embedded', 'redis'] as const)(
  'counts the time away across a kill, and from the start for those that were connected (%s)',
  async (type) => {
    const broker = await startSingle(type, { session: { expiryMs: 3_000 } })
    const gone = await enter(broker.port, 'gone')
    await gone.disconnect()
    const lost = await enter(broker.port, 'lost')
    const back = await enter(broker.port, 'back')
    const ownTimes = [
      await enter(broker.port, 'gone-5', mqtt5(1)),
      await enter(broker.port, 'lost-5', mqtt5(1)),
    ]
    await ownTimes[0]!.disconnect()
    // It goes on with what is there, and that ends with its connection.
    const brief = await enter(broker.port, 'brief-5', mqtt5(60)).then(async (before) => {
      await before.disconnect()
      return enter(broker.port, 'brief-5', mqtt5(0))
    })
    const publisher = new LoadClient({ port: broker.port, clientId: 'publisher' })
    await publisher.connect()
    await publisher.publish({ topic: 'to/all', payload: 'p 1', qos: 1 })
    await broker.kill()
    await Promise.all([lost.closed, back.closed, brief.closed, publisher.closed])
    await broker.start()
    expect((await brief.connect()).sessionPresent).toBe(false)
    await brief.disconnect()
    expect((await back.connect()).sessionPresent).toBe(true)
    await storedCountIs(broker, 1)
    await publisher.connect()
    await publisher.publish({ topic: 'to/all', payload: 'p 2', qos: 1 })
    await eventually(() => missing(publisher.acknowledged, texts(back.received)).length === 0)
    expect((await gone.connect()).sessionPresent).toBe(false)
    expect((await lost.connect()).sessionPresent).toBe(false)
    for (const client of ownTimes) expect((await client.connect()).sessionPresent).toBe(false)
    report(
      `12 (killed, ${type})`,
      publisher.acknowledged.size,
      `${new Set(texts(back.received)).size} delivered`,
    )
  },
)
