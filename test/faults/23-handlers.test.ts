import { afterEach, describe, expect, it } from 'vitest'
import { AuthError, type Handler, type Session } from '../../src/hooks/types.ts'
import { startTestBroker, type TestBroker } from '../support/broker.ts'
import { LoadClient } from '../support/load-client.ts'
import { eventually, missing, outOfOrder, report, texts } from './ledger.ts'

const timeoutMs = 800
const goodCount = 500

let broker: TestBroker
/** Ends what hangs, when the test is over. */
let endHanging: () => void

afterEach(async () => {
  endHanging()
  await broker.stop()
})

type Misdeed = 'throws' | 'throws nothing' | 'rejects' | 'hangs'
const misdeeds: readonly Misdeed[] = ['throws', 'throws nothing', 'rejects', 'hangs']

function throwNothing(): never {
  // oxlint-disable-next-line typescript/only-throw-error -- handlers in plain JavaScript do such things
  throw undefined
}

/** Does to clients whose id begins with `bad` what the test wants, in one method only; lets all others through. */
function handlerThat(misdeed: Misdeed, method: keyof Handler, forever: Promise<void>): Handler {
  const act = (session: Session): unknown => {
    if (!session.id.startsWith('bad')) return undefined
    if (misdeed === 'throws') throw new TypeError('a bug in a handler')
    if (misdeed === 'throws nothing') throwNothing()
    return misdeed === 'rejects' ? Promise.reject(new Error('a bug in a handler')) : forever
  }
  const fine = { authConnect: () => undefined, authPublish: () => undefined, authSubscribe: () => undefined }
  return { ...fine, [method]: act }
}

async function start(handler: (forever: Promise<void>) => Handler): Promise<void> {
  let resolve!: () => void
  const forever = new Promise<void>((done) => (resolve = done))
  endHanging = resolve
  broker = await startTestBroker({ auth: { timeoutMs } }, { handlers: [handler(forever)] })
}

function client(clientId: string): LoadClient {
  return new LoadClient({ port: broker.port, clientId, username: clientId, password: 'p' })
}

async function enter(clientId: string): Promise<LoadClient> {
  const entered = client(clientId)
  expect((await entered.connect()).code).toBe(0)
  return entered
}

/** A pair that has nothing to do with it; resolves to how many were acknowledged, all of which came. */
async function goodPair(): Promise<number> {
  const listener = await enter('good-listener')
  await listener.subscribe(['good', 2])
  const speaker = await enter('good-speaker')
  const numbers = Array.from({ length: goodCount }, (_, number) => number)
  await Promise.all(
    numbers.map((number) =>
      speaker.publish({ topic: 'good', payload: `p ${number}`, qos: number % 2 === 0 ? 1 : 2 }),
    ),
  )
  await eventually(() => listener.received.length >= goodCount)
  expect(missing(speaker.acknowledged, texts(listener.received))).toEqual([])
  expect(outOfOrder(listener.received)).toEqual([])
  await Promise.all([listener.disconnect(), speaker.disconnect()])
  return speaker.acknowledged.size
}

function failuresOf(method: string): number {
  return broker.events.filter((event) => event['msg'] === 'handler failed' && event['method'] === method)
    .length
}

