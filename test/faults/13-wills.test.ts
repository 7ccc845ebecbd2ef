import { describe, expect, it } from 'vitest'
import type { BrokerProcess } from '../support/broker-process.ts'
import { LoadClient } from '../support/load-client.ts'
import { eventually, repeated, report, texts } from './ledger.ts'
import {
  type LastingStore,
  openSingle,
  type SingleBroker,
  startSingle,
  type StoreType,
} from './single-broker.ts'

let broker: SingleBroker
let watcher: LoadClient

/** In which clients have to be back: on Redis from the last sign of the old run on, else from the start of the new one. */
const graceMs = { embedded: 2_000, redis: 8_000 }

async function watch(): Promise<void> {
  watcher = new LoadClient({ port: broker.port, clientId: 'watcher', clean: false })
  await watcher.connect()
  await watcher.subscribe(['will/#', 2])
}

/** One that can die. */
async function start(type: LastingStore): Promise<BrokerProcess> {
  const config = { session: { willGraceMs: graceMs[type] }, cluster: { leaseMs: graceMs[type] } }
  const process = await startSingle(type, config)
  broker = process
  await watch()
  return process
}

async function open(type: StoreType): Promise<void> {
  broker = await openSingle(type)
  await watch()
}

/** Of MQTT 5: its will waits for that long. */
async function patient(
  clientId: string,
  payload: string,
  willDelayInterval: number,
  sessionExpirySeconds = 600,
): Promise<LoadClient> {
  const will = { topic: `will/${clientId}`, payload, qos: 2, properties: { willDelayInterval } }
  const options = { port: broker.port, clientId, will, version: 5, sessionExpirySeconds } as const
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
async function restart(process: BrokerProcess): Promise<void> {
  await process.start()
  expect((await watcher.connect()).sessionPresent).toBe(true)
}

/**
 * The wills that came, once those are there; the orphans of an earlier run all come at the same time. Without those at
 * QoS 1 that come again marked DUP, as their acknowledgement was not stored when the broker died.
 */
async function willsThatCame(...due: string[]): Promise<string[]> {
  const { received } = watcher
  await eventually(() => due.every((payload) => texts(received).includes(payload)))
  await watcher.ping()
  const again = new Set(repeated(received).filter(({ qos, dup }) => qos === 1 && dup))
  return texts(received.filter((delivery) => !again.has(delivery))).sort()
}

describe.each(['memory', 'embedded', 'redis'] as const)('of one broker with the %s store', (type) => {
  it('a client that is taken over has its will published once, and its successor another', async () => {
    await open(type)
    const first = await mortal('same', 'first')
    const second = await mortal('same', 'second')
    await first.closed
    expect(await willsThatCame('first')).toEqual(['first'])
    await second.vanish()
    expect(await willsThatCame('second')).toEqual(['first', 'second'])
    report(`13 (taken over, ${type})`, 2, `${watcher.received.length} wills delivered`)
  })

  it('a will comes when its delay or its session is over, and never when its client is back before', async () => {
    await open(type)
    const returning = await patient('returning', 'returning 1', 4)
    const cleaned = await patient('cleaned', 'cleaned 1', 600)
    const polite = await patient('polite', 'polite 1', 1)
    for (const client of [returning, cleaned]) await client.vanish()
    await polite.disconnect()
    await patient('short', 'short 1', 600, 1).then((client) => client.vanish())
    await patient('waiting', 'waiting 1', 1).then((client) => client.vanish())
    const returned = await patient('returning', 'returning 2', 600)
    // A take-over by one that goes on with the session is a return, too.
    const again = await patient('returning', 'returning 3', 600)
    await returned.closed
    expect(returned.ended?.reasonCode).toBe(0x8e)
    // A clean start ends the session.
    await new LoadClient({ port: broker.port, clientId: 'cleaned', version: 5 }).connect()
    await patient('sentinel', 'sentinel', 5).then((client) => client.vanish())
    const due = ['cleaned 1', 'sentinel', 'short 1', 'waiting 1']
    expect(await willsThatCame(...due)).toEqual(due)
    expect(again.isOpen).toBe(true)
    report(
      `13 (delayed, ${type})`,
      4,
      `${watcher.received.length} wills delivered; 4 not due, and not published`,
    )
  })
})

// Wills that only memory has kept end with its process, and so do the sessions of those who would come back.
describe.each(['embedded', 'redis'] as const)('of one broker with the %s store,', (type) => {
  it('after a kill, wills of clients that stay away are published once, and none of those that are back', async () => {
    const process = await start(type)
    await mortal('away', 'away 1')
    await mortal('away-retained', 'retained 1', 1)
    const returning = await mortal('returning', 'returning 1')
    const polite = await mortal('polite', 'polite 1')
    const replaced = await mortal('same', 'first')
    const successor = await mortal('same', 'second')
    await replaced.closed
    await successor.vanish()
    await polite.disconnect()
    expect(await willsThatCame('first', 'second')).toEqual(['first', 'second'])
    // DISCONNECT has no answer: that its will is forgotten is certain only when the disk has it.
    await eventually(async () => (await broker.metric('tunnelmq_store_pending_writes')) === 0)
    await process.kill()
    await returning.closed
    await restart(process)
    const again = await mortal('returning', 'returning 2')
    const published = ['away 1', 'first', 'retained 1', 'second']
    expect(await willsThatCame(...published)).toEqual(published)

    // Not once more after the next kill; and the client that was back has its new one published.
    await process.kill()
    await again.closed
    await restart(process)
    expect(await willsThatCame('returning 2')).toEqual([...published, 'returning 2'].sort())
    const late = new LoadClient({ port: broker.port, clientId: 'late' })
    await late.connect()
    await late.subscribe(['will/#', 1])
    await late.ping()
    expect(texts(late.received)).toEqual(['retained 1'])
    report(
      `13 (killed, ${type})`,
      5,
      `${watcher.received.length} wills delivered; 2 not due, and not published`,
    )
  })

  it('after a kill, the delay of a will goes on, or begins, and ends with the return of its client', async () => {
    const process = await start(type)
    await patient('connected', 'connected 1', 3)
    const returning = await patient('returning', 'returning 1', 3)
    const waiting = await patient('waiting', 'waiting 1', 8)
    const undone = await patient('undone', 'undone 1', 8)
    const cleaned = await patient('cleaned', 'cleaned 1', 600)
    for (const client of [waiting, undone, cleaned]) await client.vanish()
    await patient('returned', 'returned 1', 8).then((client) => client.vanish())
    const returned = await patient('returned', 'returned 2', 600)
    // Its end has no answer: what is certain is what the disk has.
    await eventually(async () => (await broker.metric('tunnelmq_store_pending_writes')) === 0)
    await process.kill()
    await Promise.all([returning.closed, returned.closed])
    await restart(process)
    await patient('returning', 'returning 2', 600)
    await patient('undone', 'undone 2', 600)
    await returned.connect()
    // A clean start ends the session.
    await new LoadClient({ port: broker.port, clientId: 'cleaned', version: 5 }).connect()
    const due = ['cleaned 1', 'connected 1', 'waiting 1']
    expect(await willsThatCame(...due)).toEqual(due)
    report(
      `13 (delayed, killed, ${type})`,
      3,
      `${watcher.received.length} wills delivered; 4 not due, and not published`,
    )
  })

  it('after a stop in order no will is lost, and none published of a client that is back', async () => {
    const process = await start(type)
    await mortal('away', 'away 1')
    const returning = await mortal('returning', 'returning 1')
    expect(await process.stop()).toBe(0)
    await returning.closed
    await restart(process)
    await mortal('returning', 'returning 2')
    expect(await willsThatCame('away 1')).toEqual(['away 1'])
    report(
      `13 (stopped, ${type})`,
      1,
      `${watcher.received.length} will delivered; 1 not due, and not published`,
    )
  })
})
