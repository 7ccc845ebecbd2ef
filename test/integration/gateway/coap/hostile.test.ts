import { describe, expect, it } from 'vitest'
import {
  Code,
  codeText,
  encodeMessage,
  MessageType,
  NO_BYTES,
  type CoapMessage,
  type CoapOption,
} from '../../../../src/gateway/coap/message.ts'
import { OptionNumber } from '../../../../src/gateway/coap/options.ts'
import { block1, CoapPeer, isPing, observe, optionOf, uri } from '../../../support/coap-peer.ts'
import { eventually } from '../../../support/eventually.ts'
import { Random } from '../../../support/mutations.ts'
import { startOwnCoapWorld, type CoapWorld } from './world.ts'

const alice = ['username=alice', 'password=secret']

/** Requests that are right, to be spoilt. */
const seeds = [
  { code: Code.get, options: uri('a/b', ...alice) },
  { code: Code.get, options: [observe, ...uri('a/+', ...alice)] },
  {
    code: Code.put,
    options: [...uri('a/b', 'auth=k-1', 'retain=1'), block1(0, true)],
    payload: 'x'.repeat(16),
  },
  { code: Code.post, options: uri('a', ...alice, 'qos=2'), payload: 'text' },
  { code: Code.delete, options: [...uri('a'), { number: OptionNumber.password, value: Buffer.from('k-1') }] },
].map(({ code, options, payload = '' }, index) =>
  encodeMessage({
    type: MessageType.confirmable,
    code,
    messageId: index,
    token: Buffer.of(index),
    options,
    payload: Buffer.from(payload),
  }),
)

function spoilt(random: Random): Buffer {
  let datagram = Buffer.from(random.pick(seeds))
  for (let count = 1 + random.below(4); count > 0; count--) {
    const at = random.below(datagram.length)
    const kind = random.below(5)
    if (kind === 0) datagram = datagram.subarray(0, at)
    else if (kind === 1) datagram = Buffer.concat([datagram, Buffer.alloc(random.below(1_400), at)])
    else if (kind === 2) datagram = Buffer.concat([datagram.subarray(0, at), datagram.subarray(at >> 1)])
    else if (datagram.length > 0) datagram[at] = random.below(256)
  }
  // Message ids of their own, so that few are taken for copies.
  if (datagram.length >= 4 && random.below(8) > 0) datagram.writeUInt16BE(random.below(65_536), 2)
  return datagram
}

it('lives through 2,000 datagrams that are spoilt, and clients who behave do not notice', async () => {
  const world = await startOwnCoapWorld({
    datagramsPerSecondPerAddress: 0,
    idleTimeoutMs: 50,
    ackTimeoutMs: 5,
    // Also who observes what nobody publishes is found to be gone.
    confirmableIntervalMs: 100,
  })
  const random = new Random(20_261_121)
  const good = await CoapPeer.open(world.port, '127.0.0.2')
  const bad = await CoapPeer.open(world.port)
  for (let round = 0; round < 100; round++) {
    for (let count = 0; count < 20; count++) bad.raw(spoilt(random))
    const payload = String(round)
    const put = await good.ask({ code: Code.put, options: uri('good', ...alice, 'retain=1'), payload })
    expect(codeText(put.code)).toBe('2.04')
    const got = await good.ask({ options: uri('good', ...alice) })
    expect(got.payload.toString()).toBe(payload)
  }
  expect(bad.arrived.length).toBeGreaterThan(100)
  expect(world.broker.events.filter(({ level }) => level === 'error')).toEqual([])
  // Everybody who came has gone, exactly once.
  const count = (method: string): number =>
    world.rules.calls.filter((call) => call.startsWith(`${method} `)).length
  await eventually(() => count('disconnect')).toBe(count('authConnect'))
  expect(count('authConnect')).toBeGreaterThan(2)
})

it('answers strangers with no more than they have sent, or little', async () => {
  const world = await startOwnCoapWorld()
  const peer = await CoapPeer.open(world.port)
  const sizes: number[] = []
  peer.socket.on('message', ({ length }) => sizes.push(length))
  peer.raw(Buffer.from('00', 'hex'))
  peer.raw(Buffer.from('40', 'hex'))
  peer.raw(Buffer.from('4000ffff', 'hex'))
  peer.raw(Buffer.from('50010001ff', 'hex'))
  peer.raw(Buffer.from('40450002', 'hex'))
  peer.raw(Buffer.from('60450003', 'hex'))
  peer.raw(Buffer.from('70000004', 'hex'))
  peer.raw(Buffer.from('40010005b1', 'hex'))
  for (const code of [Code.get, Code.put, Code.delete, 0x07])
    await peer.ask({ code, token: Buffer.of(code), options: uri('a') })
  await peer.ask({ token: Buffer.of(9), options: [observe, ...uri('a')] })
  // A ping, a response and a request that is cut off: Resets of 4 bytes. The rest is not answered.
  expect(peer.arrived.map(({ type }) => type)).toEqual([3, 3, 3])
  expect(Math.max(...sizes)).toBeLessThanOrEqual(80)
})

