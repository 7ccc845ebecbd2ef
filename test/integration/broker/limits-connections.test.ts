import { describe, expect, it } from 'vitest'
import { connectRaw, eventOf, openBroker, openRaw, refusalCode } from '../../support/broker-world.ts'
import { connectPacket, publishPacket } from '../../support/wire.ts'

describe('limits of connections', () => {
  it.each([
    ['maxConnections', 'max-connections'],
    ['maxConnectionsPerAddress', 'address-max-connections'],
  ])('%s: one more is refused, and a place that is given up is free again', async (limit, reason) => {
    const broker = await openBroker({ limits: { [limit]: 2 } })
    const first = await connectRaw(broker.port, { clientId: 'c1' })
    await connectRaw(broker.port, { clientId: 'c2' })
    await (await openRaw(broker.port)).untilClosed()
    expect(await eventOf(broker, 'connection refused')).toMatchObject({ reason })
    await first.disconnect()
    await expect
      .poll(async () => (await openRaw(broker.port)).connect({ clientId: 'c3' }).catch(() => undefined))
      .toMatchObject({ code: 0 })
  })

  it.each([
    ['connectionsPerSecond', 'connect-rate'],
    ['connectionsPerSecondPerAddress', 'address-connect-rate'],
  ])('%s: faster ones are refused, later ones are not', async (limit, reason) => {
    const broker = await openBroker({ limits: { [limit]: 2 } })
    const clients = await Promise.all(Array.from({ length: 20 }, () => openRaw(broker.port)))
    const answers = await Promise.all(
      clients.map((client, index) => client.connect({ clientId: `c${index}` }).catch(() => undefined)),
    )
    expect(answers.filter((answer) => answer !== undefined).length).toBeGreaterThanOrEqual(2)
    expect(answers.filter((answer) => answer === undefined).length).toBeGreaterThanOrEqual(1)
    expect(await eventOf(broker, 'connection refused')).toMatchObject({ reason })
    await expect
      .poll(async () => (await openRaw(broker.port)).connect({ clientId: 'late' }).catch(() => undefined), {
        timeout: 10_000,
        interval: 200,
      })
      .toMatchObject({ code: 0 })
  })

  it('maxConnectionsPerUser: CONNACK 3 for one more of the same name, until one has gone', async () => {
    const broker = await openBroker({ limits: { maxConnectionsPerUser: 1 } }, { authConnect() {} })
    const first = await connectRaw(broker.port, { clientId: 'c1', username: 'ann' })
    expect(await refusalCode(broker.port, { clientId: 'c2', username: 'ann' })).toBe(3)
    expect(await eventOf(broker, 'connection refused')).toMatchObject({
      reason: 'max-connections',
      username: 'ann',
      detail: 'too many connections of this user',
    })
    await connectRaw(broker.port, { clientId: 'c3', username: 'bob' })
    await connectRaw(broker.port, { clientId: 'c4' })
    await connectRaw(broker.port, { clientId: 'c5' })
    await first.disconnect()
    await eventOf(broker, 'client disconnected', { client: 'c1' })
    await connectRaw(broker.port, { clientId: 'c2', username: 'ann' })
  })

  it('maxConnectionsPerUser does not count a connection that is lost while authConnect is asked', async () => {
    let ask: (signal: AbortSignal) => void = () => {}
    let answer: () => void = () => {}
    const asked = new Promise<AbortSignal>((resolve) => (ask = resolve))
    const answered = new Promise<void>((resolve) => (answer = resolve))
    const broker = await openBroker(
      { limits: { maxConnectionsPerUser: 1 } },
      {
        async authConnect({ id, signal }) {
          if (id !== 'c1') return
          ask(signal)
          await answered
        },
      },
    )
    const lost = await openRaw(broker.port)
    lost.send(connectPacket({ clientId: 'c1', username: 'ann' }))
    const signal = await asked
    const isGone = new Promise((resolve) => signal.addEventListener('abort', resolve))
    await lost.destroy()
    await isGone
    answer()
    await connectRaw(broker.port, { clientId: 'c2', username: 'ann' })
  })

  it('maxConnectionsPerUser does not keep a client from coming back before its old connection is known to be dead', async () => {
    const broker = await openBroker({ limits: { maxConnectionsPerUser: 1 } }, { authConnect() {} })
    const old = await connectRaw(broker.port, { clientId: 'c1', username: 'ann' })
    await connectRaw(broker.port, { clientId: 'c1', username: 'ann' })
    await old.untilClosed()
  })

  it('connectTimeoutMs: who sends no complete CONNECT is cut, however the bytes drip', async () => {
    const broker = await openBroker({ limits: { connectTimeoutMs: 100 } })
    const silent = await openRaw(broker.port)
    const slow = await openRaw(broker.port)
    slow.send(connectPacket({ clientId: 'c1' }).subarray(0, 10))
    await Promise.all([silent.untilClosed(), slow.untilClosed()])
    expect(await eventOf(broker, 'connection refused')).toMatchObject({
      reason: 'connect-timeout',
      address: '127.0.0.1',
    })
  })

  it('maxConnectBytes: a larger packet before CONNACK is cut at its header, before it is there', async () => {
    const broker = await openBroker({ limits: { maxConnectBytes: 100 } })
    const client = await openRaw(broker.port)
    client.send(Buffer.of(0x10, 0xff, 0xff, 0xff, 0x7f)) // 256 MiB are announced
    await client.untilClosed()
    expect(await eventOf(broker, 'connection refused')).toMatchObject({ reason: 'limit' })
    await connectRaw(broker.port, { clientId: 'c1' })
  })

  it('maxKeepaliveSeconds: a longer one, or none, is CONNACK 2', async () => {
    const broker = await openBroker({ limits: { maxKeepaliveSeconds: 60 } })
    expect(await refusalCode(broker.port, { clientId: 'c1', keepaliveSeconds: 61 })).toBe(2)
    expect(await refusalCode(broker.port, { clientId: 'c1', keepaliveSeconds: 0 })).toBe(2)
    await connectRaw(broker.port, { clientId: 'c1', keepaliveSeconds: 60 })
  })

  it('maxClientIdBytes counts bytes, not characters', async () => {
    const broker = await openBroker({ limits: { maxClientIdBytes: 6 } })
    await connectRaw(broker.port, { clientId: 'äöü' })
    expect(await refusalCode(broker.port, { clientId: 'äöüx' })).toBe(2)
  })

  it('closes a client that is silent for one and a half of its keep-alive times, and no other', async () => {
    const broker = await openBroker()
    const silent = await connectRaw(broker.port, { clientId: 'silent', keepaliveSeconds: 1 })
    const quiet = await connectRaw(broker.port, { clientId: 'quiet', keepaliveSeconds: 0 })
    await silent.untilClosed()
    expect(await eventOf(broker, 'client disconnected')).toMatchObject({
      client: 'silent',
      reason: 'keepalive',
    })
    await quiet.ping()
  })

  it('session.maxSessions: one more persistent session is CONNACK 3; those that exist go on', async () => {
    const broker = await openBroker({ session: { maxSessions: 1 } })
    const first = await connectRaw(broker.port, { clientId: 'c1', clean: false })
    expect(await refusalCode(broker.port, { clientId: 'c2', clean: false })).toBe(3)
    await first.disconnect()
    await connectRaw(broker.port, { clientId: 'c1', clean: false })
    await connectRaw(broker.port, { clientId: 'c2' })
  })
})

