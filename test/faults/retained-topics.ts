import { expect } from 'vitest'
import { topicMatches } from '../../src/broker/topics.ts'
import { LoadClient, type Outgoing } from '../support/load-client.ts'
import { eventually } from './ledger.ts'

const topicCount = 10_000

const topicOf = (number: number): string => `house/${number % 100}/room/${Math.floor(number / 100)}`

/** Set, set anew, cleared, cleared and set again: by number. */
function changesOf(number: number): string[] {
  const value = `v ${number}`
  if (number % 5 === 1) return [value, `${value} anew`]
  if (number % 5 === 2) return [value, '']
  if (number % 5 === 3) return [value, '', `${value} again`]
  return [value]
}

/** What is retained in the end. */
export const expected = new Map<string, string>()
for (let number = 0; number < topicCount; number++) {
  const last = changesOf(number).at(-1)!
  if (last !== '') expected.set(topicOf(number), last)
}

const filters = ['house/#', 'house/7/room/+', 'house/+/room/42', '+/1/room/#', 'house/12/room/3', 'nobody/#']

/** Reads them with every filter, as clients of their own at that port; returns how many came. */
export async function readTopics(port: number, round: string): Promise<number> {
  let count = 0
  for (const [index, filter] of filters.entries()) {
    const reader = new LoadClient({ port, clientId: `reader-${round}-${index}` })
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

/** In three rounds, each by the next of these publishers, when everything of the round before is acknowledged. */
export async function publishTopics(publishers: readonly LoadClient[]): Promise<void> {
  for (let change = 0; change < 3; change++) {
    const publisher = publishers[change % publishers.length]!
    const messages: Outgoing[] = []
    for (let number = 0; number < topicCount; number++) {
      const payload = changesOf(number)[change]
      const qos = number % 2 === 0 ? 1 : 2
      if (payload !== undefined) messages.push({ topic: topicOf(number), payload, qos, retain: true })
    }
    await Promise.all(messages.map((message) => publisher.publish(message)))
  }
}
