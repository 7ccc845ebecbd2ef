import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Seat } from '../../../src/cluster/contract.ts'
import { encodeMessage } from '../../../src/store/codec.ts'
import type { StoredMessage, StoredSession } from '../../../src/store/contract.ts'
import { type RedisServer, startRedis } from '../../support/redis-server.ts'
import { startRoutingPod, type RoutingPod } from '../../support/routing-pods.ts'

let redis: RedisServer
beforeAll(async () => {
  redis = await startRedis()
})
afterAll(() => redis.remove())
beforeEach(() => redis.flush())

const seat: Seat = {
  mountpoint: 'm',
  name: 'agent',
  role: 'serve',
  username: 'u',
  address: '10.0.0.1',
  port: 4_000,
  isBroker: false,
}

function messageOf(topic: string, payload = 'x', qos: 0 | 1 | 2 = 0): StoredMessage {
  return {
    topic,
    payload: Buffer.from(payload),
    qos,
    retain: false,
    publisher: 'p',
    publishedAtMs: 1_000,
    expiresAtMs: 0,
  }
}

/** They share the Redis of this file. */
function pods(count: number): Promise<RoutingPod[]> {
  return Promise.all(Array.from({ length: count }, () => startRoutingPod(redis)))
}

const logLength = async (): Promise<unknown> => redis.command('XLEN', '{tunnelmq}:log')

describe('what a pod wants', () => {
  it('is told to pods that are there, and to those that come later', async () => {
    const [a, b] = (await pods(2)) as [RoutingPod, RoutingPod]
    a.routing.want('a/+')
    a.routing.want('ä/#')
    await a.routing.settled()
    expect(b.told.wants).toEqual(new Set([`${a.link.pod} a/+`, `${a.link.pod} ä/#`]))
    expect(a.told.wants.size).toBe(0)
    const c = await startRoutingPod(redis)
    expect(c.told.wants).toEqual(b.told.wants)
  })

  it('costs one entry of the log for many filters, and none for a filter that is known', async () => {
    const [a, b] = (await pods(2)) as [RoutingPod, RoutingPod]
    const before = Number(await logLength())
    for (let index = 0; index < 500; index++) a.routing.want(`f/${index}`)
    await a.routing.settled()
    expect(b.told.wants.size).toBe(500)
    expect(await logLength()).toBe(before + 1)
    for (let index = 0; index < 500; index++) a.routing.unwant(`f/${index}`)
    for (let index = 0; index < 500; index++) a.routing.want(`f/${index}`)
    await a.routing.settled()
    expect(await logLength()).toBe(before + 1)
  })

  it('is told again under its new name when the pod was declared dead', async () => {
    const [a, b] = (await pods(2)) as [RoutingPod, RoutingPod]
    a.routing.want('x')
    a.routing.joinGroup('g/x', 'x')
    a.routing.announceSeat(seat)
    await a.routing.settled()
    const before = a.link.pod
    await redis.command('HDEL', '{tunnelmq}:pods', before)
    await expect.poll(() => a.link.pod).not.toBe(before)
    await expect.poll(() => b.told.wants).toContain(`${a.link.pod} x`)
    await expect.poll(() => b.told.groups).toContain(`${a.link.pod} g/x x`)
    await expect.poll(() => b.told.seats.at(-1)).toEqual({ pod: a.link.pod, seat })
    b.routing.send([a.link.pod], messageOf('x'))
    await expect.poll(() => a.told.messages.length).toBe(1)
  })

  it('is known to all as soon as the pod is back under its new name, also what could not be told before', async () => {
    const [a, b] = (await pods(2)) as [RoutingPod, RoutingPod]
    await redis.command('HDEL', '{tunnelmq}:pods', a.link.pod)
    a.routing.want('y')
    await expect.poll(() => a.link.reloads).toBe(1)
    await a.routing.settled()
    expect(b.told.wants).toEqual(new Set([`${a.link.pod} y`]))
  })

  it('is told again when Redis has lost it', async () => {
    const [a, b] = (await pods(2)) as [RoutingPod, RoutingPod]
    a.routing.want('x')
    await a.routing.settled()
    await redis.flush()
    await expect.poll(() => redis.command('SMEMBERS', `{tunnelmq}:wants:${a.link.pod}`)).toEqual(['x'])
    await expect.poll(() => [...b.told.wants]).toEqual([`${a.link.pod} x`])
    await a.routing.settled()
  })
})

