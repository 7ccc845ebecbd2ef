import type { Socket } from 'node:net'
import mqtt, { type MqttClient } from 'mqtt'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { Handler } from '../../../src/hooks/types.ts'
import { connectMqtt, connectRaw, eventOf, eventsOf, messages } from '../../support/broker-world.ts'
import { startPod, startPods } from '../../support/broker-pods.ts'
import { freePort } from '../../support/mosquitto.ts'
import { startRedis } from '../../support/redis-server.ts'
import { ackPacket, Packet, publishPacket, subscribePacket } from '../../support/wire.ts'

function numbers(count: number): string[] {
  return Array.from({ length: count }, (_, index) => String(index))
}

/** Payloads as they come. */
function gather(client: MqttClient): string[] {
  const got: string[] = []
  client.on('message', (_topic, payload) => got.push(payload.toString()))
  return got
}

/** Messages as they come, with RETAIN and the subscription identifiers of MQTT 5. */
function gatherWithOptions(client: MqttClient): string[] {
  const got: string[] = []
  client.on('message', (_topic, payload, { retain, properties }) => {
    const identifiers = properties?.subscriptionIdentifier
    got.push(`${payload.toString()}${retain ? ' retained' : ''} ${String(identifiers)}`)
  })
  return got
}

it('the options of a subscription (MQTT 5) hold at every pod, and for what waits', async () => {
  const { pods } = await startPods(2)
  const asFive = {
    protocolVersion: 5,
    clientId: 'c',
    clean: false,
    properties: { sessionExpiryInterval: 600 },
  } as const
  const other = await connectMqtt(pods[0]!.url, { protocolVersion: 5 })
  const first = await connectMqtt(pods[1]!.url, asFive)
  const got = gatherWithOptions(first)
  const options = { qos: 1, nl: true, rap: true, rh: 2 } as const
  for (const subscriptionIdentifier of [6, 7])
    await first.subscribeAsync('t', { ...options, properties: { subscriptionIdentifier } })
  await first.publishAsync('t', 'own', { qos: 1 })
  await other.publishAsync('t', 'a', { qos: 1, retain: true })
  await other.publishAsync('t', 'b', { qos: 1 })
  await expect.poll(() => got).toEqual(['a retained 7', 'b 7'])
  await first.endAsync(true)
  await other.publishAsync('t', 'c', { qos: 1, retain: true })

  const second = mqtt.connect(pods[0]!.url, { ...asFive, reconnectPeriod: 0 })
  onTestFinished(() => second.endAsync(true))
  const later = gatherWithOptions(second)
  await second.publishAsync('t', 'own again', { qos: 1 })
  const third = await connectMqtt(pods[1]!.url)
  await third.publishAsync('t', 'd', { qos: 1 })
  await expect.poll(() => later).toEqual(['c retained 7', 'd 7'])
  expect(await pods[1]!.operations.client({ id: 'c', mountpoint: '' })).toMatchObject({
    subscriptionList: [
      { noLocal: true, retainAsPublished: true, retainHandling: 2, subscriptionIdentifier: 7 },
    ],
  })

  // Of a filter that a packet has twice, the last one, also where it is as before.
  const twice = await connectRaw(pods[0]!.port, { clientId: 'twice', clean: false })
  expect(await twice.subscribe(['t', 1])).toEqual([1])
  expect(await twice.subscribe(['t', 0], ['t', 1])).toEqual([0, 1])
  for (const pod of pods)
    expect(await pod.operations.client({ id: 'twice', mountpoint: '' })).toMatchObject({
      subscriptionList: [{ filter: 't', qos: 1 }],
    })
})

