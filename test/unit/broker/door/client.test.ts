import { describe, expect, it, vi } from 'vitest'
import { AuthError, RefuseReason, type Handler, type Session } from '../../../../src/hooks/types.ts'
import { openDoorClient } from '../../../support/door-client.ts'
import { PATIENCE } from '../../../support/eventually.ts'
import { openInspectedBroker } from '../../../support/inspected-broker.ts'

const noSecrets: Handler = {
  name: 'no secrets',
  authConnect() {},
  authPublish(_session, { topic }) {
    if (topic.startsWith('secret')) throw new AuthError('secret topic')
    if (topic.startsWith('away')) throw new AuthError('away', RefuseReason.unavailable)
    return topic.startsWith('later') ? Promise.resolve() : undefined
  },
  authSubscribe(_session, subscriptions) {
    for (const subscription of subscriptions) {
      if (subscription.topic.startsWith('secret')) subscription.refused = 'secret filter'
    }
  },
  authDeliver: (_session, { topic }) => topic !== 'kept/back',
}
const bytes = (text: string): Buffer => Buffer.from(text)
const message = (topic: string, qos: 0 | 1 | 2 = 1, retain = false) => ({
  topic,
  payload: bytes(topic),
  qos,
  retain,
})

describe('a door client', () => {
  it('publishes at each QoS, and is told when the handlers have refused', async () => {
    const world = await openInspectedBroker({ handlers: [noSecrets] })
    const heard: string[] = []
    world.broker.local.subscribe('#', (topic) => heard.push(topic))
    const { client } = await openDoorClient(world)
    expect(client.clientId).toMatch(/^test-[\w-]{16}$/)
    for (const qos of [0, 1, 2] as const) {
      await client.publish(message(`open/${qos}`, qos))
      await expect(client.publish(message('secret', qos))).rejects.toMatchObject({ failure: 'forbidden' })
      await expect(client.publish(message('away', qos))).rejects.toMatchObject({ failure: 'unavailable' })
    }
    expect(heard).toEqual(['open/0', 'open/1', 'open/2'])
  })

  it('keeps apart what is under way at once, also where handlers take their time', async () => {
    const world = await openInspectedBroker({ handlers: [noSecrets] })
    const { client } = await openDoorClient(world)
    const sent = ['later', 'secret', 'open', 'later', 'away', 'open'].flatMap((topic) =>
      ([0, 1, 2] as const).map((qos) => client.publish(message(topic, qos))),
    )
    const outcomes = await Promise.allSettled(sent)
    const said = outcomes.map((outcome) =>
      outcome.status === 'fulfilled' ? 'ok' : (outcome.reason as { failure: string }).failure,
    )
    const each = ['ok', 'forbidden', 'ok', 'ok', 'unavailable', 'ok']
    expect(said).toEqual(each.flatMap((word) => [word, word, word]))
  })

  it('is told so too where a refused publish ends the connection', async () => {
    const world = await openInspectedBroker({
      handlers: [noSecrets],
      config: { auth: { onRefusedPublish: 'disconnect' } },
    })
    for (const qos of [0, 1, 2] as const) {
      const { client, closed } = await openDoorClient(world)
      await expect(client.publish(message('secret', qos))).rejects.toMatchObject({ failure: 'forbidden' })
      expect(await closed).toMatchObject({ failure: 'gone' })
      expect(client.isOpen).toBe(false)
      await expect(client.publish(message('open'))).rejects.toMatchObject({ failure: 'gone' })
    }
  })

  it('refuses by itself what would end the connection', async () => {
    const world = await openInspectedBroker({
      config: { limits: { maxPacketBytes: 2_000, maxTopicLevels: 3 }, mqtt5: { maxPropertyBytes: 1_024 } },
    })
    const { client } = await openDoorClient(world)
    for (const topic of ['', 'a/+', '#', 'a\0', 'a/b/c/d']) {
      await expect(client.publish(message(topic))).rejects.toMatchObject({ failure: 'malformed' })
      await expect(client.read(topic)).rejects.toMatchObject({ failure: 'malformed' })
    }
    for (const filter of ['', 'a#', '$share/g', 'a/b/c/d']) {
      const asked = client.subscribe([{ filter, qos: 0 }])
      await expect(asked).rejects.toMatchObject({ failure: 'malformed' })
    }
    const atMost = { ...message('a', 2), payload: Buffer.alloc(1_989) }
    await client.publish(atMost)
    const tooLarge = client.publish({ ...atMost, payload: Buffer.alloc(1_990) })
    await expect(tooLarge).rejects.toMatchObject({ failure: 'too-large' })
    const said = client.publish({ ...message('a', 1), properties: { contentType: 'x'.repeat(1_100) } })
    await expect(said).rejects.toMatchObject({ failure: 'too-large' })
    expect(client.isOpen).toBe(true)
  })

  it('publishes to no topic of the broker', async () => {
    const world = await openInspectedBroker()
    const { client } = await openDoorClient(world)
    for (const qos of [0, 1, 2] as const) {
      for (const topic of ['$SYS/x', '$tunnel/pi/ssh/x/up', '$tunnel/pi/status'])
        await expect(client.publish(message(topic, qos))).rejects.toMatchObject({ failure: 'forbidden' })
    }
  })

  it('speaks no frames of tunnels, and may hear the statuses of agents', async () => {
    const { client } = await openDoorClient(await openInspectedBroker(), { clientId: 'pi' })
    for (const filter of ['$tunnel/pi/+/+/up', '$tunnel/+/+/pi/down'])
      await expect(client.subscribe([{ filter, qos: 0 }])).rejects.toMatchObject({ failure: 'forbidden' })
    await client.subscribe([{ filter: '$tunnel/+/status', qos: 0 }])
  })

  it('reads the retained message, with the rules and the questions of a subscription', async () => {
    const world = await openInspectedBroker({ handlers: [noSecrets], mountpoint: 'home/' })
    const { client } = await openDoorClient(world)
    await client.publish(message('kept/here', 2, true))
    await client.publish(message('kept/back', 1, true))
    const found = { topic: 'kept/here', payload: bytes('kept/here'), qos: 2, retain: true }
    expect(await client.read('kept/here')).toEqual(found)
    expect(world.store.retained('home/kept/here')).toBeDefined()
    expect(await client.read('kept')).toBeUndefined()
    expect(await client.read('kept/back')).toBeUndefined()
    for (const topic of ['secret', '$share/g/kept/here', '$tunnel/a/b/up/c']) {
      await expect(client.read(topic)).rejects.toMatchObject({ failure: 'forbidden' })
    }
    expect(client.isOpen).toBe(true)
  })

  it('subscribes to all of the filters or to none', async () => {
    const world = await openInspectedBroker({ handlers: [noSecrets] })
    const { client, got } = await openDoorClient(world)
    const some = [
      { filter: 'a/+', qos: 1 },
      { filter: 'secret', qos: 0 },
    ] as const
    await expect(client.subscribe(some)).rejects.toMatchObject({ failure: 'forbidden' })
    await client.publish(message('a/1'))
    await client.subscribe([{ filter: 'b/+', qos: 2 }])
    await client.publish(message('b/1', 2))
    await client.publish(message('b/2', 1))
    await client.unsubscribe(['b/+'])
    await client.publish(message('b/3'))
    await vi.waitFor(() => expect(got.map(({ topic }) => topic)).toEqual(['b/1', 'b/2']), PATIENCE)
  })

  it('is sent no more than the window while it has acknowledged nothing', async () => {
    const world = await openInspectedBroker({ config: { limits: { maxInflight: 2 } } })
    const { client, got, owed } = await openDoorClient(world, { keepsOwing: true })
    await client.subscribe([{ filter: 'a', qos: 2 }])
    for (const qos of [1, 2, 1, 2] as const) await client.publish(message('a', qos))
    expect(got).toHaveLength(2)
    while (got.length < 4) {
      owed.shift()?.()
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(got.map(({ qos }) => qos)).toEqual([1, 2, 1, 2])
  })

  it('loses QoS 0 beyond the bound while it holds, and is ended as a slow reader', async () => {
    vi.useFakeTimers({ toFake: ['Date', 'setInterval'] })
    try {
      const world = await openInspectedBroker({
        config: { limits: { maxOutboundBytes: 2_000, drainTimeoutMs: 5_000 } },
      })
      const { client, closed, got } = await openDoorClient(world)
      await client.subscribe([{ filter: 'a', qos: 0 }])
      client.hold()
      const { client: other } = await openDoorClient(world)
      for (let i = 0; i < 10; i++) await other.publish({ ...message('a', 0), payload: Buffer.alloc(500) })
      expect(world.counters.dropped['slow-reader']).toBeGreaterThan(0)
      expect(got.length).toBeLessThan(10)
      vi.advanceTimersByTime(7_000)
      expect(await closed).toMatchObject({ failure: 'limited' })
    } finally {
      vi.useRealTimers()
    }
  })

  it('is one session for the handlers, from authConnect to one disconnect', async () => {
    const calls: string[] = []
    const sessions = new Set<Session>()
    const note = (name: string) => (session: Session) => {
      sessions.add(session)
      calls.push(name)
    }
    const handler: Handler = {
      authConnect(session) {
        note('authConnect')(session)
        calls.push(`${session.username} ${String(session.password)} ${session.peer.address}`)
      },
      connect: note('connect'),
      authPublish: note('authPublish'),
      publish: note('publish'),
      disconnect: (session, { kind }) => note(`disconnect ${kind}`)(session),
    }
    const world = await openInspectedBroker({ handlers: [handler] })
    const { client, closed } = await openDoorClient(world, { username: 'ann', password: bytes('pw') })
    await client.publish(message('a'))
    client.close()
    client.close()
    expect(await closed).toMatchObject({ failure: 'gone' })
    const who = 'ann pw 192.0.2.7'
    expect(calls).toEqual(['authConnect', who, 'connect', 'authPublish', 'publish', 'disconnect client'])
    expect(sessions.size).toBe(1)
  })

  it.each([
    [RefuseReason.badCredentials, 'bad-credentials'],
    [RefuseReason.notAuthorized, 'forbidden'],
    [RefuseReason.unavailable, 'unavailable'],
    [RefuseReason.identifierRejected, 'malformed'],
  ])('is refused at CONNECT as %s with %s, and tells nothing of why', async (reason, failure) => {
    const handler: Handler = {
      authConnect() {
        throw new AuthError('a detail', reason)
      },
    }
    const world = await openInspectedBroker({ handlers: [handler] })
    const refused = openDoorClient(world)
    await expect(refused).rejects.toMatchObject({ failure })
    await expect(refused).rejects.not.toMatchObject({ message: expect.stringContaining('detail') as string })
    expect(world.broker.connections.size).toBe(0)
  })

  it('is limited by bans, connections of its user and lengths', async () => {
    const handler: Handler = { authConnect() {} }
    const config = { limits: { maxConnectionsPerUser: 1, maxClientIdBytes: 30 } }
    const world = await openInspectedBroker({ handlers: [handler], config })
    await openDoorClient(world, { username: 'ann' })
    await expect(openDoorClient(world, { username: 'ann' })).rejects.toMatchObject({ failure: 'limited' })
    // A token has no name of its own: they are not all one user.
    for (const password of [Buffer.from('one'), Buffer.from('two')]) await openDoorClient(world, { password })
    const longId = openDoorClient(world, { clientId: 'x'.repeat(31) })
    await expect(longId).rejects.toMatchObject({ failure: 'malformed' })
    const noName = openDoorClient(world, { username: 'a\0b' })
    await expect(noName).rejects.toMatchObject({ failure: 'malformed' })
    const longName = openDoorClient(world, { username: 'x'.repeat(65_536) })
    await expect(longName).rejects.toMatchObject({ failure: 'too-large' })
    world.admission.ban('192.0.2.7', 60_000)
    await expect(openDoorClient(world)).rejects.toMatchObject({ failure: 'limited' })
  })

  it('gives an empty user name to a password without one, as MQTT 3.1.1 has it', async () => {
    const seen: unknown[] = []
    const handler: Handler = {
      authConnect: (session) => void seen.push(session.username, session.password?.toString()),
    }
    const world = await openInspectedBroker({ handlers: [handler], allowAnonymous: true })
    await openDoorClient(world, { password: bytes('token') })
    expect(seen).toEqual(['', 'token'])
  })

  it('hears why its connection was ended', async () => {
    const world = await openInspectedBroker()
    const first = await openDoorClient(world, { clientId: 'c1' })
    const second = await openDoorClient(world, { clientId: 'c1' })
    expect(await first.closed).toMatchObject({ failure: 'gone' })
    for (const connection of world.broker.connections) connection.close({ kind: 'shutdown' })
    expect(await second.closed).toMatchObject({ failure: 'unavailable' })
  })
})