describe('groups and seats', () => {
  it('are told when they come and go', async () => {
    const [a, b] = (await pods(2)) as [RoutingPod, RoutingPod]
    a.routing.joinGroup('g/t', 't')
    a.routing.joinGroup('g/t', 't')
    a.routing.announceSeat(seat)
    await expect.poll(() => [...b.told.groups]).toEqual([`${a.link.pod} g/t t`])
    expect(await redis.command('SMEMBERS', '{tunnelmq}:gm:g/t')).toEqual([`p${a.link.pod}`])
    await expect.poll(() => b.told.seats).toEqual([{ pod: a.link.pod, seat }])
    const c = await startRoutingPod(redis)
    expect([...c.told.groups]).toEqual([`${a.link.pod} g/t t`])
    expect(c.told.seats).toEqual([{ pod: a.link.pod, seat }])

    a.routing.quitGroup('g/t')
    await a.routing.settled()
    expect(b.told.groups.size).toBe(1)
    a.routing.quitGroup('g/t')
    a.routing.withdrawSeat(seat, 'taken-over')
    a.routing.withdrawSeat(seat, 'client')
    await a.routing.settled()
    expect(b.told.groups.size).toBe(0)
    expect(await redis.command('SMEMBERS', '{tunnelmq}:gm:g/t')).toEqual([])
    await expect.poll(() => c.told.seats.at(-1)).toEqual({ pod: a.link.pod, seat, left: 'taken-over' })
    expect(c.told.seats).toHaveLength(2)
  })

  it('keep the seat of the newer connection when the older one ends', async () => {
    const [a, b] = (await pods(2)) as [RoutingPod, RoutingPod]
    const newer = { ...seat, port: 4_001 }
    a.routing.announceSeat(seat)
    await expect.poll(() => b.told.seats).toEqual([{ pod: a.link.pod, seat }])
    a.routing.announceSeat(newer)
    a.routing.withdrawSeat(seat, 'taken-over')
    a.routing.withdrawSeat({ ...newer, name: 'other' }, 'client')
    await expect.poll(() => b.told.seats.length).toBe(2)
    expect(b.told.seats[1]).toEqual({ pod: a.link.pod, seat: newer })
  })
})

