import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type {
  Direction,
  InterceptedPacket,
  Interception,
  InterceptorPlace,
} from '../../../src/hooks/interceptor.ts'
import { AuthError, RefuseReason, type Session } from '../../../src/hooks/types.ts'
import {
  connectRaw,
  eventOf,
  openBroker,
  openRaw,
  portOf,
  refusalCode,
  temporaryFolder,
} from '../../support/broker-world.ts'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'
import type { RawClient } from '../../support/raw-client.ts'
import { ackPacket, Packet, publishPacket } from '../../support/wire.ts'

type Intercept = (
  packet: InterceptedPacket,
  direction: Direction,
  session: Session,
) => Interception | Promise<Interception>

/** What the interceptors of listener `seen` do, by client id; and what the handlers were asked. */
const before = new Map<string, Intercept>()
const after = new Map<string, Intercept>()
const asked: string[] = []
let refuseDelivery: (topic: string) => boolean = () => false

let broker: TestBroker
let plain: number
let seen: number

function place(at: InterceptorPlace): {
  at: InterceptorPlace
  listener: string
  interceptor: object & {
    name: string
    intercept: (
      session: Session,
      packet: InterceptedPacket,
      direction: Direction,
    ) => Interception | Promise<Interception>
  }
} {
  const ways = at === 'before' ? before : after
  return {
    at,
    listener: 'seen',
    interceptor: {
      name: `${at}-one`,
      // At CONNECT the id is that of the packet.
      intercept: (session, packet, direction) => ways.get(session.id)?.(packet, direction, session),
    },
  }
}

beforeAll(async () => {
  broker = await startTestBroker(
    {
      listeners: [
        { type: 'tcp', port: 0, name: 'plain', mountpoint: 'm/' },
        { type: 'tcp', port: 0, name: 'seen', mountpoint: 'm/' },
      ],
      auth: { timeoutMs: 1_000 },
      limits: { maxPacketBytes: 4_096 },
    },
    {
      handlers: [
        {
          name: 'asked',
          authConnect: ({ id, username, password }) => {
            asked.push(`connect ${id} ${username} ${password?.toString()}`)
            if (username === 'nobody') throw new AuthError('no', RefuseReason.badCredentials)
          },
          authPublish: (_session, message) => {
            asked.push(`publish ${message.topic}=${message.payload.toString()}`)
            if (message.topic.startsWith('handler/'))
              message.topic = message.topic.replace('handler/', 'handled/')
            if (message.topic.startsWith('secret/')) throw new AuthError('secret')
          },
          authSubscribe: (_session, subscriptions) => {
            for (const subscription of subscriptions) {
              asked.push(`subscribe ${subscription.topic}`)
              subscription.refused = subscription.topic.startsWith('secret/')
            }
          },
          authDeliver: (_session, { topic }) => !refuseDelivery(topic),
        },
      ],
      interceptors: [place('before'), place('after')],
    },
  )
  plain = portOf(broker, 'plain')
  seen = portOf(broker, 'seen')
})
afterAll(() => broker.stop())
beforeEach(() => {
  before.clear()
  after.clear()
  asked.length = 0
  refuseDelivery = () => false
})

let count = 0
const newId = (): string => `c${++count}`

async function listener(...filters: string[]): Promise<RawClient> {
  const client = await connectRaw(plain, { clientId: newId() })
  await client.subscribe(...filters.map((filter) => [filter, 2] as const))
  return client
}

const shown = ({
  topic,
  payload,
  qos,
  retain,
}: {
  topic: string
  payload: Buffer
  qos: number
  retain: boolean
}): string => `${topic}=${payload.toString()} ${qos}${retain ? ' retained' : ''}`

/** Only PUBLISH in this direction. */
const publishes =
  (
    way: Direction,
    change: (packet: InterceptedPacket & { cmd: 'publish' }) => Interception | Promise<Interception>,
  ): Intercept =>
  (packet, direction) =>
    packet.cmd === 'publish' && direction === way ? change(packet) : undefined