describe('limits of packets', () => {
  const endOf = async (limits: object, ...bytes: Buffer[]) => {
    const broker = await openBroker({ limits })
    const client = await connectRaw(broker.port, { clientId: 'c1' })
    client.send(...bytes)
    await client.untilClosed()
    const { reason, detail } = await eventOf(broker, 'client disconnected', { client: 'c1' })
    return { reason, detail }
  }

  it('maxPacketBytes: a larger packet ends the connection at its header', async () => {
    expect(await endOf({ maxPacketBytes: 1_000 }, Buffer.of(0x30, 0xff, 0xff, 0xff, 0x7f))).toMatchObject({
      reason: 'limit',
      detail: expect.stringContaining('1000 are allowed') as string,
    })
  })

  it('maxPacketBytes: one of just that size goes through', async () => {
    const broker = await openBroker({ limits: { maxPacketBytes: 1_000 } })
    const client = await connectRaw(broker.port, { clientId: 'c1' })
    await client.subscribe(['a', 0])
    const packet = publishPacket({ topic: 'a', payload: 'x'.repeat(1_000 - 3 - 3) })
    expect(packet.length).toBe(1_000)
    client.send(packet)
    expect((await client.next('publish')).payload).toHaveLength(994)
  })

  it('packetTimeoutMs: a packet that is not complete in time ends the connection', async () => {
    expect(await endOf({ packetTimeoutMs: 100 }, publishPacket({ topic: 'a' }).subarray(0, 3))).toEqual({
      reason: 'limit',
      detail: 'packet not complete in time',
    })
  })

  it('maxTopicBytes and maxTopicLevels hold for topics', async () => {
    const limits = { maxTopicBytes: 10, maxTopicLevels: 3 }
    expect(await endOf(limits, publishPacket({ topic: 'a'.repeat(11) }))).toEqual({
      reason: 'protocol',
      detail: 'longer than 10 bytes',
    })
    expect(await endOf(limits, publishPacket({ topic: '1/2/3/4' }))).toEqual({
      reason: 'protocol',
      detail: 'more than 3 levels',
    })
  })

  it.each(['12345678901', '$share/g/12345678901', '1/2/3/4', '$share/g/1/2/3/4'])(
    'maxTopicBytes and maxTopicLevels hold for filters: %s',
    async (filter) => {
      const broker = await openBroker({ limits: { maxTopicBytes: 10, maxTopicLevels: 3 } })
      const client = await connectRaw(broker.port, { clientId: 'c1' })
      expect(await client.subscribe(['1234567890', 0], ['$share/g/1/2/3', 0])).toEqual([0, 0])
      await expect(client.subscribe([filter, 0])).rejects.toThrow(/the end/)
    },
  )

  it('maxSubscriptionsPerClient: one more is SUBACK 0x80; a renewed one and a freed place are not', async () => {
    const broker = await openBroker({ limits: { maxSubscriptionsPerClient: 2 } })
    const client = await connectRaw(broker.port, { clientId: 'c1' })
    expect(await client.subscribe(['a', 0], ['b', 0], ['c', 0])).toEqual([0, 0, 0x80])
    expect(await client.subscribe(['a', 1], ['c', 0])).toEqual([1, 0x80])
    await client.unsubscribe('b')
    expect(await client.subscribe(['c', 0])).toEqual([0])
  })
})
