import { describe, expect, it } from 'vitest'
import { Attempts } from '../../../src/bridge/attempts.ts'
import { failureOf } from '../../../src/bridge/failure.ts'
import { InboundWindow } from '../../../src/bridge/inbound-window.ts'
import { Outgoing, type OutgoingMessage } from '../../../src/bridge/outgoing.ts'
import { TopicMaps } from '../../../src/bridge/topic-maps.ts'
import { configSchema } from '../../../src/config/schema.ts'

const auto = { protocol: 'auto', reconnectMinMs: 100, reconnectMaxMs: 1_000 } as const

describe('attempts', () => {
  it('wait twice as long each time, up to the bound, at random within half of it', () => {
    const attempts = new Attempts(auto)
    const waits = Array.from({ length: 6 }, () => attempts.failed({ kind: 'unreachable' }, 0.999))
    expect(waits).toEqual([100, 200, 400, 800, 1_000, 1_000])
    expect(attempts.failed({ kind: 'unreachable' }, 0)).toBe(500)
    attempts.stood(10_000)
    expect(attempts.failed({ kind: 'lost' }, 0.999)).toBe(100)
    attempts.stood(1)
    expect(attempts.failed({ kind: 'lost' }, 0.999)).toBe(200)
    attempts.stood(1, true)
    expect(attempts.failed({ kind: 'lost' }, 0.999)).toBe(100)
  })

  it('wait for the bound at once when credentials are refused', () => {
    expect(new Attempts(auto).failed({ kind: 'credentials' }, 0.999)).toBe(1_000)
  })

  it('try each version that is refused at once, and all of them again only after the longest wait', () => {
    const attempts = new Attempts(auto)
    const tried = [0, 1, 2].map(() => {
      const { protocol } = attempts
      return [protocol, attempts.failed({ kind: 'version' }, 0.999)]
    })
    expect(tried).toEqual([
      ['5', 0],
      ['3.1.1+bridge', 0],
      ['3.1.1', 1_000],
    ])
    expect(attempts.protocol).toBe('5')
  })

  it('stay with a version that was good, also when the broker closes without a word', () => {
    const attempts = new Attempts(auto)
    attempts.failed({ kind: 'unreachable', isSilent: true }, 0)
    expect(attempts.protocol).toBe('3.1.1+bridge')
    attempts.connected()
    attempts.stood(1)
    attempts.failed({ kind: 'unreachable', isSilent: true }, 0)
    expect(attempts.protocol).toBe('3.1.1+bridge')
  })
})

