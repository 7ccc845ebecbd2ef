import mqttPacket, { type Packet as MqttPacket } from 'mqtt-packet'
import { describe, expect, it, onTestFinished } from 'vitest'
import { TraceRequest, type TracePacket } from '../../../../src/admin/api/resources.ts'
import { packetFacts } from '../../../../src/broker/trace/packet-facts.ts'
import { createTraces, type Traces } from '../../../../src/broker/trace/traces.ts'
import { AuthError, type Session } from '../../../../src/hooks/types.ts'
import { createSilentLog } from '../../../../src/log.ts'
import {
  openInspectedBroker,
  type InspectedBroker,
  type InspectedBrokerOptions,
  type PeerTransport,
} from '../../../support/inspected-broker.ts'
import { frames } from '../../../support/tunnel-frames.ts'
import {
  ackPacket,
  connectPacket,
  disconnect,
  Packet,
  pingreq,
  publishPacket,
  subscribePacket,
  unsubscribePacket,
} from '../../../support/wire.ts'

interface World extends InspectedBroker {
  readonly traces: Traces
  /** Begins one; resolves to its id. */
  readonly trace: (request: Partial<TraceRequest>) => string
  /** All that it shows now. */
  readonly shown: (id: string) => Promise<TracePacket[]>
  readonly clock: { nowMs: number }
}

function authConnect({ username }: Session): void {
  if (username === 'eve') throw new AuthError('no such user', 'bad-credentials')
}

async function openWorld(
  options: InspectedBrokerOptions & {
    readonly limits?: Partial<Parameters<typeof createTraces>[0]['limits']>
  } = {},
): Promise<World> {
  const world = await openInspectedBroker({
    allowAnonymous: true,
    handlers: [{ name: 'all', authConnect }],
    ...options,
  })
  const { broker, config } = world
  const clock = { nowMs: 0 }
  const traces = createTraces({
    broker,
    limits: { ...config.admin, ...options.limits },
    topics: { maxBytes: 4_096, maxLevels: 64 },
    pod: () => 'p1',
    log: createSilentLog(),
    now: () => clock.nowMs,
  })
  onTestFinished(() => traces.close())
  return {
    ...world,
    traces,
    clock,
    trace: (request) => traces.start(TraceRequest.parse(request)).id,
    shown: async (id) => (await traces.read(id, 0, 0))!.packets,
  }
}

/** `in PUBLISH a/b QoS 1 #7 dup`. */
function line({ direction, type, topic, qos, messageId, dup, retain, detail }: TracePacket): string {
  return [
    direction,
    type,
    ...(topic === null ? [] : [topic]),
    ...(qos === null ? [] : [`QoS ${qos}`]),
    ...(messageId === null ? [] : [`#${messageId}`]),
    ...(dup === true ? ['dup'] : []),
    ...(retain === true ? ['retain'] : []),
    ...(detail === null ? [] : [`(${detail})`]),
  ].join(' ')
}

/** Sends, and waits for what comes back: something must. */
async function exchange(client: PeerTransport, ...packets: readonly Buffer[]): Promise<void> {
  for (const packet of packets) {
    client.send(packet)
    await client.answer()
  }
}

