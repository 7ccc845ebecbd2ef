import { afterEach, expect, it } from 'vitest'
import { type BrokerProcess, startBrokerProcess } from '../support/broker-process.ts'
import { LoadClient } from '../support/load-client.ts'
import { report } from './ledger.ts'
import { expected, publishTopics, readTopics } from './retained-topics.ts'

let broker: BrokerProcess

afterEach(() => broker.remove())

it('keeps the latest value of 10,000 topics, for every filter, through a kill and a stop', async () => {
  broker = await startBrokerProcess()
  const publisher = new LoadClient({ port: broker.port, clientId: 'publisher', window: 500 })
  await publisher.connect()
  await publishTopics([publisher])
  const alive = await readTopics(broker.port, 'alive')
  await broker.kill()
  await broker.start()
  expect(await readTopics(broker.port, 'killed')).toBe(alive)
  expect(await broker.stop()).toBe(0)
  await broker.start()
  expect(await readTopics(broker.port, 'stopped')).toBe(alive)
  expect(await broker.metric('tunnelmq_retained_messages')).toBe(expected.size)
  report(
    '14',
    expected.size,
    `${await broker.metric('tunnelmq_retained_messages')} topics retained, ${alive} delivered each time`,
  )
})
