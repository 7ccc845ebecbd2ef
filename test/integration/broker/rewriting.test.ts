import { describe, expect, it } from 'vitest'
import { AuthError, type Handler } from '../../../src/hooks/types.ts'
import { connectRaw, eventOf, openBroker, openRaw, refusalCode } from '../../support/broker-world.ts'

/** Each user lives below a topic of its own, and does not see it. */
const tenants: Handler = {
  name: 'tenants',
  authConnect(session) {
    session.id = `${session.username}:${session.id}`
  },
  authPublish(session, message) {
    message.topic = `${session.username}/${message.topic}`
  },
  authSubscribe(session, subscriptions) {
    for (const subscription of subscriptions) subscription.topic = `${session.username}/${subscription.topic}`
  },
}

describe('what authConnect rewrites', () => {
  it('is the id under which the session is kept, taken over and told of', async () => {
    const ids: string[] = []
    const broker = await openBroker({}, tenants, { connect: (session) => void ids.push(session.id) })
    const ann = await connectRaw(broker.port, { clientId: 'c1', username: 'ann', clean: false })
    const bob = await connectRaw(broker.port, { clientId: 'c1', username: 'bob', clean: false })
    await ann.ping()
    expect(ids).toEqual(['ann:c1', 'bob:c1'])
    await bob.destroy()
    const again = await openRaw(broker.port)
    expect(await again.connect({ clientId: 'c1', username: 'bob', clean: false })).toMatchObject({
      code: 0,
      sessionPresent: true,
    })
    const other = await connectRaw(broker.port, { clientId: 'c1', username: 'bob', clean: false })
    await again.untilClosed()
    await other.ping()
    await ann.ping()
    expect(await broker.disconnect('ann:c1')).toBe(true)
    await ann.untilClosed()
  })

  it('is the username and the will that the other methods see', async () => {
    const seen: unknown[] = []
    const broker = await openBroker(
      {},
      {
        authConnect(session) {
          session.username = session.username?.toUpperCase()
          session.will = { topic: 'last/words', payload: Buffer.from('changed'), qos: 1, retain: false }
        },
        authPublish: (session, { topic, isWill }) => void seen.push([session.username, topic, isWill]),
      },
    )
    const got: string[] = []
    broker.subscribe('#', (topic, payload) => void got.push(`${topic}=${payload.toString()}`))
    const client = await connectRaw(broker.port, { clientId: 'c1', username: 'ann' })
    await client.publish({ topic: 'a', qos: 1 })
    await client.destroy()
    await expect.poll(() => got).toEqual(['a=', 'last/words=changed'])
    expect(seen).toEqual([
      ['ANN', 'last/words', true],
      ['ANN', 'a', false],
      ['ANN', 'last/words', true],
    ])
  })

  it('refuses an id that cannot be one, and says whose fault it is', async () => {
    const broker = await openBroker(
      {},
      {
        name: 'careless',
        authConnect(session) {
          session.id = ''
        },
      },
    )
    expect(await refusalCode(broker.port, { clientId: 'c1' })).toBe(2)
    expect(await eventOf(broker, 'handler rewrote the client id to an illegal one')).toMatchObject({
      handler: 'careless',
    })
  })
})

describe('what authPublish rewrites', () => {
  it('is what is stored, matched and delivered', async () => {
    const broker = await openBroker(
      {},
      {
        authConnect() {},
        authPublish(_, message) {
          message.topic = message.topic.replace('in/', 'out/')
          message.payload = Buffer.from(message.payload.toString().toUpperCase())
          message.retain = true
        },
      },
    )
    const client = await connectRaw(broker.port, { clientId: 'c1' })
    expect(await client.subscribe(['in/#', 2], ['out/#', 2])).toEqual([2, 2])
    for (const qos of [0, 1, 2]) await client.publish({ topic: `in/${qos}`, payload: 'loud', qos })
    const live = await client.takeUntil('out/2')
    expect(live.map(({ topic, payload }) => `${topic}=${payload.toString()}`)).toEqual([
      'out/0=LOUD',
      'out/1=LOUD',
      'out/2=LOUD',
    ])
    const late = await connectRaw(broker.port, { clientId: 'c2' })
    await late.subscribe(['+/1', 1])
    expect(await late.next('publish')).toMatchObject({ topic: 'out/1', retain: true })
  })

  it.each(['a/+', '', '$SYS/x', '$share/g/x'])(
    'to %j is a refusal, and logged as our own fault',
    async (topic) => {
      const broker = await openBroker(
        {},
        {
          name: 'careless',
          authConnect() {},
          authPublish(_, message) {
            message.topic = topic
          },
        },
      )
      const got: string[] = []
      broker.subscribe('#', (name) => void got.push(name))
      const client = await connectRaw(broker.port, { clientId: 'c1' })
      await client.publish({ topic: 'a', qos: 1 })
      expect(got).toEqual([])
      expect(await eventOf(broker, 'handler rewrote a topic to an illegal one')).toMatchObject({
        handler: 'careless',
        client: 'c1',
      })
    },
  )
})