describe('a trace of a client', () => {
  it('shows its whole life at all QoS, from the CONNECT that comes after the trace was begun', async () => {
    const { trace, shown, connect } = await openWorld()
    const id = trace({ client: 'c1' })
    await connect({ clientId: 'other' })
    const c1 = await connect({
      clientId: 'c1',
      clean: false,
      username: 'bob',
      password: 'hunter2',
      keepaliveSeconds: 60,
      will: { topic: 'gone', payload: 'x', qos: 1, retain: true },
    })
    await exchange(
      c1,
      subscribePacket(1, [
        ['a/#', 2],
        ['b', 0],
      ]),
      publishPacket({ topic: 'a/0', payload: 'hello' }),
      publishPacket({ topic: 'a/1', qos: 1, messageId: 7, payload: 'hello' }),
    )
    c1.send(ackPacket(Packet.puback, 2))
    await exchange(c1, publishPacket({ topic: 'a/2', qos: 2, messageId: 8, retain: true, dup: true }))
    await exchange(c1, ackPacket(Packet.pubrel, 8), ackPacket(Packet.pubrec, 3))
    c1.send(ackPacket(Packet.pubcomp, 3))
    await exchange(c1, unsubscribePacket(9, ['b']), pingreq)
    c1.send(disconnect)
    await expect.poll(() => c1.isEnded).toBe(true)
    expect((await shown(id)).map(line)).toEqual([
      'in CONNECT (MQTT 3.1.1, clean session 0, keep alive 60 s, username "bob", with a password, will to gone QoS 1 retain, 1 bytes)',
      'out CONNACK (accepted)',
      'in SUBSCRIBE #1 (a/# QoS 2, b QoS 0)',
      'out SUBACK #1 (QoS 2, QoS 0)',
      'in PUBLISH a/0 QoS 0 (5 bytes of payload)',
      'out PUBLISH a/0 QoS 0 (5 bytes of payload)',
      'in PUBLISH a/1 QoS 1 #7 (5 bytes of payload)',
      'out PUBLISH a/1 QoS 1 #2 (5 bytes of payload)',
      'out PUBACK #7',
      'in PUBACK #2',
      'in PUBLISH a/2 QoS 2 #8 dup retain (0 bytes of payload)',
      'out PUBLISH a/2 QoS 2 #3 (0 bytes of payload)',
      'out PUBREC #8',
      'in PUBREL #8',
      'out PUBCOMP #8',
      'in PUBREC #3',
      'out PUBREL #3',
      'in PUBCOMP #3',
      'in UNSUBSCRIBE #9 (b)',
      'out UNSUBACK #9',
      'in PINGREQ',
      'out PINGRESP',
      'in DISCONNECT',
      'in CLOSED (client)',
    ])
  })

  it('shows no password, neither as it is nor by a length, and payloads only when asked, and only their beginning', async () => {
    const { trace, shown, connect } = await openWorld()
    const plain = trace({ client: 'c1' })
    const full = trace({ client: 'c1', payload: true })
    const c1 = await connect({ clientId: 'c1', username: 'u', password: 'hunter2hunter2' })
    c1.lose()
    const again = await connect({ clientId: 'c1', username: 'u', password: 'x' })
    await exchange(
      again,
      subscribePacket(1, [['a', 0]]),
      publishPacket({ topic: 'a', payload: 'p'.repeat(10_000) }),
    )
    const packets = [...(await shown(plain)), ...(await shown(full))]
    expect(JSON.stringify(packets)).not.toContain('hunter2')
    expect(new Set(packets.filter(({ type }) => type === 'CONNECT').map(({ bytes }) => bytes)).size).toBe(1)
    expect((await shown(plain)).every(({ payload }) => payload === null)).toBe(true)
    const payloads = (await shown(full)).flatMap(({ payload }) => (payload === null ? [] : [payload]))
    expect(payloads.map((payload) => Buffer.from(payload, 'base64').toString())).toEqual([
      'p'.repeat(256),
      'p'.repeat(256),
    ])
    expect((await shown(full)).filter(({ type }) => type === 'PUBLISH').map(({ bytes }) => bytes)).toEqual([
      10_006, 10_006,
    ])
  })

  it('says why a connection ended, by whomever, and shows what is malformed', async () => {
    const { trace, shown, connect, broker, open } = await openWorld()
    const id = trace({ client: 'c1' })
    const first = await connect({ clientId: 'c1' })
    await connect({ clientId: 'c1' })
    await expect.poll(() => first.isEnded).toBe(true)
    broker.sessions.connectionOf('c1')?.close({ kind: 'kicked', detail: 'by an operator' })
    const third = await connect({ clientId: 'c1' })
    third.send(subscribePacket(1, [['a#', 0]]))
    broker.connections.forEach((connection) => connection.close({ kind: 'lost' }))
    const refused = open()
    refused.send(connectPacket({ clientId: 'c1', username: 'eve', password: 'x' }))
    await expect.poll(() => refused.isEnded).toBe(true)
    expect((await shown(id)).filter(({ type }) => type === 'CLOSED').map(line)).toEqual([
      'out CLOSED (taken-over: by 192.0.2.1)',
      'out CLOSED (kicked: by an operator)',
      "out CLOSED (protocol: '#' not alone in the last level)",
      'out CLOSED (refused: bad-credentials: no such user (all))',
    ])
  })

  it('shows frames of tunnels by type and length, and nothing of what they carry', async () => {
    const { trace, shown, connect } = await openWorld()
    const id = trace({ client: 'pi', payload: true })
    const pi = await connect({ clientId: 'pi' })
    const laptop = await connect({ clientId: 'laptop' })
    await exchange(pi, subscribePacket(1, [['$tunnel/pi/+/+/up', 0]]))
    await exchange(laptop, subscribePacket(1, [['$tunnel/+/+/laptop/down', 0]]))
    laptop.send(publishPacket({ topic: '$tunnel/pi/ssh/laptop/up', payload: frames.open(1) }))
    await pi.answer()
    const data = frames.data(1, 0, 'secret of ssh')
    pi.send(publishPacket({ topic: '$tunnel/pi/ssh/laptop/down', payload: data }))
    const packets = await shown(id)
    expect(packets.filter(({ type }) => type === 'PUBLISH').map(line)).toEqual([
      expect.stringMatching(
        /^out PUBLISH \$tunnel\/pi\/ssh\/laptop\/up QoS 0 \(tunnel frame OPEN, \d+ bytes\)$/,
      ),
      'in PUBLISH $tunnel/pi/ssh/laptop/down QoS 0 (tunnel frame DATA, 37 bytes)',
    ])
    expect(packets.every(({ payload }) => payload === null)).toBe(true)
    expect(JSON.stringify(packets)).not.toMatch(/secret|001122/)
  })
})