describe('what interceptors are shown', () => {
  it('is every packet both ways in its order, with credentials before the handlers and without after them', async () => {
    const id = newId()
    const lines: string[] = []
    const log =
      (at: string): Intercept =>
      (packet, direction) => {
        const password = packet.cmd === 'connect' ? ` ${packet.password?.toString()}` : ''
        lines.push(`${at} ${direction} ${packet.cmd}${password}`)
      }
    before.set(id, log('before'))
    after.set(id, log('after'))
    const client = await connectRaw(seen, { clientId: id, username: 'ann', password: 'word' })
    await client.subscribe(['a', 1])
    await client.publish({ topic: 'a', qos: 2, payload: 'x' })
    await client.acknowledge((await client.nextMessages(1))[0]!)
    await client.unsubscribe('a')
    await client.ping()
    await client.disconnect()
    const both = (line: string): string[] => [`before ${line}`, `after ${line}`]
    expect(lines).toEqual([
      'before up connect word',
      'after up connect undefined',
      ...both('down connack'),
      ...both('up subscribe'),
      ...both('down suback'),
      ...both('up publish'),
      ...both('down publish'),
      ...both('down pubrec'),
      ...both('up pubrel'),
      ...both('down pubcomp'),
      ...both('up puback'),
      ...both('up unsubscribe'),
      ...both('down unsuback'),
      ...both('up pingreq'),
      ...both('down pingresp'),
      ...both('up disconnect'),
    ])
  })

  it('is the topic without the mountpoint, and frozen', async () => {
    const id = newId()
    const topics: string[] = []
    before.set(
      id,
      publishes('up', (packet) => void topics.push(`${packet.topic} ${Object.isFrozen(packet)}`)),
    )
    const client = await connectRaw(seen, { clientId: id })
    await client.publish({ topic: 'a/b', qos: 1, payload: 'x' })
    expect(topics).toEqual(['a/b true'])
  })

  it('is nothing of clients of other listeners', async () => {
    const id = newId()
    before.set(id, () => {
      throw new Error('seen')
    })
    const client = await connectRaw(plain, { clientId: id })
    await client.publish({ topic: 'a', qos: 1 })
  })
})

describe('CONNECT', () => {
  it('goes on with the client id, credentials and will that an interceptor has given it', async () => {
    const id = newId()
    const other = newId()
    before.set(id, (packet) =>
      packet.cmd === 'connect'
        ? {
            ...packet,
            clientId: other,
            username: 'ben',
            password: Buffer.from('new'),
            will: { topic: 'gone', payload: Buffer.from(other), qos: 1, retain: false },
          }
        : undefined,
    )
    const watcher = await listener('gone')
    const client = await connectRaw(seen, { clientId: id, username: 'ann', password: 'old' })
    expect(asked).toContain(`connect ${other} ben new`)
    await client.destroy()
    expect(shown((await watcher.nextMessages(1))[0]!)).toBe(`gone=${other} 1`)
  })

  it('is refused when it is dropped, before or after the handlers, and with the reason of an AuthError', async () => {
    const id = newId()
    const drop: Intercept = ({ cmd }) => (cmd === 'connect' ? null : undefined)
    before.set(id, drop)
    expect(await refusalCode(seen, { clientId: id })).toBe(5)
    expect(asked).toEqual([])
    before.clear()
    after.set(id, drop)
    expect(await refusalCode(seen, { clientId: id })).toBe(5)
    after.set(id, ({ cmd }) => {
      if (cmd === 'connect') throw new AuthError('another one', RefuseReason.identifierRejected)
    })
    expect(await refusalCode(seen, { clientId: id })).toBe(2)
    const event = await eventOf(broker, 'connection refused', { client: id, reason: 'identifier-rejected' })
    expect(event).toMatchObject({ detail: 'another one', handler: 'after-one' })
  })

  it('is answered with code 3 when the interceptor fails, hangs, or returns what is not allowed', async () => {
    const fails: Intercept[] = [
      () => {
        throw new Error('broken')
      },
      () => new Promise(() => {}),
      (packet) => ({ ...packet, keepalive: 1 }) as InterceptedPacket,
      (packet) => ({ ...packet, username: 'x'.repeat(65_536) }) as InterceptedPacket,
      (packet) => ({ ...packet, clientId: '' }) as InterceptedPacket,
      () => ({ cmd: 'pingreq' }),
      () => 7 as unknown as InterceptedPacket,
    ]
    for (const fail of fails) {
      const id = newId()
      before.set(id, fail)
      expect(await refusalCode(seen, { clientId: id, clean: false })).toBe(3)
      expect(await eventOf(broker, 'interceptor failed', { client: id })).toMatchObject({
        interceptor: 'before-one',
      })
    }
    expect(asked).toEqual([])
  })

  it('that the handlers refuse is not shown after them', async () => {
    const id = newId()
    let isShown = false
    after.set(id, ({ cmd }) => void (isShown ||= cmd === 'connect'))
    expect(await refusalCode(seen, { clientId: id, username: 'nobody', password: 'x' })).toBe(4)
    expect(isShown).toBe(false)
  })
})

