import { afterEach, beforeEach, expect, it } from 'vitest'
import { type BrokerProcess, startBrokerProcess } from '../support/broker-process.ts'
import { LoadClient } from '../support/load-client.ts'
import { eventually, report, texts } from './ledger.ts'

let broker: BrokerProcess
let watcher: LoadClient

beforeEach(async () => {
  broker = await startBrokerProcess({ config: { session: { willGraceMs: 2_000 } } })
  watcher = new LoadClient({ port: broker.port, clientId: 'watcher', clean: false })
  await watcher.connect()
  await watcher.subscribe(['will/#', 2])
})

afterEach(() => broker.remove())

/** Of MQTT 5: its will waits for that long. */
async function patient(clientId: string, payload: string, willDelayInterval: number): Promise<LoadClient> {
  const will = { topic: `will/${clientId}`, payload, qos: 2, properties: { willDelayInterval } }
  const options = { port: broker.port, clientId, will, version: 5, sessionExpirySeconds: 600 } as const
  const client = new LoadClient({ ...options, clean: false })
  expect((await client.connect()).code).toBe(0)
  return client
}

async function mortal(clientId: string, payload: string, qos: 0 | 1 | 2 = 2): Promise<LoadClient> {
  const will = { topic: `will/${clientId}`, payload, qos, retain: qos === 1 }
  const client = new LoadClient({ port: broker.port, clientId, will })
  expect((await client.connect()).code).toBe(0)
  return client
}

/** Starts the broker again; the watcher is there at once. */
async function restart(): Promise<void> {
  await broker.start()
  expect((await watcher.connect()).sessionPresent).toBe(true)
}

/** The wills that came, once those are there; the orphans of an earlier run all come at the same time. */
async function willsThatCame(...due: string[]): Promise<string[]> {
  await eventually(() => due.every((payload) => texts(watcher.received).includes(payload)))
  await watcher.ping()
  return texts(watcher.received).sort()
}

it('after a kill, wills of clients that stay away are published once, and none of those that are back', async () => {
  await mortal('away', 'away 1')
  await mortal('away-retained', 'retained 1', 1)
  const returning = await mortal('returning', 'returning 1')
  const polite = await mortal('polite', 'polite 1')
  await polite.disconnect()
  // DISCONNECT has no answer: that its will is forgotten is certain only when the disk has it.
  await eventually(async () => (await broker.metric('tunnelmq_store_pending_writes')) === 0)
  await broker.kill()
  await returning.closed
  await restart()
  const again = await mortal('returning', 'returning 2')
  expect(await willsThatCame('away 1', 'retained 1')).toEqual(['away 1', 'retained 1'])

  // Not once more after the next kill; and the client that was back has its new one published.
  await broker.kill()
  await again.closed
  await restart()
  expect(await willsThatCame('returning 2')).toEqual(['away 1', 'retained 1', 'returning 2'])
  const late = new LoadClient({ port: broker.port, clientId: 'late' })
  await late.connect()
  await late.subscribe(['will/#', 1])
  await late.ping()
  expect(texts(late.received)).toEqual(['retained 1'])
  report('13 (killed)', 3, `${watcher.received.length} wills delivered; 2 not due, and not published`)
})

it('after a kill, the delay of a will goes on, or begins, and ends with the return of its client', async () => {
  await patient('connected', 'connected 1', 3)
  const returning = await patient('returning', 'returning 1', 3)
  const waiting = await patient('waiting', 'waiting 1', 4)
  const undone = await patient('undone', 'undone 1', 4)
  const cleaned = await patient('cleaned', 'cleaned 1', 600)
  for (const client of [waiting, undone, cleaned]) await client.vanish()
  await patient('returned', 'returned 1', 1).then((client) => client.vanish())
  const returned = await patient('returned', 'returned 2', 600)
  // Its end has no answer: what is certain is what the disk has.
  await eventually(async () => (await broker.metric('tunnelmq_store_pending_writes')) === 0)
  await broker.kill()
  await Promise.all([returning.closed, returned.closed])
  await restart()
  await patient('returning', 'returning 2', 600)
  await patient('undone', 'undone 2', 600)
  await returned.connect()
  // A clean start ends the session.
  await new LoadClient({ port: broker.port, clientId: 'cleaned', version: 5 }).connect()
  const due = ['cleaned 1', 'connected 1', 'waiting 1']
  expect(await willsThatCame(...due)).toEqual(due)
  report(
    '13 (delayed, killed)',
    3,
    `${watcher.received.length} wills delivered; 4 not due, and not published`,
  )
})

it('after a stop in order no will is lost, and none published of a client that is back', async () => {
  await mortal('away', 'away 1')
  const returning = await mortal('returning', 'returning 1')
  expect(await broker.stop()).toBe(0)
  await returning.closed
  await restart()
  await mortal('returning', 'returning 2')
  expect(await willsThatCame('away 1')).toEqual(['away 1'])
  report('13 (stopped)', 1, `${watcher.received.length} will delivered; 1 not due, and not published`)
})

it('a client that is taken over has its will published once, and its successor another', async () => {
  const first = await mortal('same', 'first')
  const second = await mortal('same', 'second')
  await first.closed
  expect(await willsThatCame('first')).toEqual(['first'])
  await second.vanish()
  expect(await willsThatCame('second')).toEqual(['first', 'second'])
  await broker.kill()
  await restart()
  await mortal('sentinel', 'sentinel').then((client) => client.vanish())
  expect(await willsThatCame('sentinel')).toEqual(['first', 'second', 'sentinel'])
  report('13 (taken over)', 3, `${watcher.received.length} wills delivered`)
})