describe('crossing', () => {
  it('brings QoS 0 and frames to the pods that they are for, in order', async () => {
    const [a, b, c] = (await pods(3)) as [RoutingPod, RoutingPod, RoutingPod]
    const count = 500
    for (let index = 0; index < count; index++) {
      a.routing.send([b.link.pod, c.link.pod], messageOf(`t/${index % 7}`, `${index}`))
      a.routing.sendFrame(b.link.pod, 'm', '$tunnel/x', Buffer.alloc(20_000, index))
    }
    a.routing.sendToGroup(c.link.pod, 'g/t', messageOf('t', '77'))
    await expect.poll(() => c.told.messages.length).toBe(count + 1)
    await expect.poll(() => b.told.messages.length).toBe(count)
    // Each kind in its own order.
    await expect.poll(() => b.told.frames.length).toBe(count)
    const numbers = Array.from({ length: count }, (_, index) => index)
    const payloads = (pod: RoutingPod): number[] =>
      pod.told.messages.map(({ message }) => Number(message.payload))
    expect(payloads(b)).toEqual(numbers)
    expect(payloads(c).slice(0, count)).toEqual(numbers)
    expect(c.told.messages.at(-1)).toEqual({ message: messageOf('t', '77'), group: 'g/t' })
    expect(b.told.frames.map(({ frame }) => frame[0])).toEqual(numbers.map((number) => number % 256))
    expect(a.told.messages).toEqual([])
    expect(a.routing.stats()).toMatchObject({
      routed: { out: { qos0: 2 * count + 1, frame: count } },
      routedDropped: 0,
    })
    expect(b.routing.stats()).toMatchObject({ routed: { in: { qos0: count, frame: count } }, garbage: 0 })
    expect(b.told.frames.every(({ pod, topic }) => pod === a.link.pod && topic === '$tunnel/x')).toBe(true)
  })

  it('says when there is room again, and that nothing is pending', async () => {
    const [a, b] = (await pods(2)) as [RoutingPod, RoutingPod]
    await new Promise<void>((resolve) => a.routing.onceDrained(resolve))
    a.routing.sendFrame(b.link.pod, '', 't', Buffer.alloc(1_000_000))
    expect(a.routing.pendingBytes).toBeGreaterThan(1_000_000)
    await new Promise<void>((resolve) => a.routing.onceDrained(resolve))
    await expect.poll(() => a.routing.pendingBytes).toBe(0)
    await expect.poll(() => b.told.frames.length).toBe(1)
  })

  it('is dropped and counted while Redis is frozen and its bound is reached', async () => {
    const [a, b] = await Promise.all([
      startRoutingPod(redis, { cluster: { crossingMaxBytes: 100_000 } }),
      startRoutingPod(redis),
    ])
    redis.freeze()
    const sent = 100
    for (let index = 0; index < sent; index++) a.routing.sendFrame(b.link.pod, '', 't', Buffer.alloc(50_000))
    await expect.poll(() => a.routing.stats().routedDropped).toBeGreaterThan(90)
    redis.thaw()
    a.routing.sendFrame(b.link.pod, '', 'later', Buffer.alloc(1))
    await expect
      .poll(
        () => {
          if (a.routing.pendingBytes === 0) a.routing.sendFrame(b.link.pod, '', 'later', Buffer.alloc(1))
          return b.told.frames.some(({ topic }) => topic === 'later')
        },
        { timeout: 10_000 },
      )
      .toBe(true)
  })
})

describe('a flood to another pod', () => {
  afterEach(() => redis.thaw())

  const crowded = (): Promise<RoutingPod[]> =>
    Promise.all([1, 2].map(() => startRoutingPod(redis, { cluster: { crossingMaxBytes: 100_000 } })))

  it('of QoS 0 drops no frame, and keeps none waiting', async () => {
    const [a, b] = (await crowded()) as [RoutingPod, RoutingPod]
    redis.freeze()
    for (let index = 0; index < 100; index++) a.routing.send([b.link.pod], messageOf('t', 'x'.repeat(50_000)))
    await expect.poll(() => a.routing.stats().routedDropped).toBeGreaterThan(90)
    // But for hints.
    expect(a.routing.pendingBytes).toBeLessThan(1_000)
    a.routing.sendFrame(b.link.pod, '', 'frame', Buffer.alloc(1_000))
    redis.thaw()
    await expect.poll(() => b.told.frames.map(({ topic }) => topic)).toEqual(['frame'])
  })

  it('of frames drops no message at QoS 0', async () => {
    const [a, b] = (await crowded()) as [RoutingPod, RoutingPod]
    redis.freeze()
    for (let index = 0; index < 100; index++) a.routing.sendFrame(b.link.pod, '', 't', Buffer.alloc(50_000))
    await expect.poll(() => a.routing.stats().routedDropped).toBeGreaterThan(90)
    a.routing.send([b.link.pod], messageOf('t'))
    redis.thaw()
    await expect.poll(() => b.told.messages.length).toBe(1)
  })
})