describe('messages to the other broker', () => {
  const message = (messageId: number, settled: number[] = [], topic = 't'): OutgoingMessage => ({
    topic,
    payload: Buffer.alloc(0),
    qos: 1,
    retain: false,
    messageId,
    dup: false,
    settled: () => void settled.push(messageId),
  })

  it('go out in order within the window, and again from the first after the connection was lost', () => {
    const outgoing = new Outgoing(() => {})
    const settled: number[] = []
    const sent: [number, boolean][] = []
    let dones: ((isAcknowledged: boolean) => void)[] = []
    const send = (
      { messageId }: OutgoingMessage,
      again: boolean,
      done: (isAcknowledged: boolean) => void,
    ): void => {
      sent.push([messageId, again])
      dones.push(done)
    }
    for (const id of [1, 2, 3]) outgoing.add(message(id, settled))
    outgoing.connected(send, 2)
    const [, second] = dones
    expect(sent.splice(0)).toEqual([
      [1, false],
      [2, false],
    ])
    dones.shift()!(true)
    expect(sent.splice(0)).toEqual([[3, false]])
    outgoing.disconnected()
    // An answer of the connection that is gone.
    second!(true)
    outgoing.add(message(4, settled))
    dones = []
    outgoing.connected(send, 3)
    expect(sent).toEqual([
      [2, true],
      [3, true],
      [4, false],
    ])
    for (const done of dones) done(true)
    expect(settled).toEqual([1, 2, 3, 4])
    expect(outgoing.count).toBe(0)
  })

  /** What a broker that closes the connection at these topics, or at everything, is sent on each connection. */
  function createCloser(outgoing: Outgoing, poison: readonly string[]) {
    return (): number[] => {
      const sent: { readonly one: OutgoingMessage; readonly done: (isAcknowledged: boolean) => void }[] = []
      outgoing.connected((one, _again, done) => void sent.push({ one, done }), 3)
      for (const { one, done } of sent) {
        if (poison.includes(one.topic)) break
        done(true)
      }
      outgoing.disconnected({ isClosed: true })
      return sent.map(({ one }) => one.messageId)
    }
  }

  it('are given up when the connection is closed at each of them, and not at others', () => {
    const refused: number[] = []
    const settled: number[] = []
    const outgoing = new Outgoing(({ messageId }) => void refused.push(messageId))
    const connection = createCloser(outgoing, ['bad'])
    for (const [index, topic] of ['good', 'bad', 'bad', 'good'].entries()) {
      outgoing.add(message(index + 1, settled, topic))
    }
    expect(connection()).toEqual([1, 2, 3, 4])
    // Nothing acknowledged, then one at a time; then past the other one of its topic as well.
    expect([connection(), connection(), connection(), connection()]).toEqual([[2, 3, 4], [2], [2], [2]])
    expect(refused).toEqual([])
    expect(connection()).toEqual([4, 3])
    expect([refused, settled]).toEqual([[2], [1, 4, 2]])
  })

  it('are kept for a broker that closes the connection whatever comes', () => {
    const refused: number[] = []
    const outgoing = new Outgoing(({ messageId }) => void refused.push(messageId))
    const connection = createCloser(outgoing, ['a', 'b'])
    outgoing.add(message(1, [], 'a'))
    outgoing.add(message(2, [], 'b'))
    for (let i = 0; i < 30; i++) connection()
    expect([refused, outgoing.count]).toEqual([[], 2])
  })
})

it('messages from the other broker are acknowledged in order, and no more are read than the window takes', () => {
  const acknowledged: number[] = []
  const window = new InboundWindow(2)
  let asked = 0
  const takens = [1, 2].map((id) => {
    const taken = window.add(() => void acknowledged.push(id))
    window.onceRoom(() => void asked++)
    return taken
  })
  expect(asked).toBe(1)
  takens[1]!()
  expect([acknowledged, asked]).toEqual([[], 1])
  takens[0]!()
  expect([acknowledged, asked]).toEqual([[1, 2], 2])
})

it('failures are told apart by what is to be done about them', () => {
  const refused = (code: number) => Object.assign(new Error(`Connection refused: x`), { code })
  expect([1, 4, 132, 134, 3, 137].map((code) => failureOf(refused(code), true).kind)).toEqual([
    'version',
    'credentials',
    'version',
    'credentials',
    'refused',
    'refused',
  ])
  expect(failureOf(undefined, true)).toMatchObject({ kind: 'unreachable', isSilent: true })
  expect(failureOf(Object.assign(new Error('x'), { code: 'ECONNREFUSED' }), true).text).toContain('running')
  expect(failureOf(undefined, false).kind).toBe('lost')
})

it('topic maps put the prefix of the other side in the place of their own', () => {
  const { topics } = configSchema.parse({
    bridges: [
      {
        name: 'x',
        url: 'mqtt://x',
        topics: [
          { filter: 'a/+', direction: 'both', localPrefix: 'l/', remotePrefix: 'r/', qos: 2 },
          { filter: '#', direction: 'in', remotePrefix: 'down/' },
        ],
      },
    ],
  }).bridges[0]!
  const [out, back] = [new TopicMaps(topics, 'out'), new TopicMaps(topics, 'in')]
  expect(out.translate('l/a/1')).toEqual({ topic: 'r/a/1', qos: 2 })
  expect(out.translate('l/a/1/2')).toBeUndefined()
  expect(back.translate('r/a/1')).toEqual({ topic: 'l/a/1', qos: 2 })
  expect(back.translate('down/x/y')).toEqual({ topic: 'x/y', qos: 1 })
})