describe('PUBLISH of a client', () => {
  it.each([0, 1, 2] as const)('at QoS %i is changed before and after the handlers', async (qos) => {
    const id = newId()
    before.set(
      id,
      publishes('up', (packet) => ({ ...packet, topic: `handler/${packet.topic}` })),
    )
    after.set(
      id,
      publishes('up', async (packet) => {
        await Promise.resolve()
        return { ...packet, payload: Buffer.from(`${packet.payload.toString()}!`), retain: true }
      }),
    )
    const watcher = await listener(`handled/${id}`)
    const client = await connectRaw(seen, { clientId: id })
    await client.publish({ topic: id, qos, payload: 'x' })
    expect(shown((await watcher.nextMessages(1))[0]!)).toBe(`handled/${id}=x! ${qos}`)
    expect(asked).toContain(`publish handler/${id}=x`)
    // RETAIN was set by the interceptor.
    const later = await listener(`handled/${id}`)
    expect(shown((await later.nextMessages(1))[0]!)).toBe(`handled/${id}=x! ${qos} retained`)
  })

  it.each([0, 1, 2] as const)('at QoS %i is dropped, and acknowledged as its QoS asks', async (qos) => {
    const id = newId()
    const watcher = await listener(`${id}/#`)
    const client = await connectRaw(seen, { clientId: id })
    const drop = publishes('up', ({ topic }) => (topic.endsWith('drop') ? null : undefined))
    for (const ways of [before, after]) {
      ways.set(id, drop)
      await client.publish({ topic: `${id}/drop`, qos, payload: 'x' })
      await client.ping()
      ways.delete(id)
    }
    await client.publish({ topic: `${id}/end`, qos, payload: 'x' })
    expect(shown((await watcher.nextMessages(1))[0]!)).toBe(`${id}/end=x ${qos}`)
    expect(asked.filter((line) => line.includes('drop'))).toHaveLength(1)
    expect(await broker.operations.refusals(20)).toContainEqual(
      expect.objectContaining({ point: 'publish', client: id, handler: 'after-one', topic: `${id}/drop` }),
    )
  })

  it('keeps its order while answers come late', async () => {
    const id = newId()
    let delayMs = 20
    before.set(
      id,
      publishes('up', async () => {
        delayMs /= 2
        await new Promise((resolve) => setTimeout(resolve, delayMs))
      }),
    )
    const watcher = await listener(`${id}/#`)
    const client = await connectRaw(seen, { clientId: id })
    const topics = [1, 2, 3, 4, 5].map((number) => `${id}/${number}`)
    client.send(...topics.map((topic, index) => publishPacket({ topic, qos: 1, messageId: index + 1 })))
    expect((await watcher.nextMessages(5)).map(({ topic }) => topic)).toEqual(topics)
    const acks = client.received.filter(({ type }) => type === 'puback')
    expect(acks.length).toBeLessThanOrEqual(5)
  })

  it.each([
    ['a reserved topic', { topic: '$SYS/broker' }],
    ['a tunnel', { topic: '$tunnel/a/b/c/up' }],
    ['a wildcard', { topic: 'a/#' }],
    ['no text', { topic: 'a\0b' }],
    ['another QoS', { qos: 2 }],
    ['another message id', { messageId: 77 }],
    ['more than a packet may hold', { payload: Buffer.alloc(4_096) }],
    ['a payload that is no Buffer', { payload: 'text' }],
  ])('must not become %s: that ends the connection as a failure', async (_what, change) => {
    const id = newId()
    before.set(
      id,
      publishes('up', (packet) => ({ ...packet, ...change }) as InterceptedPacket),
    )
    const client = await connectRaw(seen, { clientId: id })
    client.send(publishPacket({ topic: 'a', qos: 1, messageId: 1, payload: 'x' }))
    await client.untilClosed()
    expect(client.received.filter(({ type }) => type === 'puback')).toEqual([])
    await eventOf(broker, 'interceptor failed', { client: id })
    await eventOf(broker, 'client disconnected', { client: id, reason: 'error' })
  })

  it('ends the connection with the reason of an AuthError, and with a failure when no answer comes', async () => {
    const id = newId()
    const client = await connectRaw(seen, { clientId: id })
    after.set(
      id,
      publishes('up', () => {
        throw new AuthError('enough')
      }),
    )
    client.send(publishPacket({ topic: 'a', qos: 1, messageId: 1 }))
    await client.untilClosed()
    const event = await eventOf(broker, 'client disconnected', { client: id })
    expect(event).toMatchObject({ reason: 'kicked', detail: 'interceptor after-one: enough' })
    after.set(
      id,
      publishes('up', () => new Promise(() => {})),
    )
    const again = await connectRaw(seen, { clientId: id })
    again.send(publishPacket({ topic: 'a', qos: 1, messageId: 1 }))
    await again.untilClosed()
    expect(await eventOf(broker, 'interceptor failed', { client: id })).toMatchObject({ kind: 'timed-out' })
  })

  it('that the handlers refuse is acknowledged and not shown after them', async () => {
    const id = newId()
    const topics: string[] = []
    after.set(
      id,
      publishes('up', ({ topic }) => void topics.push(topic)),
    )
    const client = await connectRaw(seen, { clientId: id })
    await client.publish({ topic: 'secret/a', qos: 1 })
    expect(topics).toEqual([])
  })
})

