import { expect, it, onTestFinished } from 'vitest'
import { type BrokerProcess, startBrokerProcess } from '../support/broker-process.ts'
import { LoadClient } from '../support/load-client.ts'
import { allCome, eventually, missing, outOfOrder, repeated, report, texts } from './ledger.ts'
import { Publisher, stopAll } from './publisher.ts'

const rounds = 3
const session = { queueMaxMessages: 1_000_000 }
const topicsOf = (direction: 'in' | 'out', ...names: string[]) =>
  names.map((name) => ({ filter: `load/${name}/#`, direction, qos: 2 }))

interface Side {
  readonly broker: BrokerProcess
  readonly publishers: readonly Publisher[]
  readonly subscriber: LoadClient
}

async function createSide(broker: BrokerProcess, name: string, from: readonly string[]): Promise<Side> {
  onTestFinished(() => broker.remove())
  const publishers = [1, 2].map(
    (qos) => new Publisher(`${name}${qos}`, qos as 1 | 2, broker.port, { window: 10, pauseMs: 50 }),
  )
  const subscriber = new LoadClient({ port: broker.port, clientId: `${name} listens`, clean: false })
  for (const client of [...publishers.map((publisher) => publisher.client), subscriber])
    await client.connect()
  for (const other of from) await subscriber.subscribe([`load/${other}/#`, 2])
  return { broker, publishers, subscriber }
}

async function kill({ broker, publishers, subscriber }: Side): Promise<void> {
  const clients = [...publishers.map(({ client }) => client), subscriber]
  await broker.kill()
  await Promise.all(clients.map((client) => client.closed))
  await broker.start()
  for (const client of clients) await client.connect()
}

it('a bridge loses nothing and keeps the order, both ways, when either broker is killed under load', async () => {
  const other = await startBrokerProcess({ config: { session } })
  const bridge = {
    name: 'other',
    url: `mqtt://127.0.0.1:${other.port}`,
    reconnectMinMs: 50,
    reconnectMaxMs: 200,
    topics: [...topicsOf('out', 'here1', 'here2'), ...topicsOf('in', 'there1', 'there2')],
  }
  const here = await createSide(
    await startBrokerProcess({ config: { session, bridges: [bridge] } }),
    'here',
    ['there1', 'there2'],
  )
  const there = await createSide(other, 'there', ['here1', 'here2'])
  const publishers = [...here.publishers, ...there.publishers]
  for (const publisher of publishers) publisher.publishMore()
  const crossed = (): number => Math.min(here.subscriber.received.length, there.subscriber.received.length)

  for (let round = 0; round < rounds; round++) {
    const enough = crossed() + 50 + Math.floor(Math.random() * 100)
    await eventually(() => crossed() > enough)
    await kill(round === 1 ? there : here)
  }
  const enough = crossed() + 50
  await eventually(() => crossed() > enough)
  await stopAll(publishers)
  const sides = [
    [here, there],
    [there, here],
  ] as const
  for (const [from, to] of sides) {
    const acknowledged = from.publishers.flatMap(({ client }) => [...client.acknowledged])
    await allCome(acknowledged, to.subscriber.received)
    expect(missing(acknowledged, texts(to.subscriber.received))).toEqual([])
    expect(outOfOrder(to.subscriber.received)).toEqual([])
    report('bridge', acknowledged.length, `${repeated(to.subscriber.received).length} of them came twice`)
  }
  await eventually(async () => (await here.broker.metric('tunnelmq_bridge_queued_messages')) === 0)
  expect(await here.broker.metric('tunnelmq_bridge_messages_dropped_total')).toBe(0)
})