describe('what authSubscribe rewrites', () => {
  it.each([true, false])('is what is matched; UNSUBSCRIBE names the original (clean %s)', async (clean) => {
    const broker = await openBroker({}, tenants)
    const client = await connectRaw(broker.port, { clientId: 'c1', username: 'ann', clean })
    expect(await client.subscribe(['news/#', 1], ['$share/g/work', 1])).toEqual([1, 1])
    await broker.publish({ topic: 'news/1', payload: 'of others', qos: 1 })
    await broker.publish({ topic: 'ann/work', payload: 'shared', qos: 1 })
    await broker.publish({ topic: 'ann/news/1', payload: 'hers', qos: 1 })
    expect((await client.takeUntil('ann/news/1')).map(({ payload }) => payload.toString())).toEqual([
      'shared',
      'hers',
    ])
    await client.unsubscribe('news/#', '$share/g/work')
    await broker.publish({ topic: 'ann/news/1', payload: 'late', qos: 1 })
    await broker.publish({ topic: 'ann/work', payload: 'late', qos: 1 })
    await client.ping()
    expect(client.waitingMessages).toEqual([])
  })

  it('to a lower QoS shows in the SUBACK, and in the delivery', async () => {
    const broker = await openBroker(
      {},
      {
        authConnect() {},
        authSubscribe(_, subscriptions) {
          for (const subscription of subscriptions) if (subscription.topic === 'slow') subscription.qos = 0
        },
      },
    )
    const client = await connectRaw(broker.port, { clientId: 'c1' })
    expect(await client.subscribe(['fast', 2], ['slow', 2])).toEqual([2, 0])
    await broker.publish({ topic: 'slow', payload: 'x', qos: 2 })
    await broker.publish({ topic: 'fast', payload: 'x', qos: 2 })
    expect((await client.takeUntil('fast')).map(({ qos }) => qos)).toEqual([0, 2])
  })

  it('to an illegal filter is a refusal of that one', async () => {
    const broker = await openBroker(
      {},
      {
        authConnect() {},
        authSubscribe(_, subscriptions) {
          for (const subscription of subscriptions) if (subscription.topic === 'b') subscription.topic = 'b+'
        },
      },
    )
    const client = await connectRaw(broker.port, { clientId: 'c1' })
    expect(await client.subscribe(['a', 1], ['b', 1])).toEqual([1, 0x80])
    expect(await eventOf(broker, 'handler rewrote a filter to an illegal one')).toMatchObject({ filter: 'b' })
  })

  it('survives a restored session: the same messages, and the original goes on working', async () => {
    const broker = await openBroker({}, tenants)
    const fields = { clientId: 'c1', username: 'ann', clean: false }
    const first = await connectRaw(broker.port, fields)
    await first.subscribe(['news/#', 1])
    await first.destroy()
    await broker.publish({ topic: 'ann/news/1', payload: 'while away', qos: 1 })
    const again = await connectRaw(broker.port, fields)
    expect(await again.takeUntil('ann/news/1')).toHaveLength(1)
    await again.unsubscribe('news/#')
    await broker.publish({ topic: 'ann/news/1', payload: 'late', qos: 1 })
    await again.ping()
    expect(again.waitingMessages).toEqual([])
  })
})

describe('a will', () => {
  it('is authorized at CONNECT and again when it is sent, each time as the client wrote it', async () => {
    const asked: string[] = []
    const broker = await openBroker(
      {},
      {
        authConnect() {},
        authPublish(_, message) {
          asked.push(`${message.topic} ${message.isWill}`)
          message.topic = `ann/${message.topic}`
          message.payload = Buffer.from(`<${message.payload.toString()}>`)
        },
      },
    )
    const got: string[] = []
    broker.subscribe('#', (topic, payload) => void got.push(`${topic}=${payload.toString()}`))
    const client = await connectRaw(broker.port, {
      clientId: 'c1',
      will: { topic: 'will', payload: 'bye', qos: 1 },
    })
    await client.destroy()
    await expect.poll(() => got).toEqual(['ann/will=<bye>'])
    expect(asked).toEqual(['will true', 'will true'])
  })

  it('is asked about although its connection is gone, also when other questions are in front', async () => {
    const answers = new Map<string, () => void>()
    const broker = await openBroker(
      { auth: { maxConcurrent: 1 } },
      {
        authConnect() {},
        authPublish: (_, { topic }) => new Promise<void>((resolve) => answers.set(topic, resolve)),
      },
    )
    const got: string[] = []
    broker.subscribe('#', (topic) => void got.push(topic))
    const mortal = openRaw(broker.port).then((client) =>
      client.connect({ clientId: 'c1', will: { topic: 'will', qos: 1 } }).then(() => client),
    )
    await expect.poll(() => answers.has('will')).toBe(true)
    answers.get('will')!()
    answers.clear()
    const client = await mortal
    const busy = await connectRaw(broker.port, { clientId: 'c2' })
    const published = busy.publish({ topic: 'first', qos: 1 })
    await expect.poll(() => answers.has('first')).toBe(true)
    await client.destroy()
    await eventOf(broker, 'client disconnected', { client: 'c1' })
    answers.get('first')!()
    await published
    await expect.poll(() => answers.has('will')).toBe(true)
    answers.get('will')!()
    await expect.poll(() => got).toEqual(['first', 'will'])
  })

  it('is not sent when the right to it is gone by then', async () => {
    let allowed = true
    const broker = await openBroker(
      {},
      {
        authConnect() {},
        authPublish() {
          if (!allowed) throw new AuthError('not any more')
        },
      },
    )
    const got: string[] = []
    broker.subscribe('#', (topic) => void got.push(topic))
    const client = await connectRaw(broker.port, { clientId: 'c1', will: { topic: 'will', qos: 1 } })
    allowed = false
    await client.destroy()
    expect(await eventOf(broker, 'will refused')).toMatchObject({ client: 'c1', reason: 'not any more' })
    expect(got).toEqual([])
  })
})