describe('an address that may be forged', () => {
  const kept = 'x'.repeat(1_000)
  const options = uri('big', 'username=alice', 'password=secret')

  async function worldWithBig(coap: Parameters<typeof startOwnCoapWorld>[0]): Promise<CoapWorld> {
    const world = await startOwnCoapWorld(coap)
    await world.broker.publish({ topic: 'big', payload: Buffer.from(kept), qos: 0, retain: true })
    return world
  }

  it('gets little before it has answered a ping, and everything then', async () => {
    const world = await worldWithBig({ ackTimeoutMs: 60_000 })
    const peer = await CoapPeer.open(world.port)
    peer.send({ options, token: Buffer.of(1) })
    const ping = await peer.next()
    expect(isPing(ping)).toBe(true)
    // Somebody else cannot answer for it.
    const other = await CoapPeer.open(world.port, '127.0.0.2')
    other.reset(ping.messageId)
    peer.reset(ping.messageId ^ 1)
    expect(codeText((await peer.ask({ options: uri('none', ...alice) })).code)).toBe('4.04')
    peer.reset(ping.messageId)
    const answer = await peer.next(({ token }) => token.equals(Buffer.of(1)))
    expect(answer.payload.toString()).toBe(kept)
    // It is asked once.
    peer.send({ options, token: Buffer.of(2) })
    expect((await peer.next(({ code }) => code !== Code.empty)).payload.toString()).toBe(kept)
    expect(peer.arrived.filter(isPing)).toEqual([])
  })

  it('is sent no more than three times as much, and no notifications, when it does not answer', async () => {
    const world = await worldWithBig({ ackTimeoutMs: 5 })
    const peer = await CoapPeer.open(world.port)
    const asked = { options, token: Buffer.of(1), type: MessageType.nonConfirmable }
    const sizes: number[] = []
    peer.socket.on('message', ({ length }) => sizes.push(length))
    const header = 28
    const askedBytes = header + encodeMessage({ ...seedOf(asked), messageId: 1 }).length
    peer.send(asked)
    const answer = await peer.next(({ code }) => code !== Code.empty)
    expect(codeText(answer.code)).toBe('2.05')
    expect(kept.startsWith(answer.payload.toString())).toBe(true)
    expect(answer.payload.length).toBeGreaterThanOrEqual(16)
    expect(sizes.at(-1)! + header).toBeLessThanOrEqual(3 * askedBytes)
    // Three pings, and the answer.
    expect(sizes).toEqual([4, 4, 4, sizes.at(-1)])

    peer.send({ options: [observe, ...options], token: Buffer.of(2) })
    const seen = await peer.next(({ token }) => token.equals(Buffer.of(2)))
    expect([codeText(seen.code), optionOf(seen, OptionNumber.observe)]).toEqual(['2.05', undefined])
    peer.send({ options: [observe, ...uri('+', ...alice)], token: Buffer.of(3) })
    const refused = await peer.next(({ token }) => token.equals(Buffer.of(3)))
    expect(codeText(refused.code)).toBe('4.03')
    expect(world.rules.calls.filter((call) => call.startsWith('subscribe '))).toEqual([])
  })

  it('is asked to repeat its request with Echo, where that is configured', async () => {
    const world = await worldWithBig({ addressCheck: 'echo' })
    const peer = await CoapPeer.open(world.port)
    const other = await CoapPeer.open(world.port)
    const ask = async (from: CoapPeer, value?: Buffer, more = options): Promise<CoapMessage> =>
      from.ask({
        options: value === undefined ? more : [...more, { number: OptionNumber.echo, value }],
      })
    for (const more of [options, [observe, ...options]]) {
      const challenge = await ask(peer, undefined, more)
      expect(codeText(challenge.code)).toBe('4.01')
      const echo = optionOf(challenge, OptionNumber.echo)!
      expect(echo).toHaveLength(8)
      // Small answers need none.
      expect(codeText((await ask(peer, undefined, uri('none', ...alice))).code)).toBe('4.04')
      expect(codeText((await ask(other, echo, more)).code)).toBe('4.01')
      expect(codeText((await ask(peer, Buffer.alloc(8), more)).code)).toBe('4.01')
    }
    const echo = optionOf(await ask(peer), OptionNumber.echo)!
    expect((await ask(peer, echo)).payload.toString()).toBe(kept)
    expect((await ask(peer)).payload.toString()).toBe(kept)
    expect(optionOf(await ask(peer, undefined, [observe, ...options]), OptionNumber.observe)).toBeDefined()
  })
})

function seedOf({ options, token, type }: { options: CoapOption[]; token: Buffer; type: MessageType }) {
  return { type, code: Code.get, token, options, payload: NO_BYTES }
}