describe('a trace of a client of MQTT 5', () => {
  const packet5 = (packet: MqttPacket): Buffer => mqttPacket.generate(packet, { protocolVersion: 5 })

  it('shows properties and reasons in words, the topics of aliases, and no authentication data', async () => {
    const { trace, shown, open, connect } = await openWorld()
    const id = trace({ client: 'c5' })
    const c5 = open()
    c5.send(
      packet5({
        cmd: 'connect',
        protocolId: 'MQTT',
        protocolVersion: 5,
        clientId: 'c5',
        clean: true,
        keepalive: 0,
        properties: { sessionExpiryInterval: 60, receiveMaximum: 9, userProperties: { os: 'linux' } },
      }),
    )
    await c5.answer()
    c5.send(
      packet5({
        cmd: 'subscribe',
        messageId: 1,
        subscriptions: [{ topic: 'a', qos: 1, nl: true, rap: true, rh: 2 }],
        properties: { subscriptionIdentifier: 7 },
      }),
    )
    await c5.answer()
    const a = { cmd: 'publish', topic: 'a', payload: 'x', qos: 0, retain: false, dup: false } as const
    const other = await connect({ clientId: 'other' })
    other.send(publishPacket({ topic: 'a', payload: 'y' }))
    await c5.answer()
    c5.send(packet5({ ...a, properties: { contentType: 'text/plain' } }))
    c5.send(
      packet5({
        cmd: 'disconnect',
        reasonCode: 4,
        properties: { reasonString: 'bye' },
      }),
    )
    await expect.poll(() => c5.isEnded).toBe(true)
    const lines = (await shown(id)).map(line)
    expect(lines.filter((text) => text.startsWith('in '))).toEqual([
      'in CONNECT (MQTT 5, clean start 1, keep alive 0 s, no username, no password, session expiry 60 s, receive maximum 9, os="linux")',
      'in SUBSCRIBE #1 (a QoS 1 no local retain as published retain handling 2, subscription identifier 7)',
      'in PUBLISH a QoS 0 (1 bytes of payload, content type text/plain)',
      'in DISCONNECT (disconnect with will (0x04), "bye")',
      'in CLOSED (client: bye)',
    ])
    expect(lines).toContain('out PUBLISH a QoS 0 (1 bytes of payload, subscription identifier 7)')
    expect(lines).toContainEqual(expect.stringMatching(/^out CONNACK \(accepted/))
    expect(lines).toContainEqual(expect.stringMatching(/^out SUBACK #1 \(QoS 1/))
  })

  it('reads any packet of MQTT 5 so', () => {
    const topics = new Map([[3, 'long/topic']])
    const detailOf = (bytes: Buffer): readonly [string | null, string | null] => {
      const place = { bytes, packetStart: 0, bodyStart: 2, end: bytes.length, version: 5 } as const
      const facts = packetFacts({ ...place, topicOfAlias: (alias) => topics.get(alias) }, false)
      return [facts.topic, facts.detail]
    }
    const secret = Buffer.from('secret')
    const correlationData = Buffer.from('beef', 'hex')
    const publication = {
      cmd: 'publish',
      topic: '',
      payload: 'x',
      qos: 0,
      retain: false,
      dup: false,
    } as const
    const packets: readonly MqttPacket[] = [
      {
        ...publication,
        properties: { topicAlias: 3, contentType: 'text/plain', responseTopic: 'r', correlationData },
      },
      {
        ...publication,
        topic: 'a',
        properties: { subscriptionIdentifier: [1, 2], messageExpiryInterval: 5 },
      },
      { cmd: 'puback', messageId: 1, reasonCode: 0x87, properties: { reasonString: 'no' } },
      { cmd: 'puback', messageId: 1, reasonCode: 0x10 },
      { cmd: 'unsuback', messageId: 1, granted: [0, 17] },
      { cmd: 'disconnect', reasonCode: 0x8e },
      {
        cmd: 'auth',
        reasonCode: 0x18,
        properties: { authenticationMethod: 'SCRAM-SHA-256', authenticationData: secret },
      },
    ]
    expect(packets.map((packet) => detailOf(packet5(packet)))).toEqual([
      [
        'long/topic',
        '1 bytes of payload, content type text/plain, response topic r, correlation data beef, topic alias 3',
      ],
      ['a', '1 bytes of payload, expires in 5 s, subscription identifier 1 2'],
      [null, 'not authorized (0x87), "no"'],
      [null, 'no matching subscribers (0x10)'],
      [null, 'success, no subscription existed (0x11)'],
      [null, 'session taken over (0x8e)'],
      [null, 'continue authentication (0x18), authentication method SCRAM-SHA-256, with authentication data'],
    ])
  })
})

describe('a trace of topics', () => {
  it('shows what any client sends and is sent on them, and who subscribes to them, whatever its name is', async () => {
    const { trace, shown, connect } = await openWorld()
    const before = await connect({ clientId: '__proto__' })
    const id = trace({ topic: 'a/+' })
    const hostile = await connect({ clientId: 'constructor\n#/+"' })
    await exchange(
      before,
      subscribePacket(1, [
        ['b', 0],
        ['a/#', 1],
      ]),
      subscribePacket(2, [['c', 0]]),
    )
    hostile.send(publishPacket({ topic: 'a/b', qos: 1, messageId: 3 }))
    await before.answer()
    hostile.send(publishPacket({ topic: 'a/b/c' }))
    hostile.send(publishPacket({ topic: 'b' }))
    const packets = await shown(id)
    expect(packets.map((packet) => `${packet.client}: ${line(packet)}`)).toEqual([
      '__proto__: in SUBSCRIBE #1 (b QoS 0, a/# QoS 1)',
      'constructor\n#/+": in PUBLISH a/b QoS 1 #3 (0 bytes of payload)',
      '__proto__: out PUBLISH a/b QoS 1 #2 (0 bytes of payload)',
    ])
  })

  it('stays within its mountpoint, and names topics as clients do', async () => {
    const { trace, shown, connect } = await openWorld({ mountpoint: 'site/' })
    const here = trace({ topic: 'a', mountpoint: 'site/' })
    const elsewhere = trace({ topic: '#' })
    const c1 = await connect({ clientId: 'c1' })
    await exchange(c1, subscribePacket(1, [['a', 0]]), publishPacket({ topic: 'a' }))
    expect((await shown(here)).map(({ topic }) => topic)).toEqual([null, 'a', 'a'])
    expect(await shown(elsewhere)).toEqual([])
  })
})

describe('the bounds of traces', () => {
  it('shows so many a second, keeps so many, and counts what was missed, also for who asks twice', async () => {
    const { trace, traces, connect, clock } = await openWorld({
      limits: { tracePacketsPerSecond: 5, traceKept: 8 },
    })
    const id = trace({ topic: '#' })
    const c1 = await connect({ clientId: 'c1' })
    const storm = (count: number): void =>
      c1.send(Buffer.concat(Array.from({ length: count }, () => publishPacket({ topic: 'a' }))))
    storm(20)
    const first = await traces.read(id, 0, 0)
    expect(first).toMatchObject({ next: 20, missed: 15, isOpen: true })
    expect(first?.packets).toHaveLength(5)
    expect(await traces.read(id, 0, 0)).toEqual(first)
    clock.nowMs += 1_000
    storm(4)
    clock.nowMs += 1_000
    storm(5)
    // Nine in time, of which eight are kept.
    const second = await traces.read(id, 20, 0)
    expect(second).toMatchObject({ next: 29, missed: 1 })
    expect(second?.packets).toHaveLength(8)
    expect(await traces.read(id, 29, 0)).toMatchObject({ packets: [], next: 29, missed: 0 })
  })

  it('gives a slow reader its packets in portions', async () => {
    const { trace, traces, connect } = await openWorld({ limits: { tracePacketsPerSecond: 10_000 } })
    const id = trace({ topic: '#' })
    const c1 = await connect({ clientId: 'c1' })
    c1.send(Buffer.concat(Array.from({ length: 1_200 }, () => publishPacket({ topic: 'a' }))))
    const counts: number[] = []
    let missed = 0
    let after = 0
    for (let count = 1; count > 0;) {
      const { packets, next, missed: ofBatch } = (await traces.read(id, after, 0))!
      count = packets.length
      if (count > 0) counts.push(count)
      missed += ofBatch
      after = next
    }
    expect([counts, missed]).toEqual([[500, 500, 200], 0])
  })

  it('cuts long topics, so that what is kept has a bound', async () => {
    const { trace, shown, connect } = await openWorld()
    const id = trace({ topic: '#', payload: true })
    const c1 = await connect({ clientId: 'c1' })
    c1.send(publishPacket({ topic: 'ä'.repeat(2_000), payload: Buffer.alloc(100_000) }))
    const [packet] = await shown(id)
    expect(packet?.topic).toHaveLength(256)
    expect(Buffer.byteLength(JSON.stringify(packet))).toBeLessThan(1_200)
  })

  it('ends by itself when nobody reads, and leaves no tap behind', async () => {
    const { trace, traces, connect, clock, broker, open } = await openWorld({
      limits: { traceIdleMs: 1_000 },
    })
    const early = await connect({ clientId: 'c1' })
    const silent = open()
    const taps = (): number => [...broker.connections].filter(({ tap }) => tap !== undefined).length
    expect([taps(), broker.tap]).toEqual([0, undefined])
    const byClient = trace({ client: 'c1' })
    // Its own, and the one that has not said yet who it is.
    expect(taps()).toBe(2)
    silent.send(connectPacket({ clientId: 'c2' }))
    await silent.answer()
    expect(taps()).toBe(1)
    const byTopic = trace({ topic: 'a' })
    expect(taps()).toBe(2)
    clock.nowMs = 900
    await traces.read(byTopic, 0, 0)
    clock.nowMs = 1_000
    traces.sweep()
    expect(await traces.read(byClient, 0, 0)).toBeUndefined()
    expect(await traces.read(byTopic, 0, 0)).toMatchObject({ isOpen: true })
    clock.nowMs = 2_000
    traces.sweep()
    expect(await traces.read(byTopic, 0, 0)).toBeUndefined()
    expect([taps(), broker.tap, traces.stop(byTopic)]).toEqual([0, undefined, false])
    await exchange(early, pingreq)
  })

  it('runs so many, refuses what is not a filter, and is not idle while a reader waits', async () => {
    const { trace, traces, clock } = await openWorld({ limits: { maxTraces: 2, traceIdleMs: 1_000 } })
    const waiting = trace({ client: 'c1' })
    trace({ topic: 'a' })
    expect(() => trace({ client: 'c2' })).toThrow(expect.objectContaining({ code: 'TMQ_LIMIT' }) as Error)
    const read = traces.read(waiting, 0, 5_000)
    clock.nowMs = 5_000
    traces.sweep()
    // The other one has ended.
    expect(() => trace({ topic: 'a#' })).toThrow(expect.objectContaining({ code: 'TMQ_USAGE' }) as Error)
    expect(trace({ client: 'c2' })).toMatch(/^[0-9a-f]{16}$/)
    expect(traces.stop(waiting)).toBe(true)
    expect(await read).toEqual({ packets: [], next: 0, missed: 0, isOpen: false })
  })

  it('answers a reader that waits when the first packet comes, with all of that turn', async () => {
    const { trace, traces, connect } = await openWorld()
    const id = trace({ topic: '#' })
    const c1 = await connect({ clientId: 'c1' })
    const read = traces.read(id, 0, 10_000)
    c1.send(Buffer.concat([publishPacket({ topic: 'a' }), publishPacket({ topic: 'b' })]))
    expect((await read)?.packets.map(({ topic }) => topic)).toEqual(['a', 'b'])
    expect(await traces.read('0000000000000000', 0, 10_000)).toBeUndefined()
    expect(await traces.read('constructor', 0, 0)).toBeUndefined()
  })
})
