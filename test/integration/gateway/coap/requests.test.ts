import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import {
  Code,
  codeText,
  MessageType,
  type CoapMessage,
  type CoapOption,
} from '../../../../src/gateway/coap/message.ts'
import { OptionNumber, uintOption } from '../../../../src/gateway/coap/options.ts'
import { block1, CoapPeer, isPing, observe, optionOf, uri, type Asked } from '../../../support/coap-peer.ts'
import { eventually } from '../../../support/eventually.ts'
import { startCoapWorld, startOwnCoapWorld, type CoapWorld } from './world.ts'

let world: CoapWorld
beforeAll(async () => {
  world = await startCoapWorld({ maxPayloadBytes: 100 })
})
afterAll(() => world.broker.stop())
beforeEach(() => void world.rules.calls.splice(0))

const alice = ['username=alice', 'password=secret']
const { post, put, get, delete: remove } = Code

function said({ code, payload }: CoapMessage): string {
  return `${codeText(code)} ${payload.toString()}`.trim()
}

describe('requests', () => {
  it('publish, read and delete, each through the handlers, with one CONNECT for a client that keeps its port', async () => {
    const peer = await CoapPeer.open(world.port)
    const ask = async (code: number, query: readonly string[], payload = ''): Promise<string> =>
      said(await peer.ask({ code, options: uri('a/b', ...alice, ...query), payload }))
    expect(await ask(put, ['retain=true', 'qos=2'], '21')).toBe('2.04')
    expect(await ask(get, [])).toBe('2.05 21')
    expect(await ask(post, [], 'not kept')).toBe('2.04')
    expect(await ask(get, [])).toBe('2.05 21')
    expect(await ask(remove, [])).toBe('2.02')
    expect(await ask(get, [])).toBe('4.04 nothing is retained here')
    const { calls } = world.rules
    const told = (method: string): string[] => calls.filter((call) => call.startsWith(`${method} `))
    expect(told('authConnect')).toEqual(['authConnect alice@coap'])
    expect(told('connect')).toEqual(['connect alice@coap'])
    expect(told('authPublish')).toEqual(Array(3).fill('authPublish alice@coap a/b'))
    expect(told('authSubscribe')).toEqual(Array(3).fill('authSubscribe alice@coap a/b'))
    await eventually(() => told('publish')).toEqual(Array(3).fill('publish alice@coap a/b'))
  })

  it('are delivered to MQTT clients at the QoS that the kind of message promises', async () => {
    const seen: string[] = []
    const stop = world.broker.subscribe(
      'q/+',
      (topic, payload) => void seen.push(`${topic} ${payload.toString()}`),
    )
    const peer = await CoapPeer.open(world.port)
    expect(said(await peer.ask({ code: post, options: uri('q/con', ...alice), payload: '1' }))).toBe('2.04')
    const non = await peer.ask({
      code: post,
      type: MessageType.nonConfirmable,
      options: uri('q/non', ...alice),
      payload: '2',
    })
    expect(non).toMatchObject({ code: Code.changed, type: MessageType.nonConfirmable })
    await eventually(() => seen).toEqual(['q/con 1', 'q/non 2'])
    stop()
  })

  it.each<[string, CoapOption[], string]>([
    ['a key in auth, as mGate has it', uri('c', 'auth=k-1'), '2.04'],
    ['a password option alone', [...uri('c'), option(OptionNumber.password, 'k-1')], '2.04'],
    [
      'options for user name and password',
      [...uri('c'), option(OptionNumber.username, 'bob'), option(OptionNumber.password, 'right')],
      '2.04',
    ],
    ['a wrong key', uri('c', 'auth=k-2'), '4.01 wrong or missing credentials'],
    ['a wrong password', uri('c', 'username=alice', 'password=x'), '4.01 wrong or missing credentials'],
    ['nothing', uri('c'), '4.01 not authorized'],
  ])('take credentials: %s', async (_what, options, expected) => {
    const peer = await CoapPeer.open(world.port)
    expect(said(await peer.ask({ code: post, options, payload: 'x' }))).toBe(expected)
    const { calls } = world.rules
    expect(calls.filter((call) => call.startsWith('authConnect'))).toHaveLength(1)
    if (expected === '2.04') return
    await eventually(() => calls.filter((call) => call.startsWith('disconnect'))).toHaveLength(1)
    expect(calls.some((call) => call.startsWith('authPublish'))).toBe(false)
  })

  it.each<[string, Asked, string]>([
    ['publishing what a handler forbids', { code: put, options: uri('no/x', ...alice) }, '4.03 not allowed'],
    ['deleting it', { code: remove, options: uri('no/x', ...alice) }, '4.03 not allowed'],
    ['reading it', { code: get, options: uri('no/x', ...alice) }, '4.03 not allowed'],
    ['observing it', { code: get, options: [observe, ...uri('no/x', ...alice)] }, '4.03 not allowed'],
    ['publishing to $SYS', { code: put, options: uri('$SYS/x', ...alice) }, '4.03 not allowed'],
    [
      'who may not come in',
      { options: uri('a', 'username=mallory', 'password=right') },
      '4.03 not authorized',
    ],
    [
      'a backend that is away',
      { options: uri('a', 'username=away', 'password=x') },
      '5.03 credentials cannot',
    ],
    ['a wildcard in a publication', { code: put, options: uri('a/+', ...alice) }, '4.00'],
    ['a wildcard that is read', { options: uri('a/+', ...alice) }, '4.00 to read, name one topic'],
    [
      'a query that is mistyped',
      { code: put, options: uri('a', 'retian=1', ...alice) },
      '4.00 the query takes',
    ],
    ['a QoS that there is not', { code: put, options: uri('a', 'qos=3', ...alice) }, '4.00 qos is'],
    ['a key that is there twice', { options: uri('a', 'auth=a', 'auth=b') }, '4.00 auth is there twice'],
    ['another path', { options: [option(OptionNumber.uriPath, 'x')] }, '4.04 paths are /mqtt/<topic>'],
    ['no topic', { options: uri('', ...alice) }, '4.04 paths are'],
    ['a method that there is not', { code: 0x05, options: uri('a', ...alice) }, '4.05 GET, POST'],
    ['a critical option', { options: [...uri('a', ...alice), option(9, '')] }, '4.02 option 9'],
    ['a proxy that this is not', { options: [option(35, 'coap://x/')] }, '5.05'],
    ['what is not UTF-8', { options: [option(OptionNumber.uriPath, Buffer.of(0xff))] }, '4.00 not UTF-8'],
    ['a block of a reserved size', { options: [option(23, Buffer.of(7)), ...uri('a')] }, '4.00 a block'],
    ['too much', { code: put, options: uri('a', ...alice), payload: 'x'.repeat(101) }, '4.13 at most 100'],
  ])('are refused with a reason: %s', async (_what, asked, expected) => {
    world.rules.banished.add('mallory')
    const peer = await CoapPeer.open(world.port)
    const answer = await peer.ask(asked)
    expect(said(answer)).toContain(expected)
    expect(answer.payload.length).toBeLessThanOrEqual(64)
    expect(said(answer)).not.toMatch(/secret|right|alice/)
    const figure = [OptionNumber.size1, OptionNumber.maxAge].map((number) => optionOf(answer, number)?.[0])
    expect(figure).toEqual([
      expected.startsWith('4.13') ? 100 : undefined,
      expected.startsWith('5.03') ? 10 : undefined,
    ])
  })

  it('log no credentials', async () => {
    const peer = await CoapPeer.open(world.port)
    await peer.ask({ code: put, options: uri('no/x', 'username=alice', 'password=secret') })
    await peer.ask({ code: put, options: uri('no/x', 'auth=k-secret-2') })
    const refusals = world.broker.events.filter(({ msg }) => msg === 'connection refused')
    expect(refusals.length).toBeGreaterThan(0)
    expect(JSON.stringify(world.broker.events)).not.toMatch(/k-1|k-secret-2|"secret"|password=/)
  })

  it('do not deliver what authDeliver hides, nor say that it is there', async () => {
    const peer = await CoapPeer.open(world.port)
    const options = uri('hidden/x', ...alice)
    expect(said(await peer.ask({ code: put, options: [...options, ...retain], payload: 'x' }))).toBe('2.04')
    expect(said(await peer.ask({ options }))).toMatch(/^4\.04/)
  })

  it('tell what is here to tools that ask', async () => {
    const peer = await CoapPeer.open(world.port)
    const options = ['.well-known', 'core'].map((level) => option(OptionNumber.uriPath, level))
    expect(said(await peer.ask({ options }))).toBe('2.05 </mqtt/>;rt="tunnelmq.topics"')
  })

  it('say of what format a payload is, and for how long it is worth having', async () => {
    const peer = await CoapPeer.open(world.port)
    const options = uri('typed', ...alice)
    const format = uintOption(OptionNumber.contentFormat, 60)
    const put60 = [...uri('typed', ...alice, 'retain=true', 'expiry=60'), format]
    expect(said(await peer.ask({ code: put, options: put60, payload: 'x' }))).toBe('2.04')
    const shown = await world.broker.operations.retainedMessage('typed')
    expect(shown).toMatchObject({ properties: { contentType: 'application/cbor' } })
    expect(shown?.expiresAt).not.toBeNull()
    const read = await peer.ask({ options })
    expect(optionOf(read, OptionNumber.contentFormat)).toEqual(format.value)
    const plain = await peer.ask({ code: put, options: [...options, ...retain], payload: 'x' })
    expect(said(plain)).toBe('2.04')
    const again = await peer.ask({
      options: [...options, option(OptionNumber.eTag, optionOf(read, OptionNumber.eTag)!)],
    })
    expect([said(again), optionOf(again, OptionNumber.contentFormat)]).toEqual(['2.05 x', undefined])
    const wrong = await peer.ask({ code: put, options: uri('typed', ...alice, 'expiry=x'), payload: 'x' })
    expect(said(wrong)).toMatch(/^4\.00 expiry/)
  })

  it('validate what a client has already', async () => {
    const peer = await CoapPeer.open(world.port)
    const options = uri('etag', ...alice)
    await peer.ask({ code: put, options: [...options, ...retain], payload: 'x' })
    const eTag = optionOf(await peer.ask({ options }), OptionNumber.eTag)!
    const again = await peer.ask({ options: [...options, option(OptionNumber.eTag, eTag)] })
    expect(said(again)).toBe('2.03')
  })
})