describe('SUBSCRIBE and UNSUBSCRIBE', () => {
  it('are changed before the handlers as if the client had sent that', async () => {
    const id = newId()
    before.set(id, (packet) => {
      if (packet.cmd === 'subscribe')
        return {
          ...packet,
          subscriptions: packet.subscriptions.map(({ topic, qos }) => ({ topic: `${id}/${topic}`, qos })),
        }
      if (packet.cmd === 'unsubscribe')
        return { ...packet, unsubscriptions: packet.unsubscriptions.map((filter) => `${id}/${filter}`) }
      return undefined
    })
    const client = await connectRaw(seen, { clientId: id })
    expect(await client.subscribe(['a', 1], ['b', 0])).toEqual([1, 0])
    expect(asked).toContain(`subscribe ${id}/a`)
    await client.unsubscribe('a')
    const sender = await connectRaw(plain, { clientId: newId() })
    await sender.publish({ topic: `${id}/a`, qos: 1 })
    await sender.publish({ topic: `${id}/b`, qos: 1 })
    expect((await client.nextMessages(1)).map(({ topic, qos }) => `${topic} ${qos}`)).toEqual([`${id}/b 0`])
  })

  it('is changed after the handlers: what they granted, and UNSUBSCRIBE of the original goes on working', async () => {
    const id = newId()
    const seenThere: string[] = []
    after.set(id, (packet) => {
      if (packet.cmd !== 'subscribe') return undefined
      seenThere.push(...packet.subscriptions.map(({ topic }) => topic))
      return {
        ...packet,
        subscriptions: packet.subscriptions.map(({ topic }) => ({
          topic: `${id}/${topic}`,
          qos: 0 as const,
        })),
      }
    })
    const client = await connectRaw(seen, { clientId: id })
    expect(await client.subscribe(['secret/a', 1], ['b', 1])).toEqual([0x80, 0])
    expect(seenThere).toEqual(['b'])
    await broker.publish({ topic: `m/${id}/b`, payload: Buffer.from('1'), qos: 1 })
    expect((await client.nextMessages(1))[0]!.topic).toBe(`${id}/b`)
    await client.unsubscribe('b')
    await broker.publish({ topic: `m/${id}/b`, payload: Buffer.from('2'), qos: 1 })
    await client.ping()
    expect(client.waitingMessages).toEqual([])
  })

  it('is refused with 0x80 for every filter when it is dropped; a dropped UNSUBSCRIBE does nothing and is answered', async () => {
    const id = newId()
    const client = await connectRaw(seen, { clientId: id })
    const drop: Intercept = ({ cmd }) => (cmd === 'subscribe' || cmd === 'unsubscribe' ? null : undefined)
    expect(await client.subscribe([`${id}/kept`, 1])).toEqual([1])
    for (const ways of [before, after]) {
      ways.set(id, drop)
      expect(await client.subscribe([`${id}/a`, 1], [`${id}/b`, 0])).toEqual([0x80, 0x80])
      await client.unsubscribe(`${id}/kept`)
      ways.delete(id)
    }
    await broker.publish({ topic: `m/${id}/a`, payload: Buffer.from('1'), qos: 1 })
    await broker.publish({ topic: `m/${id}/kept`, payload: Buffer.from('2'), qos: 1 })
    expect((await client.nextMessages(1))[0]!.topic).toBe(`${id}/kept`)
  })

  it('shows the options of MQTT 5, which stay those of each filter, in their order', async () => {
    const id = newId()
    const shownThere: unknown[] = []
    const rename: Intercept = (packet) => {
      if (packet.cmd !== 'subscribe') return undefined
      shownThere.push(...packet.subscriptions)
      // As an interceptor of MQTT 3.1.1 does it; what it has not been asked about is ignored.
      const subscriptions = packet.subscriptions.map(({ topic, qos }) => ({
        topic: topic === 'b' ? `$share/g/${topic}` : `x/${topic}`,
        qos,
        noLocal: false,
        subscriptionIdentifier: 1,
      }))
      return { ...packet, subscriptions }
    }
    before.set(id, rename)
    after.set(id, (packet) => {
      if (packet.cmd === 'subscribe') shownThere.push(...packet.subscriptions)
    })
    const client = await connectRaw(seen, { clientId: id, version: 5 })
    const suback = await client.subscribeWith(
      { subscriptionIdentifiers: [7], userProperties: [['a', 'b']] },
      ['secret', 0, { retainHandling: 2 }],
      ['a', 1, { noLocal: true }],
      ['b', 1, { noLocal: true, retainAsPublished: true }],
    )
    expect(suback.codes).toEqual([0, 1, 1])
    const plainOptions = { noLocal: false, retainAsPublished: false, retainHandling: 0 }
    const common = { ...plainOptions, subscriptionIdentifier: 7, userProperties: [['a', 'b']] }
    expect(shownThere).toEqual([
      { topic: 'secret', qos: 0, ...common, retainHandling: 2 },
      { topic: 'a', qos: 1, ...common, noLocal: true },
      { topic: 'b', qos: 1, ...common, noLocal: true, retainAsPublished: true },
      { topic: 'x/secret', qos: 0, ...common, retainHandling: 2 },
      { topic: 'x/a', qos: 1, ...common, noLocal: true },
      { topic: 'b', qos: 1, ...common, retainAsPublished: true },
    ])
    const { subscriptionList } = (await broker.operations.client({ id, mountpoint: 'm/' }))!
    const kept = { ...plainOptions, subscriptionIdentifier: 7, shareGroup: null }
    expect(subscriptionList).toEqual([
      { filter: 'x/secret', qos: 0, ...kept, retainHandling: 2 },
      { filter: 'x/a', qos: 1, ...kept, noLocal: true },
      { filter: '$share/g/b', qos: 1, ...kept, shareGroup: 'g', retainAsPublished: true },
    ])
  })

  it('says in MQTT 5 that what was dropped was not authorized, for each filter that the client has named', async () => {
    const id = newId()
    const client = await connectRaw(seen, { clientId: id, version: 5 })
    expect(await client.subscribe(['kept', 1], ['gone', 1])).toEqual([1, 1])
    const drop: Intercept = ({ cmd }) => (cmd === 'subscribe' || cmd === 'unsubscribe' ? null : undefined)
    for (const ways of [before, after]) {
      ways.set(id, drop)
      expect(await client.subscribe(['a', 1], ['b', 0])).toEqual([0x87, 0x87])
      expect(await client.unsubscribe('kept', 'never')).toEqual([0x87, 0x87])
      ways.delete(id)
    }
    before.set(id, (packet) =>
      packet.cmd === 'unsubscribe' ? { ...packet, unsubscriptions: ['more', 'gone'] } : undefined,
    )
    expect(await client.unsubscribe('kept', 'gone', 'never')).toEqual([0x87, 0, 0x87])
    before.delete(id)
    expect(await client.unsubscribe('kept', 'gone')).toEqual([0, 0x11])
  })

  it.each([
    ['a higher QoS', { qos: 2 }],
    ['frames of tunnels', { topic: '$tunnel/+/+/x/down' }],
    ['an illegal filter', { topic: 'a/#/b' }],
  ])('must not become %s', async (_what, change) => {
    const id = newId()
    after.set(id, (packet) =>
      packet.cmd === 'subscribe'
        ? {
            ...packet,
            subscriptions: packet.subscriptions.map((one) => ({
              ...one,
              ...change,
            })) as typeof packet.subscriptions,
          }
        : undefined,
    )
    const client = await connectRaw(seen, { clientId: id })
    await expect(client.subscribe(['a', 1])).rejects.toThrow('no SUBACK')
    await eventOf(broker, 'interceptor failed', { client: id })
  })
})