describe('a message that is published at one pod', () => {
  it.each([0, 1, 2] as const)(
    'reaches clients of another, with and without a stored session (QoS %i)',
    async (qos) => {
      const { pods } = await startPods(2)
      const clean = await connectMqtt(pods[1]!.url, { clientId: 'clean' })
      const stored = await connectMqtt(pods[1]!.url, { clientId: 'stored', clean: false })
      const here = await connectMqtt(pods[0]!.url, { clientId: 'here' })
      const publisher = await connectMqtt(pods[0]!.url)
      const all = [clean, stored, here].map((client) => gather(client))
      for (const client of [clean, stored, here]) await client.subscribeAsync('t/+', { qos })
      for (const text of numbers(100)) await publisher.publishAsync('t/x', text, { qos })
      for (const got of all) await expect.poll(() => got.length).toBe(100)
      expect(all).toEqual([numbers(100), numbers(100), numbers(100)])
    },
  )

  it('waits for a client that is away, and comes wherever it connects', async () => {
    const { pods } = await startPods(3)
    const away = await connectMqtt(pods[1]!.url, { clientId: 'c', clean: false })
    await away.subscribeAsync('t', { qos: 1 })
    await away.endAsync()
    const publisher = await connectMqtt(pods[0]!.url)
    await Promise.all(numbers(300).map((text) => publisher.publishAsync('t', text, { qos: 1 })))
    const back = mqtt.connect(pods[2]!.url, { clientId: 'c', clean: false })
    const got = gather(back)
    const [connack] = await new Promise<[{ sessionPresent: boolean }]>((resolve) =>
      back.once('connect', (packet) => resolve([packet])),
    )
    expect(connack.sessionPresent).toBe(true)
    await expect.poll(() => got.length).toBe(300)
    expect(got).toEqual(numbers(300))
    await back.endAsync(true)
  })

  it('ends the sessions without a queue for which it was lost on the way, and no others', async () => {
    const { redis, pods } = await startPods(2)
    const [lost, atMostOnce, stored] = await Promise.all([
      connectMqtt(pods[1]!.url, { clientId: 'lost' }),
      connectMqtt(pods[1]!.url, { clientId: 'at-most-once' }),
      connectMqtt(pods[1]!.url, { clientId: 'stored', clean: false }),
    ])
    await lost.subscribeAsync('t', { qos: 1 })
    await atMostOnce.subscribeAsync('t', { qos: 0 })
    await stored.subscribeAsync('t', { qos: 1 })
    const got = gather(stored)
    // As when its bound is reached: the number of an entry is used up, and the entry is not there.
    for (const name of (await redis.command('HKEYS', '{tunnelmq}:pods')) as string[])
      await redis.command('HINCRBY', '{tunnelmq}:inboxpos', name, '1')
    const closed = new Promise<void>((resolve) => lost.once('close', () => resolve()))
    const publisher = await connectMqtt(pods[0]!.url)
    await publisher.publishAsync('t', 'next', { qos: 1 })
    await closed
    await expect.poll(() => got).toEqual(['next'])
    expect([atMostOnce.connected, stored.connected]).toEqual([true, true])
  })

  it('is the retained one at every other', async () => {
    const { pods } = await startPods(2)
    const publisher = await connectMqtt(pods[0]!.url)
    for (let i = 0; i < 20; i++) {
      await publisher.publishAsync(`r/${i}`, String(i), { qos: 1, retain: true })
      const reader = await connectMqtt(pods[1]!.url)
      const got = messages(reader, 1)
      await reader.subscribeAsync(`r/${i}`, { qos: 1 })
      expect(await got).toEqual([`r/${i}=${i}`])
    }
    await publisher.publishAsync('r/0', '', { qos: 1, retain: true })
    const reader = await connectMqtt(pods[1]!.url)
    const got = gather(reader)
    await reader.subscribeAsync('r/+', { qos: 1 })
    await expect.poll(() => got.length).toBe(19)
  })

  it('is never missed by who has had a SUBACK before', async () => {
    const { pods } = await startPods(2)
    const publisher = await connectMqtt(pods[0]!.url)
    const subscriber = await connectMqtt(pods[1]!.url)
    // Else its SUBSCRIBE waits in its kernel until its PUBACK is acknowledged.
    ;(subscriber.stream as Socket).setNoDelay(true)
    const got = gather(subscriber)
    for (let i = 0; i < 500; i++) {
      await subscriber.subscribeAsync(`t/${i}`, { qos: 1 })
      await publisher.publishAsync(`t/${i}`, String(i), { qos: 1 })
    }
    await expect.poll(() => got.length).toBe(500)
    expect(got).toEqual(numbers(500))
  })
})

describe('a message at QoS 2 that is sent again at another pod', () => {
  it('reaches everybody once', async () => {
    const { pods } = await startPods(3)
    const clean = await connectMqtt(pods[2]!.url)
    const stored = await connectMqtt(pods[1]!.url, { clientId: 'stored', clean: false })
    const lazy = await connectMqtt(pods[1]!.url)
    const all = [clean, stored, lazy].map((client) => gather(client))
    await clean.subscribeAsync('t', { qos: 2 })
    await stored.subscribeAsync('t', { qos: 2 })
    await lazy.subscribeAsync('t', { qos: 0 })
    for (const [index, payload] of numbers(20).entries()) {
      const messageId = index + 1
      const message = { topic: 't', payload, qos: 2, messageId } as const
      const first = await connectRaw(pods[0]!.port, { clientId: 'p', clean: false })
      first.send(publishPacket(message))
      await first.nextAck('pubrec', messageId)
      const second = await connectRaw(pods[1]!.port, { clientId: 'p', clean: false })
      second.send(publishPacket({ ...message, dup: true }))
      await second.nextAck('pubrec', messageId)
      second.send(ackPacket(Packet.pubrel, messageId))
      await second.nextAck('pubcomp', messageId)
    }
    for (const got of all) await expect.poll(() => got).toEqual(numbers(20))
  })
})

