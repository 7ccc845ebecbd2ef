import { afterEach, expect, it } from 'vitest'
import { MAX_UNFORGOTTEN_COUNT } from '../../src/store/contract.ts'
import { type BrokerProcess, startBrokerProcess } from '../support/broker-process.ts'
import { LoadClient } from '../support/load-client.ts'
import { dupsOf, eventually, missing, outOfOrder, repeated, report, texts } from './ledger.ts'
import { Publisher, stopAll } from './publisher.ts'

const kills = 20
/** Of the broker (limits.maxInflight) and of the publishers. */
const window = 20

let broker: BrokerProcess

afterEach(() => broker.remove())

it('loses nothing when the broker is killed 20 times under load, and doubles no more than was in flight', async () => {
  broker = await startBrokerProcess({ config: { session: { queueMaxMessages: 1_000_000 } } })
  const { port } = broker
  const publishers = [new Publisher('one', 1, port, { window }), new Publisher('two', 2, port, { window })]
  const exact = new LoadClient({ port, clientId: 'exact', clean: false })
  const lowered = new LoadClient({ port, clientId: 'lowered', clean: false })
  const subscribers = [exact, lowered]
  const clients = [...subscribers, ...publishers.map(({ client }) => client)]
  const acknowledgedCount = (): number =>
    publishers.reduce((sum, { client }) => sum + client.acknowledged.size, 0)
  const losses = new Map(clients.map((client) => [client, 0]))

  for (const client of clients) await client.connect()
  await exact.subscribe(['load/#', 2])
  await lowered.subscribe(['load/#', 1])
  for (const publisher of publishers) publisher.publishMore()
  for (let kill = 0; kill < kills; kill++) {
    const half = acknowledgedCount() + Math.floor(Math.random() * 400)
    await eventually(() => acknowledgedCount() > half)
    const victim = clients[kill % clients.length]!
    losses.set(victim, losses.get(victim)! + 1)
    await victim.vanish()
    expect(await victim.connect()).toEqual({ code: 0, sessionPresent: true })
    const enough = acknowledgedCount() + Math.floor(Math.random() * 400)
    await eventually(() => acknowledgedCount() > enough)
    await broker.kill()
    await Promise.all(clients.map((client) => client.closed))
    await broker.start()
    for (const client of clients) expect(await client.connect()).toEqual({ code: 0, sessionPresent: true })
  }
  const acknowledged = await stopAll(publishers)
  await eventually(async () => (await broker.metric('tunnelmq_queued_messages')) === 0)
  await Promise.all(subscribers.map((client) => client.ping()))

  const resent = new Set(publishers.flatMap(({ client }) => [...client.resent]))
  expect(new Set(acknowledged)).toEqual(new Set(publishers.flatMap(({ published }) => published)))
  for (const subscriber of subscribers) {
    expect(missing(acknowledged, texts(subscriber.received))).toEqual([])
    expect(outOfOrder(subscriber.received)).toEqual([])
    const { marked, wrong } = dupsOf(subscriber.received, resent)
    expect(wrong).toEqual([])
    // What a kill doubles is what was in flight, and what was acknowledged and not forgotten on the disk.
    expect(marked).toBeLessThanOrEqual(
      window * losses.get(subscriber)! + (window + MAX_UNFORGOTTEN_COUNT) * kills,
    )
  }
  expect(repeated(exact.received.filter(({ qos }) => qos === 2))).toEqual([])
  expect(
    repeated(lowered.received.filter(({ payload }) => payload.toString().startsWith('two'))).every(
      ({ dup }) => dup,
    ),
  ).toBe(true)
  for (const { client } of publishers)
    expect(client.resent.size).toBeLessThanOrEqual(window * (losses.get(client)! + kills))
  expect(exact.again.dupCount).toBe(exact.again.count)
  const dups = dupsOf(exact.received, resent).marked
  report(
    '3',
    acknowledged.length,
    `${new Set(texts(exact.received)).size} delivered, ${dups} of them again with DUP`,
  )
})
