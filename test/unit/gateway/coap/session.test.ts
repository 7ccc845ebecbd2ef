import { expect, it } from 'vitest'
import type { DoorClient, DoorEvents, DoorMessage } from '../../../../src/broker/door/contract.ts'
import { createCoapCounts } from '../../../../src/gateway/coap/counts.ts'
import { Endpoint } from '../../../../src/gateway/coap/endpoint.ts'
import { Observation } from '../../../../src/gateway/coap/observation.ts'
import { Session } from '../../../../src/gateway/coap/session.ts'
import { Downloads } from '../../../../src/gateway/coap/transfers.ts'

const observationOf = (filter: string, token = Buffer.of(1)): Observation =>
  new Observation({ token, filter, qos: 0, downloadKey: filter, blockBytes: 1_024, maxQueued: 4 })

/** A session whose client grants everything; what the broker says to it is in the hands of the test. */
async function openSession() {
  const sent: Buffer[] = []
  const endpoint = new Endpoint({
    address: '192.0.2.7',
    port: 5,
    key: 'x',
    ackTimeoutMs: 60_000,
    send: (datagram) => sent.push(datagram),
    unused() {},
  })
  const transfers = { maxPayloadBytes: 1_024, maxTransfers: 4, timeoutMs: 1_000 }
  const limits = {
    idleTimeoutMs: 60_000,
    maxObservations: 4,
    confirmableIntervalMs: 60_000,
    downloads: new Downloads(transfers),
  }
  const session = new Session({ key: 'k', endpoint, limits, counts: createCoapCounts(), ended() {} })
  let events: DoorEvents | undefined
  const client: Partial<DoorClient> = {
    subscribe: () => Promise.resolve(),
    unsubscribe: () => Promise.resolve(),
    close() {},
  }
  session.open((given) => {
    events = given
    return Promise.resolve(client as DoorClient)
  })
  await session.opened
  const message = (topic: string): void => {
    const said: DoorMessage = { topic, payload: Buffer.from(topic), qos: 0, retain: false }
    events!.message(said, () => undefined)
  }
  const end = (): void => {
    endpoint.close()
    session.end(undefined)
  }
  return { session, sent, message, end }
}

it('tells its only observer what comes, also of a filter that a handler has rewritten', async () => {
  const { session, sent, message, end } = await openSession()
  await session.observe(observationOf('asked'))
  message('rewritten')
  expect(sent).toHaveLength(1)
  end()
})

it('tells no observer what was on its way for a filter that was let go', async () => {
  const { session, sent, message, end } = await openSession()
  await session.observe(observationOf('former'))
  await session.observe(observationOf('latter'))
  message('former')
  expect(sent).toEqual([])
  message('latter')
  expect(sent[0]!.toString('latin1')).toContain('latter')
  end()
})