describe.each(misdeeds)('a handler that %s', (misdeed) => {
  it('in authConnect: those clients are refused with CONNACK 3, and nobody else is held up', async () => {
    await start((forever) => handlerThat(misdeed, 'authConnect', forever))
    const refused = Array.from({ length: 50 }, (_, i) => client(`bad-${i}`).connect())
    const goodAcknowledged = await goodPair()
    expect((await Promise.all(refused)).map(({ code }) => code)).toEqual(refused.map(() => 3))
    expect(failuresOf('authConnect')).toBe(50)
    report(`23 (authConnect ${misdeed})`, goodAcknowledged, `${goodCount} delivered`)
  })

  it('in authSubscribe: those filters are refused, and nobody else is held up', async () => {
    await start((forever) => handlerThat(misdeed, 'authSubscribe', forever))
    const bad = await Promise.all(Array.from({ length: 20 }, (_, i) => enter(`bad-${i}`)))
    const answers = bad.map((one) => one.subscribe(['good', 1], ['other', 1]))
    const goodAcknowledged = await goodPair()
    expect(await Promise.all(answers)).toEqual(bad.map(() => [0x80, 0x80]))
    expect(bad.flatMap(({ received }) => received)).toEqual([])
    expect(failuresOf('authSubscribe')).toBe(20)
    report(`23 (authSubscribe ${misdeed})`, goodAcknowledged, `${goodCount} delivered`)
  })

  it('in authPublish: those messages are dropped and counted, and nobody else is held up', async () => {
    await start((forever) => handlerThat(misdeed, 'authPublish', forever))
    const watcher = await enter('good-watcher')
    await watcher.subscribe(['bad', 2])
    const bad = await Promise.all(Array.from({ length: 20 }, (_, i) => enter(`bad-${i}`)))
    const answers = bad.map((one, i) =>
      one.publish({ topic: 'bad', payload: `b ${i}`, qos: i % 2 === 0 ? 1 : 2 }),
    )
    const goodAcknowledged = await goodPair()
    await Promise.all(answers)
    await watcher.ping()
    expect(watcher.received).toEqual([])
    expect(failuresOf('authPublish')).toBe(20)
    // They are not punished for it.
    await Promise.all(bad.map((one) => one.ping()))
    report(`23 (authPublish ${misdeed})`, goodAcknowledged, `${goodCount} delivered`)
  })

  it.each(['connect', 'publish', 'subscribe', 'unsubscribe', 'disconnect'] as const)(
    'when it is told of %s: not even that client is affected',
    async (method) => {
      await start((forever) => handlerThat(misdeed, method, forever))
      const bad = await enter('bad-1')
      expect(await bad.subscribe(['bad', 2])).toEqual([2])
      await bad.publish({ topic: 'bad', payload: 'b 1', qos: 2 })
      await eventually(() => bad.received.length === 1)
      await bad.unsubscribe('bad')
      await bad.ping()
      await bad.disconnect()
      const goodAcknowledged = await goodPair()
      await eventually(() => misdeed === 'hangs' || failuresOf(method) === 1)
      report(
        `23 (${method} ${misdeed})`,
        goodAcknowledged + 1,
        `${goodCount + bad.received.length} delivered`,
      )
    },
  )
})

it('a handler that throws in authDeliver: not delivered to that client, and to everyone else', async () => {
  await start((forever) => handlerThat('throws', 'authDeliver', forever))
  const bad = await enter('bad-1')
  await bad.subscribe(['good', 2])
  const goodAcknowledged = await goodPair()
  await bad.ping()
  expect(bad.received).toEqual([])
  expect(failuresOf('authDeliver')).toBe(goodCount)
  report('23 (authDeliver throws)', goodAcknowledged, `${goodCount} delivered`)
})

it('a handler that is slow: its clients wait and keep their order, nobody else does', async () => {
  const slowly = (session: Session): Promise<void> | undefined =>
    session.id.startsWith('bad') ? new Promise((resolve) => setTimeout(resolve, 20)) : undefined
  await start(() => ({ authConnect: slowly, authPublish: slowly, authSubscribe: slowly }))
  const slow = await enter('bad-1')
  expect(await slow.subscribe(['slow', 2])).toEqual([2])
  const all = Array.from({ length: 40 }, (_, number) =>
    slow.publish({ topic: 'slow', payload: `s ${number}`, qos: 1 }),
  )
  const goodAcknowledged = await goodPair()
  await Promise.all(all)
  await eventually(() => slow.received.length >= 40)
  expect(texts(slow.received)).toEqual(Array.from({ length: 40 }, (_, number) => `s ${number}`))
  report(
    '23 (slow)',
    goodAcknowledged + slow.acknowledged.size,
    `${goodCount + slow.received.length} delivered`,
  )
})

it('a handler that refuses is not a handler that fails', async () => {
  await start(() => ({
    authConnect: (session) => {
      if (session.id.startsWith('bad')) throw new AuthError('no')
    },
  }))
  expect((await client('bad-1').connect()).code).toBe(5)
  expect(failuresOf('authConnect')).toBe(0)
  report('23 (refuses)', await goodPair(), `${goodCount} delivered`)
})