describe('repeated messages', () => {
  it('are done once, also while a handler is still asked, and answered alike', async () => {
    const peer = await CoapPeer.open(world.port)
    let decide = (): void => undefined
    world.rules.slow = new Promise((resolve) => (decide = resolve))
    const asked = { code: post, options: uri('slow/x', ...alice), messageId: 77, token: Buffer.of(1) }
    peer.send(asked)
    await eventually(() => world.rules.calls).toContain('authPublish alice@coap slow/x')
    peer.send(asked)
    // An answer to this one tells that the copy has arrived.
    await peer.ask({ options: uri('none', ...alice) })
    decide()
    const first = await peer.next()
    peer.send(asked)
    expect(await peer.next()).toEqual(first)
    expect(first).toMatchObject({ code: Code.changed, messageId: 77, type: MessageType.acknowledgement })
    await peer.ask({ options: uri('none', ...alice) })
    expect(peer.arrived).toEqual([])
    expect(world.rules.calls.filter((call) => call.includes('slow/x'))).toEqual([
      'authPublish alice@coap slow/x',
      'publish alice@coap slow/x',
    ])
  })

  it('are not those that say something else with the same id, as after a restart of the device', async () => {
    const peer = await CoapPeer.open(world.port)
    const seen: string[] = []
    const stop = world.broker.subscribe('restarted', (_topic, payload) => void seen.push(payload.toString()))
    for (const payload of ['before', 'after']) {
      const answer = await peer.ask({
        code: post,
        messageId: 1,
        options: uri('restarted', ...alice),
        payload,
      })
      expect(said(answer)).toBe('2.04')
    }
    await eventually(() => seen).toEqual(['before', 'after'])
    stop()
  })

  it('have an Acknowledgement while the answer takes its time, which comes in a message of its own', async () => {
    const peer = await CoapPeer.open(world.port)
    let decide = (): void => undefined
    world.rules.slow = new Promise((resolve) => (decide = resolve))
    const id = peer.send({ code: post, options: uri('slow/y', ...alice), token: Buffer.of(2) })
    expect(await peer.next()).toMatchObject({ code: Code.empty, messageId: id })
    decide()
    const answer = await peer.next()
    expect(answer).toMatchObject({ code: Code.changed, type: MessageType.confirmable, token: Buffer.of(2) })
    peer.acknowledge(answer.messageId)
  })
})