describe('PUBLISH to a client', () => {
  it.each([0, 1, 2] as const)(
    'at QoS %i is changed for it alone, before and after authDeliver',
    async (qos) => {
      const id = newId()
      before.set(
        id,
        publishes('down', (packet) => ({ ...packet, topic: `seen/${packet.topic}` })),
      )
      after.set(
        id,
        publishes('down', async (packet) => {
          await Promise.resolve()
          return { ...packet, payload: Buffer.from(`${packet.payload.toString()}!`), retain: true }
        }),
      )
      const topics: string[] = []
      refuseDelivery = (topic) => (topics.push(topic), false)
      const client = await connectRaw(seen, { clientId: id })
      await client.subscribe([id, qos])
      const other = await listener(id)
      await broker.publish({ topic: `m/${id}`, payload: Buffer.from('x'), qos: 2 })
      const [message] = await client.nextMessages(1)
      expect(shown(message!)).toBe(`seen/${id}=x! ${qos} retained`)
      await client.acknowledge(message!)
      expect(shown((await other.nextMessages(1))[0]!)).toBe(`${id}=x 2`)
      expect(topics.sort()).toEqual([id, `seen/${id}`].sort())
    },
  )

  it.each([0, 1, 2] as const)(
    'at QoS %i is dropped, and the queue goes on beyond the window',
    async (qos) => {
      const id = newId()
      const client = await connectRaw(seen, { clientId: id, clean: false })
      await client.subscribe([`${id}/#`, qos])
      const drop = publishes('down', async ({ topic }) => {
        await Promise.resolve()
        return topic.endsWith('drop') ? null : undefined
      })
      for (const ways of [before, after]) {
        ways.set(id, drop)
        // More than `limits.maxInflight`.
        const sent = Array.from({ length: 30 }, () =>
          broker.publish({ topic: `m/${id}/drop`, payload: Buffer.from('x'), qos: 2 }),
        )
        await Promise.all([
          ...sent,
          broker.publish({ topic: `m/${id}/end`, payload: Buffer.from('y'), qos: 2 }),
        ])
        const [message] = await client.nextMessages(1)
        expect(message!.topic).toBe(`${id}/end`)
        await client.acknowledge(message!)
        ways.delete(id)
      }
      await client.ping()
      await client.destroy()
      // Nothing of it comes again.
      const again = await connectRaw(seen, { clientId: id, clean: false })
      await again.ping()
      expect(again.waitingMessages).toEqual([])
    },
  )

  it('keeps its order, with acknowledgements among it, while answers come late', async () => {
    const id = newId()
    let delayMs = 16
    before.set(
      id,
      publishes('down', async () => {
        delayMs /= 2
        await new Promise((resolve) => setTimeout(resolve, delayMs))
      }),
    )
    const client = await connectRaw(seen, { clientId: id })
    await client.subscribe([`${id}/#`, 1])
    for (let number = 1; number <= 4; number++)
      await broker.publish({
        topic: `m/${id}/${number}`,
        payload: Buffer.from('x'),
        qos: number % 2 === 0 ? 0 : 1,
      })
    client.send(publishPacket({ topic: 'elsewhere', qos: 1, messageId: 9 }))
    const messages = await client.nextMessages(4)
    expect(messages.map(({ topic }) => topic)).toEqual([1, 2, 3, 4].map((number) => `${id}/${number}`))
    await client.nextAck('puback', 9)
    expect(client.received.at(-1)).toMatchObject({ type: 'puback' })
  })

  it('is not sent where authDeliver refuses what the interceptor has made of it', async () => {
    const id = newId()
    before.set(
      id,
      publishes('down', (packet) => ({ ...packet, topic: packet.topic.replace('open', 'closed') })),
    )
    refuseDelivery = (topic) => topic.endsWith('closed')
    const client = await connectRaw(seen, { clientId: id })
    await client.subscribe([`${id}/#`, 1])
    await broker.publish({ topic: `m/${id}/open`, payload: Buffer.from('x'), qos: 1 })
    await broker.publish({ topic: `m/${id}/end`, payload: Buffer.from('x'), qos: 1 })
    expect((await client.nextMessages(1))[0]!.topic).toBe(`${id}/end`)
  })

  it('is lent to another member of a shared subscription, dropped there, and not lent again', async () => {
    const id = newId()
    const topics: string[] = []
    before.set(
      id,
      publishes('down', ({ topic }) => (topics.push(topic), topic.endsWith('drop') ? null : undefined)),
    )
    const client = await connectRaw(seen, { clientId: id })
    await client.subscribe([`$share/g/${id}/#`, 1])
    for (const last of ['drop', 'end'])
      await broker.publish({ topic: `m/${id}/${last}`, payload: Buffer.from('x'), qos: 1 })
    expect((await client.nextMessages(1))[0]!.topic).toBe(`${id}/end`)
    expect(topics).toEqual([`${id}/drop`, `${id}/end`])
  })

  it('shows retained messages with RETAIN, and what it does not show at all is $tunnel/', async () => {
    const id = newId()
    await broker.publish({ topic: `m/${id}`, payload: Buffer.from('x'), qos: 1, retain: true })
    const packets: string[] = []
    before.set(
      id,
      publishes('down', (packet) => void packets.push(shown(packet))),
    )
    const client = await connectRaw(seen, { clientId: id })
    await client.subscribe(['$tunnel/+/status', 0], [id, 1])
    await client.nextMessages(1)
    expect(packets).toEqual([`${id}=x 1 retained`])
  })

  it('ends the connection when the interceptor throws, and the message comes again with the next one', async () => {
    const id = newId()
    const client = await connectRaw(seen, { clientId: id, clean: false })
    await client.subscribe([id, 1])
    before.set(
      id,
      publishes('down', () => {
        throw new Error('broken')
      }),
    )
    await broker.publish({ topic: `m/${id}`, payload: Buffer.from('x'), qos: 1 })
    await client.untilClosed()
    expect(await eventOf(broker, 'client disconnected', { client: id })).toMatchObject({ reason: 'error' })
    before.clear()
    const again = await openRaw(seen)
    await again.connect({ clientId: id, clean: false })
    expect((await again.nextMessages(1))[0]!.payload.toString()).toBe('x')
  })
})