describe('a client id', () => {
  it.each([true, false])('is connected once, at the pod to which it came last (clean %s)', async (clean) => {
    const { pods } = await startPods(2)
    for (let i = 0; i < 10; i++) {
      const first = await connectMqtt(pods[i % 2]!.url, { clientId: 'c', clean })
      const closed = new Promise<void>((resolve) => first.once('close', () => resolve()))
      const next = await connectMqtt(pods[(i + 1) % 2]!.url, { clientId: 'c', clean })
      await closed
      expect(next.connected).toBe(true)
      await next.endAsync()
    }
  })

  it('is disconnected by any pod, and as taken over when a write finds it at another (0x8E)', async () => {
    const { redis, pods } = await startPods(2)
    const client = await connectMqtt(pods[0]!.url, { clientId: 'c' })
    const closed = new Promise<void>((resolve) => client.once('close', () => resolve()))
    expect(await pods[1]!.disconnect('c')).toBe(true)
    await closed
    await expect.poll(() => pods[1]!.disconnect('c')).toBe(false)

    // [MQTT-3.1.4-3] The word of the take-over has not come yet.
    const writes = {
      subscribing: subscribePacket(1, [['t', 1]], {}),
      publishing: publishPacket({ topic: 't', qos: 2, messageId: 1, properties: {} }),
    }
    for (const [clientId, write] of Object.entries(writes)) {
      const properties = { sessionExpiryInterval: 60 }
      const writer = await connectRaw(pods[0]!.port, { clientId, version: 5, properties })
      const owner = String(await redis.command('HGET', '{tunnelmq}:owner', clientId))
      const names = (await redis.command('HKEYS', '{tunnelmq}:pods')) as unknown[]
      const other = names.map(String).find((name) => !owner.endsWith(`:${name}`))
      await redis.command('HSET', '{tunnelmq}:owner', clientId, `99:${other}`)
      writer.send(write)
      expect(await writer.next('disconnect')).toMatchObject({ reasonCode: 0x8e })
    }
  })
})

describe('a will', () => {
  it('is published once, at every pod, when the connection is lost, and not after DISCONNECT', async () => {
    const { pods } = await startPods(2)
    const watcher = await connectMqtt(pods[1]!.url)
    const got = gather(watcher)
    await watcher.subscribeAsync('w', { qos: 1 })
    const will = { topic: 'w', payload: Buffer.from('gone'), qos: 1, retain: false } as const
    const leaving = await connectMqtt(pods[0]!.url, { will })
    await leaving.endAsync()
    const lost = await connectMqtt(pods[0]!.url, { will })
    lost.stream.destroy()
    await expect.poll(() => got).toEqual(['gone'])
  })

  it('of a pod that stops is published by another, once, unless its client is back', async () => {
    const { pods } = await startPods(2, { session: { willGraceMs: 300 } })
    const watcher = await connectMqtt(pods[1]!.url)
    const got = gather(watcher)
    await watcher.subscribeAsync('w/#', { qos: 1 })
    for (const id of ['stays', 'returns']) {
      const will = { topic: `w/${id}`, payload: Buffer.from(id), qos: 1, retain: false } as const
      await connectMqtt(pods[0]!.url, { clientId: id, will })
    }
    await pods[0]!.stop()
    await connectMqtt(pods[1]!.url, { clientId: 'returns' })
    await expect.poll(() => got).toEqual(['stays'])
  })
})