describe('the inbox', () => {
  it('hands messages to the sessions they are for, by their handles', async () => {
    const a = await startRoutingPod(redis)
    const session = { id: 'c1' } as StoredSession
    const group = { id: 'g/t' } as StoredSession
    a.sessions.set('c1', session)
    a.groups.set('g/t', group)
    const put = async (header: unknown, message?: Buffer): Promise<void> => {
      const number = await redis.command('HINCRBY', '{tunnelmq}:inboxpos', a.link.pod, 1)
      const fields = message === undefined ? [] : ['m', message]
      const stream = `{tunnelmq}:inbox:${a.link.pod}`
      await redis.command('XADD', stream, `${String(number)}-0`, 'e', JSON.stringify(header), ...fields)
    }
    const message = messageOf('t', 'one', 2)
    const entries = [
      ['cc1', 7, 1],
      ['gg/t', 9, 2],
      ['cgone', 1, 1],
    ]
    await put(['message', 1, entries], encodeMessage(message))
    await put(['filled', 'g/t'])
    await expect.poll(() => a.told.filled).toEqual(['g/t'])
    expect(a.told.arrived).toEqual([
      {
        message,
        entries: [
          { session, seq: 7, qos: 1 },
          { session: group, seq: 9, qos: 2 },
        ],
        toConnected: true,
      },
    ])
    expect(a.told.arrived[0]?.entries[0]?.session).toBe(session)

    const before = a.routing.stats().garbage
    await put(['message', 1, 'x'], encodeMessage(message))
    await put(['message', 3, []], encodeMessage(message))
    await put(['message', 1, [['cc1', 'x', 1], ['xc1', 1, 1], null]], encodeMessage(message))
    await put(['message', 0, []])
    await put(['message', 0, []], Buffer.from('garbage'))
    await put(['filled', 3])
    await put(['filled', 'end'])
    await expect.poll(() => a.told.filled).toEqual(['g/t', 'end'])
    expect(a.told.arrived.slice(1)).toEqual([{ message, entries: [], toConnected: true }])
    expect(a.routing.stats().garbage - before).toBe(8)
    expect(a.routing.stats().routed.in.stored).toBe(2)
  })
})

describe('garbage', () => {
  it('on every channel and in every entry is counted, and nothing else happens', async () => {
    const [a, b] = (await pods(2)) as [RoutingPod, RoutingPod]
    const garbage = [Buffer.from('garbage'), Buffer.alloc(0), Buffer.alloc(100, 0xff), Buffer.from('{"a":1}')]
    const before = b.routing.stats().garbage
    for (const each of garbage) {
      await redis.command('PUBLISH', `{tunnelmq}:in:${b.link.pod}`, each)
      await redis.command('PUBLISH', '{tunnelmq}:applied', each)
    }
    await expect.poll(() => b.routing.stats().garbage - before).toBe(8)

    const append = async (entry: unknown): Promise<void> => {
      const number = await redis.command('INCR', '{tunnelmq}:logpos')
      await redis.command('XADD', '{tunnelmq}:log', `${String(number)}-0`, 'e', JSON.stringify(entry))
    }
    const from = a.link.pod
    for (const entry of [
      ['want', from, 'x'],
      ['want', from, [['x', 2], ['y'], 'z', ['', 1], ['fine', 1]]],
      ['group', from, 'k', 'f', 7],
      ['group', from, 3, 'f', 1],
      ['seat', from, 'k', '{"role":"x"}', ''],
      ['seat', from, 'k', 'no json', ''],
      ['seat', from, 'k', null, 3],
      ['seat', from, 'nobody', null, 'toString'],
    ])
      await append(entry)
    // Of pods that are not there.
    await append(['want', 'ffffffffffffffff', [['x', 1]]])
    await append(['want', b.link.pod, [['x', 1]]])
    a.routing.want('end')
    await expect.poll(() => b.told.wants).toContain(`${from} end`)
    expect(b.told.wants).toEqual(new Set([`${from} fine`, `${from} end`]))
    expect(b.told.groups.size + b.told.seats.length).toBe(0)
    expect(b.routing.stats().garbage - before).toBe(8 + 7)
    await b.routing.settled()
  })
})