describe('acknowledgements', () => {
  it.each([
    ['dropped', () => null],
    ['changed', (packet: InterceptedPacket) => ({ ...packet, messageId: 99 }) as InterceptedPacket],
  ])('cannot be %s: that ends the connection', async (_what, act) => {
    for (const cmd of ['puback', 'pubrel', 'suback', 'connack', 'pingreq']) {
      const id = newId()
      before.set(id, (packet) => (packet.cmd === cmd ? act(packet) : undefined))
      const client = await openRaw(seen)
      const run = async (): Promise<void> => {
        await client.connect({ clientId: id })
        await client.publish({ topic: 'a', qos: 1 })
        await client.subscribe(['a', 1])
        await client.publish({ topic: 'b', qos: 2 })
        await client.ping()
      }
      await expect(run()).rejects.toThrow('but the end')
      await eventOf(broker, 'interceptor failed', { client: id })
    }
  })
})

describe('interceptors of a configuration', () => {
  it('are modules in their order, read with their options, reloaded and closed with the broker', async () => {
    const file = new URL('fixture-interceptor.mjs', import.meta.url).pathname
    const one = (name: string, at: InterceptorPlace): object => ({ file, at, options: { name } })
    const own = await openBroker({
      listeners: [
        {
          type: 'tcp',
          port: 0,
          allowAnonymous: true,
          interceptors: [one('a', 'before'), one('b', 'before'), one('c', 'after')] as never,
        },
      ],
    })
    const client = await connectRaw(own.port, { clientId: 'x' })
    await client.subscribe(['#', 1])
    await client.publish({ topic: 't', qos: 1, payload: '' })
    expect((await client.nextMessages(1))[0]!.payload.toString()).toBe('abc-abc')
    await own.reload()
    await client.publish({ topic: 't', qos: 1, payload: '' })
    expect((await client.nextMessages(1))[0]!.payload.toString()).toBe('ABC-ABC')
    client.send(ackPacket(Packet.puback, 1))
  })

  it('are as the example shows', async () => {
    const file = new URL('../../../examples/interceptor.mjs', import.meta.url).pathname
    const listeners = [
      { type: 'tcp', port: 0, name: 'new', allowAnonymous: true },
      { type: 'tcp', port: 0, name: 'old', allowAnonymous: true, interceptors: [{ file, at: 'after' }] },
    ] as const
    const own = await openBroker({ listeners: listeners as never })
    const [sensor, reader] = [portOf(own, 'old'), portOf(own, 'new')].map((port) =>
      connectRaw(port, { clientId: newId() }),
    )
    const both = [await sensor!, await reader!] as const
    for (const client of both) await client.subscribe(['sensors/#', 0])
    await both[0].publish({ topic: 'sensors/attic', payload: '', qos: 1 })
    await both[0].publish({ topic: 'sensors/attic', payload: '21.5;40', qos: 1 })
    const texts = both.map(async (client) => (await client.nextMessages(1))[0]!.payload.toString())
    expect(await Promise.all(texts)).toEqual(['21.5;40', '{"temperature":21.5,"humidity":40}'])
    both[0].send(publishPacket({ topic: 'sensors/attic', payload: 'hot', qos: 1, messageId: 9 }))
    await both[0].untilClosed()
  })

  it.each([
    ['nothing to call', 'export default { name: "x" }', 'has no method intercept'],
    [
      'a misspelt method',
      'export default { Intercept() {} }',
      'Intercept is not a method of an Interceptor: intercept?',
    ],
    ['no object', 'export default 7', 'its default export is neither an Interceptor nor'],
  ])('with %s are refused at the start, naming the file', async (_what, text, message) => {
    const file = join(await temporaryFolder(), 'i.mjs')
    await writeFile(file, text)
    const start = startTestBroker({ listeners: [{ type: 'tcp', port: 0, interceptors: [{ file }] }] })
    await expect(start).rejects.toThrow(`${file}: ${message}`)
  })
})