describe('a shared subscription', () => {
  it.each([0, 1] as const)('gives each message to one member over all pods (QoS %i)', async (qos) => {
    const { pods } = await startPods(3)
    const members: string[][] = []
    for (const [index, pod] of pods.entries()) {
      const member = await connectMqtt(pod.url, { clientId: `m${index}`, clean: index !== 1 })
      members.push(gather(member))
      await member.subscribeAsync('$share/g/t', { qos })
    }
    const publisher = await connectMqtt(pods[0]!.url)
    await Promise.all(numbers(300).map((text) => publisher.publishAsync('t', text, { qos })))
    await expect.poll(() => members.flat().length).toBe(300)
    expect(members.flat().toSorted((a, b) => Number(a) - Number(b))).toEqual(numbers(300))
    // At QoS 0 strictly in turn; at QoS 1 by who has room.
    const shares = members.map(({ length }) => length)
    expect(qos === 0 ? shares : [100, 100, 100]).toEqual([100, 100, 100])
  })

  it('goes on with another member when the one that has messages is gone', async () => {
    const { pods } = await startPods(2)
    const silent = mqtt.connect(pods[0]!.url, { clientId: 'silent', reconnectPeriod: 0 })
    silent.handleMessage = () => {}
    await new Promise((resolve) => silent.once('connect', resolve))
    await silent.subscribeAsync('$share/g/t', { qos: 1 })
    const publisher = await connectMqtt(pods[1]!.url)
    await Promise.all(numbers(10).map((text) => publisher.publishAsync('t', text, { qos: 1 })))
    const other = await connectMqtt(pods[1]!.url)
    const got = gather(other)
    await other.subscribeAsync('$share/g/t', { qos: 1 })
    silent.stream.destroy()
    await expect.poll(() => got.length).toBe(10)
    await silent.endAsync(true)
  })

  it('has what has come while its only member was away, wherever that comes back', async () => {
    const { pods } = await startPods(2)
    const publisher = await connectMqtt(pods[0]!.url)
    const got: string[] = []
    for (const [round, pod] of [1, 1, 0, 1].entries()) {
      const member = mqtt.connect(pods[pod]!.url, { clientId: 'm', clean: false, reconnectPeriod: 0 })
      member.on('message', (_topic, payload) => got.push(payload.toString()))
      await new Promise((resolve) => member.once('connect', resolve))
      if (round === 0) await member.subscribeAsync('$share/g/t', { qos: 1 })
      await expect.poll(() => got.length).toBe(10 * round)
      await member.endAsync()
      // In order: nothing of it is under way any more.
      await expect.poll(() => pods[pod]!.disconnect('m')).toBe(false)
      await Promise.all(numbers(10).map((text) => publisher.publishAsync('t', text, { qos: 1 })))
    }
  })

  it('goes on when Redis has not answered for longer than writes wait', async () => {
    const { redis, pods } = await startPods(2, { limits: { maxInflight: 5 }, holdMs: 500 })
    const member = await connectRaw(pods[1]!.port, { clientId: 'm' })
    await member.subscribe(['$share/g/t', 1])
    const publisher = await connectMqtt(pods[0]!.url)
    await Promise.all(numbers(10).map((text) => publisher.publishAsync('t', text, { qos: 1 })))
    const first = await member.nextMessages(5)
    redis.freeze()
    for (const { messageId } of first) member.send(ackPacket(Packet.puback, messageId))
    await eventOf(pods[1]!, 'redis is away')
    // Longer than `holdMs` after it was noticed.
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    redis.thaw()
    const second = await member.nextMessages(5)
    const texts = [...first, ...second].map(({ payload }) => payload.toString())
    expect(texts.toSorted()).toEqual(numbers(10))
  })

  it('that was never to be leaves no queue behind', async () => {
    const { redis, pods } = await startPods(1)
    for (let i = 0; i < 20; i++) {
      const client = await connectRaw(pods[0]!.port, { clientId: 'c' })
      client.send(subscribePacket(1, [[`$share/g/t/${i}`, 1]]))
      void client.destroy()
      await expect.poll(() => redis.command('HLEN', '{tunnelmq}:owner')).toBe(0)
    }
    await expect.poll(() => redis.command('HKEYS', '{tunnelmq}:sessions')).toEqual([])
  })

  it('loses nothing while its last member leaves and another comes', async () => {
    const { pods } = await startPods(2)
    const publisher = await connectMqtt(pods[1]!.url)
    const members = [await connectMqtt(pods[0]!.url), await connectMqtt(pods[1]!.url)]
    const got = members.map((member) => gather(member))
    for (const text of numbers(40)) {
      const [comes, leaves] = Number(text) % 2 === 0 ? members : members.toReversed()
      await Promise.all([
        comes!.subscribeAsync('$share/g/t', { qos: 1 }),
        leaves!.unsubscribeAsync('$share/g/t'),
      ])
      await publisher.publishAsync('t', text, { qos: 1 })
      // At least once: what is not acknowledged when its member unsubscribes may be given to another.
      await expect.poll(() => new Set(got.flat()).size, { interval: 5 }).toBe(Number(text) + 1)
    }
  })

  it('of $SYS has what each pod tells its own clients', async () => {
    const { pods } = await startPods(2, { sysIntervalMs: 100 })
    const member = await connectMqtt(pods[0]!.url)
    const got = gather(member)
    await member.subscribeAsync('$share/g/$SYS/broker/uptime')
    await expect.poll(() => got.length).toBeGreaterThan(0)
  })
})