describe('uploads', () => {
  it('are put together, published once, and only when they are complete', async () => {
    const seen: string[] = []
    const stop = world.broker.subscribe('up', (_topic, payload) => void seen.push(payload.toString()))
    const peer = await CoapPeer.open(world.port)
    const text = 'x'.repeat(16) + 'y'.repeat(16) + 'z'
    const put0 = { code: put, options: [...uri('up', ...alice), block1(0, true)], payload: text.slice(0, 16) }
    expect(await peer.ask(put0)).toMatchObject({ code: Code.continue })
    const wrong = { code: put, options: [...uri('up', ...alice), block1(2, false)], payload: 'z' }
    expect(said(await peer.ask(wrong))).toMatch(/^4\.08/)
    for (const num of [0, 1, 2]) {
      const payload = text.slice(num * 16, num * 16 + 16)
      const options = [...uri('up', ...alice), block1(num, num < 2)]
      const answer = await peer.ask({ code: put, options, payload })
      expect(codeText(answer.code)).toBe(num < 2 ? '2.31' : '2.04')
      expect(optionOf(answer, OptionNumber.block1)).toEqual(block1(num, num < 2).value)
    }
    await eventually(() => seen).toEqual([text])
    stop()
  })

  it('are refused at their first block without credentials, and when they would be too large', async () => {
    const peer = await CoapPeer.open(world.port)
    const first = { code: put, payload: 'x'.repeat(16) }
    expect(said(await peer.ask({ ...first, options: [...uri('up'), block1(0, true)] }))).toMatch(/^4\.01/)
    const size = option(OptionNumber.size1, Buffer.of(101))
    const options = [...uri('up', ...alice), block1(0, true), size]
    expect(said(await peer.ask({ ...first, options }))).toMatch(/^4\.13/)
    for (let num = 0; num < 7; num++) {
      const answer = await peer.ask({ ...first, options: [...uri('up', ...alice), block1(num, true)] })
      expect(codeText(answer.code)).toBe(num < 6 ? '2.31' : '4.13')
    }
  })
})

