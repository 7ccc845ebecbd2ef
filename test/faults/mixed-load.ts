import { expect } from 'vitest'
import { type Delivery, LoadClient, type Outgoing } from '../support/load-client.ts'
import { eventually, missing, outOfOrder, repeated, report, texts } from './ledger.ts'

const publisherCount = 3
const perPublisher = 3_334

/** QoS 0, 1, 2, and 1 with RETAIN, in turn, on four topics a publisher. */
function messageOf(publisher: number, number: number): Outgoing {
  const kind = number % 4
  return {
    topic: `load/${publisher}/${Math.floor(number / 4) % 4}${kind === 3 ? '/kept' : ''}`,
    payload: `${publisher} ${number}`,
    qos: kind === 3 ? 1 : (kind as 0 | 1 | 2),
    retain: kind === 3,
  }
}

const messages = Array.from({ length: publisherCount }, (_, publisher) =>
  Array.from({ length: perPublisher }, (__, number) => messageOf(publisher, number)),
)
const all = messages.flat()

async function publishAll(publisher: LoadClient, own: readonly Outgoing[]): Promise<void> {
  for (let from = 0; from < own.length; from += 100)
    await Promise.all(own.slice(from, from + 100).map((message) => publisher.publish(message)))
}

/** 10,000 messages of every QoS; each client is at the next of the ports, and one that was away comes back at another. */
export async function mixedLoad(test: string, ports: readonly number[]): Promise<void> {
  let joined = 0
  const nextPort = (): number => ports[joined++ % ports.length]!
  const join = async (clientId: string, clean = true): Promise<LoadClient> => {
    const client = new LoadClient({ port: nextPort(), clientId, clean })
    await client.connect()
    return client
  }
  const clean = await join('clean')
  const kept = await join('kept', false)
  const overlapping = await join('overlapping', false)
  const lowered = await join('lowered')
  const sleeper = await join('sleeper', false)
  expect(await clean.subscribe(['load/#', 2])).toEqual([2])
  expect(await kept.subscribe(['load/#', 2])).toEqual([2])
  expect(await overlapping.subscribe(['load/+/+/#', 2], ['load/1/#', 0], ['#', 1])).toEqual([2, 0, 1])
  expect(await lowered.subscribe(['load/#', 1])).toEqual([1])
  expect(await sleeper.subscribe(['load/#', 2])).toEqual([2])
  await sleeper.vanish()

  const publishers = await Promise.all(messages.map((_, number) => join(`publisher-${number}`)))
  await Promise.all(publishers.map((publisher, number) => publishAll(publisher, messages[number]!)))
  await sleeper.connect(nextPort())

  const acknowledged = new Set(publishers.flatMap((publisher) => [...publisher.acknowledged]))
  expect(acknowledged.size).toBe(all.filter(({ qos }) => qos > 0).length)
  const subscribers = [clean, kept, overlapping, lowered]
  await eventually(() => subscribers.every(({ received }) => received.length >= all.length))
  await eventually(() => sleeper.received.length >= acknowledged.size)
  await Promise.all([...subscribers, sleeper].map((client) => client.ping()))

  const everything = all.map(({ payload }) => payload)
  for (const { received } of subscribers) {
    expect(missing(everything, texts(received))).toEqual([])
    expect(repeated(received)).toEqual([])
    expect(outOfOrder(received)).toEqual([])
  }
  expect(missing(acknowledged, texts(sleeper.received))).toEqual([])
  expect(repeated(sleeper.received)).toEqual([])
  expect(outOfOrder(sleeper.received)).toEqual([])
  expect(clean.received.every(hasQosOf)).toBe(true)
  expect(lowered.received.every(({ qos }) => qos < 2)).toBe(true)

  const late = await join('late')
  await late.subscribe(['load/#', 2])
  const retained = latestRetained()
  await eventually(() => late.received.length >= retained.size)
  await late.ping()
  expect(new Map(late.received.map(({ topic, payload }) => [topic, payload.toString()]))).toEqual(retained)
  expect(late.received.every(({ retain }) => retain)).toBe(true)
  report(test, acknowledged.size, `${kept.received.filter(({ qos }) => qos > 0).length} delivered to each`)
  await Promise.all([...subscribers, ...publishers, sleeper, late].map((client) => client.disconnect()))
}

const qosOf = new Map(all.map(({ payload, qos }) => [payload, qos]))

function hasQosOf({ payload, qos }: Delivery): boolean {
  return qosOf.get(payload.toString()) === qos
}

function latestRetained(): Map<string, string> {
  return new Map(all.filter(({ retain }) => retain).map(({ topic, payload }) => [topic, payload]))
}