describe('figures', () => {
  it('in $SYS are those of all pods, and each pod tells them to its own clients', async () => {
    const { pods } = await startPods(2, { sysIntervalMs: 100 })
    const first = await connectMqtt(pods[0]!.url)
    await connectMqtt(pods[1]!.url, { clientId: 'stored', clean: false })
    const got = gather(first)
    await first.subscribeAsync('$SYS/broker/clients/+')
    // Figures of other pods are fetched every 2 s.
    const slowly = { timeout: 15_000 }
    await expect.poll(() => got.filter((text) => text === '2').length, slowly).toBeGreaterThanOrEqual(3)
    const other = await connectMqtt(pods[1]!.url)
    const values = new Map<string, string>()
    other.on('message', (topic, payload) => values.set(topic, payload.toString()))
    await other.subscribeAsync('$SYS/broker/clients/#')
    await expect.poll(() => values.get('$SYS/broker/clients/connected'), slowly).toBe('3')
    await expect.poll(() => values.get('$SYS/broker/clients/total'), slowly).toBe('3')
    await expect.poll(() => values.get('$SYS/broker/clients/disconnected'), slowly).toBe('0')
  })
})

describe('a pod that starts', () => {
  it('lives, is not ready and says why while Redis is away, and goes on when it is there', async () => {
    const redis = await startRedis()
    onTestFinished(() => redis.remove())
    await redis.stop()
    const port = await freePort()
    const starting = startPod(redis, { admin: { enabled: true, host: '127.0.0.1', port } })
    const status = async (path: string): Promise<number> =>
      (await fetch(`http://127.0.0.1:${port}/${path}`).catch(() => undefined))?.status ?? 0
    await expect.poll(() => status('live')).toBe(200)
    expect(await status('ready')).toBe(503)
    await redis.start()
    const pod = await starting
    await connectMqtt(pod.url)
    await expect.poll(() => status('ready')).toBe(200)
  })

  it('with settings that Redis refuses does not start', async () => {
    const redis = await startRedis({ args: ['--maxmemory-policy', 'allkeys-lru', '--maxmemory', '100mb'] })
    onTestFinished(() => redis.remove())
    await expect(startPod(redis)).rejects.toMatchObject({ code: 'TMQ_STORE' })
  })
})

describe('the bound of connections of one user', () => {
  it('holds over all pods', async () => {
    const { pods } = await startPods(2, { limits: { maxConnectionsPerUser: 2 } }, [
      { name: 'all', authConnect: () => undefined },
    ])
    const connect = (pod: number, clientId: string) =>
      connectMqtt(pods[pod]!.url, { clientId, username: 'ann', password: 'x' })
    await connect(0, 'a')
    await connect(1, 'b')
    await expect(connect(0, 'c')).rejects.toMatchObject({ code: 3 })
    expect(eventsOf(pods[0]!, 'connection refused', { reason: 'max-connections', client: 'c' })).toHaveLength(
      1,
    )
    await connect(0, 'b')
  })
})

describe('rights that are taken away while Redis is away', () => {
  it('cost the connection, as the subscription is stored still', async () => {
    let refused: readonly string[] = []
    const handler: Handler = {
      name: 'rights',
      authConnect: () => undefined,
      authSubscribe(_session, requests) {
        for (const request of requests) request.refused = refused.includes(request.topic)
      },
    }
    const login = { username: 'ann', password: 'x' }
    const { redis, pods } = await startPods(2, { holdMs: 300 }, [handler])
    const client = await connectMqtt(pods[0]!.url, { clientId: 'c', clean: false, ...login })
    await client.subscribeAsync(['a', 'b'], { qos: 1 })
    redis.freeze()
    refused = ['a']
    await pods[0]!.reload()
    await eventOf(pods[0]!, 'client disconnected', { client: 'c', reason: 'revoked' })
    redis.thaw()
    const back = async (): Promise<MqttClient | undefined> =>
      connectMqtt(pods[1]!.url, { clientId: 'c', clean: false, ...login }).catch(() => undefined)
    let again: MqttClient | undefined
    await expect.poll(async () => (again ??= await back())?.connected).toBe(true)
    const got = gather(again!)
    for (const topic of ['a', 'b']) await again!.publishAsync(topic, topic, { qos: 1 })
    await expect.poll(() => got).toEqual(['b'])
  })
})
