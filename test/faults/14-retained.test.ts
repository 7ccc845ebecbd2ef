import { afterEach, expect, it } from 'vitest'
import { topicMatches } from '../../src/broker/topics.ts'
import { type BrokerProcess, startBrokerProcess } from '../support/broker-process.ts'
import { LoadClient, type Outgoing } from '../support/load-client.ts'
import { eventually, report } from './ledger.ts'

const topicCount = 10_000

let broker: BrokerProcess

afterEach(() => broker.remove())

const topicOf = (number: number): string => `house/${number % 100}/room/${Math.floor(number / 100)}`

/** Set, set anew, cleared, cleared and set again: by number. */
function changesOf(number: number): string[] {
  const value = `v ${number}`
  if (number % 5 === 1) return [value, `${value} anew`]
  if (number % 5 === 2) return [value, '']
  if (number % 5 === 3) return [value, '', `${value} again`]
  return [value]
}

const expected = new Map<string, string>()
for (let number = 0; number < topicCount; number++) {
  const last = changesOf(number).at(-1)!
  if (last !== '') expected.set(topicOf(number), last)
}

const filters = ['house/#', 'house/7/room/+', 'house/+/room/42', '+/1/room/#', 'house/12/room/3', 'nobody/#']

async function readAll(round: string): Promise<number> {
  let count = 0
  for (const [index, filter] of filters.entries()) {
    const reader = new LoadClient({ port: broker.port, clientId: `reader-${round}-${index}` })
    await reader.connect()
    await reader.subscribe([filter, 1])
    const due = new Map([...expected].filter(([topic]) => topicMatches(filter, topic)))
    await eventually(() => reader.received.length >= due.size)
    await reader.ping()
    const came = new Map(reader.received.map(({ topic, payload }) => [topic, payload.toString()]))
    expect(came.size).toBe(reader.received.length)
    expect(came).toEqual(due)
    expect(reader.received.every(({ retain }) => retain)).toBe(true)
    count += came.size
    await reader.disconnect()
  }
  return count
}

it('keeps the latest value of 10,000 topics, for every filter, through a kill and a stop', async () => {
  broker = await startBrokerProcess()
  const publisher = new LoadClient({ port: broker.port, clientId: 'publisher', window: 500 })
  await publisher.connect()
  for (let change = 0; change < 3; change++) {
    const messages: Outgoing[] = []
    for (let number = 0; number < topicCount; number++) {
      const payload = changesOf(number)[change]
      const qos = number % 2 === 0 ? 1 : 2
      if (payload !== undefined) messages.push({ topic: topicOf(number), payload, qos, retain: true })
    }
    await Promise.all(messages.map((message) => publisher.publish(message)))
  }
  const alive = await readAll('alive')
  await broker.kill()
  await broker.start()
  expect(await readAll('killed')).toBe(alive)
  expect(await broker.stop()).toBe(0)
  await broker.start()
  expect(await readAll('stopped')).toBe(alive)
  expect(await broker.metric('tunnelmq_retained_messages')).toBe(expected.size)
  report(
    '14',
    expected.size,
    `${await broker.metric('tunnelmq_retained_messages')} topics retained, ${alive} delivered each time`,
  )
}, 60_000)