describe('limits', () => {
  it('drop floods of one address, and close idle clients, of whom disconnect is told once', async () => {
    const own = await startOwnCoapWorld({ datagramsPerSecondPerAddress: 5, idleTimeoutMs: 50 })
    const peer = await CoapPeer.open(own.port)
    const other = await CoapPeer.open(own.port, '127.0.0.2')
    for (let count = 0; count < 50; count++) peer.send({ options: uri('a', ...alice) })
    expect(said(await other.ask({ options: uri('a', 'auth=k-1') }))).toMatch(/^4\.04/)
    expect(peer.arrived.length).toBeGreaterThan(0)
    expect(peer.arrived.length).toBeLessThan(50)
    await eventually(() =>
      own.rules.calls.filter((call) => call.startsWith('disconnect')).toSorted(),
    ).toEqual(['disconnect @coap client', 'disconnect alice@coap client'])
  })

  it('leave places to others where one address has many requests that wait', async () => {
    const own = await startOwnCoapWorld({ maxRequests: 16 })
    let decide = (): void => undefined
    own.rules.slow = new Promise((resolve) => (decide = resolve))
    const peer = await CoapPeer.open(own.port)
    for (let count = 0; count < 16; count++)
      peer.send({ code: post, options: uri('slow/x', ...alice), token: Buffer.of(count) })
    const refused = await peer.next(({ code }) => code !== Code.empty)
    expect(said(refused)).toBe('4.29 too many requests of this address at once')
    const other = await CoapPeer.open(own.port, '127.0.0.2')
    expect(said(await other.ask({ options: uri('a', 'auth=k-1') }))).toMatch(/^4\.04/)
    decide()
  })

  it('are small for clients whose address may be forged: the next is checked, and else takes the place of another', async () => {
    const own = await startOwnCoapWorld({ maxUncheckedClients: 1, ackTimeoutMs: 20 })
    const told = (method: string): string[] =>
      own.rules.calls.filter((call) => call.startsWith(`${method} `)).map((call) => call.slice(-6))
    const asked = (name: string): Asked => ({ options: uri('a', `username=${name}`, 'password=right') })
    const [first, second, third] = [await open(), await open(), await open()]
    expect(said(await first.ask(asked('ann')))).toMatch(/^4\.04/)
    expect(first.arrived).toEqual([])
    expect(said(await second.ask(asked('bob')))).toMatch(/^4\.04/)
    expect([told('connect').length, told('disconnect').length]).toEqual([2, 0])
    // Its pings are not answered.
    third.send(asked('cat'))
    expect(said(await third.next(({ code }) => code !== Code.empty))).toMatch(/^4\.04/)
    await eventually(() => own.rules.calls).toContain('disconnect ann@coap client')
    expect(told('disconnect')).toHaveLength(1)

    function open(): Promise<CoapPeer> {
      return CoapPeer.open(own.port)
    }
  })

  it('tell clients beyond the number that is allowed to come later, and ban who guesses', async () => {
    const own = await startOwnCoapWorld({}, { maxConnections: 1, limits: { banFailures: 2 } })
    const peer = await CoapPeer.open(own.port)
    expect(said(await peer.ask({ options: uri('a', ...alice) }))).toMatch(/^4\.04/)
    const refused = await peer.ask({ options: uri('a', 'auth=k-1') })
    expect(said(refused)).toBe('5.03 too many clients')
    await eventually(() => own.broker.events.map(({ msg }) => msg)).toContain('connection refused')
    const guesser = await startOwnCoapWorld({}, { limits: { banFailures: 2 } })
    const wrong = await CoapPeer.open(guesser.port)
    const guess = async (key: string): Promise<void> =>
      expect(said(await wrong.ask({ options: uri('a', `auth=${key}`) }))).toMatch(/^4\.01/)
    // Of these, anybody may have forged the address: they lead to a check of it, and to no ban.
    for (const key of ['x', 'y']) await guess(key)
    const forged = await CoapPeer.open(guesser.port)
    forged.send({ options: uri('a', 'auth=z'), token: Buffer.of(1) })
    expect(isPing(await forged.next())).toBe(true)
    const lines = guesser.broker.events.filter(({ msg }) => msg === 'connection refused')
    expect(lines.map(({ mayBeForged }) => mayBeForged)).toEqual([true, true])
    // Who answers a ping is who guesses.
    for (const key of ['x', 'y']) await guess(key)
    await eventually(() => guesser.broker.events.map(({ msg }) => String(msg)).join()).toMatch(/ban/)
    wrong.send({ options: uri('a', 'auth=k-1') })
    wrong.raw(Buffer.from('4000ffff', 'hex'))
    const elsewhere = await CoapPeer.open(guesser.port, '127.0.0.2')
    expect(said(await elsewhere.ask({ options: uri('a', 'auth=k-1') }))).toMatch(/^4\.04/)
    expect(wrong.arrived).toEqual([])
  })
})

const retain = [option(OptionNumber.uriQuery, 'retain=1')]

function option(number: number, value: string | Buffer): CoapOption {
  return { number, value: Buffer.from(value) }
}
