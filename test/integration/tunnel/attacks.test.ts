import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ResetCode } from '../../../src/tunnel/protocol/reset-code.ts'
import { eventOf, eventsOf, openRaw, refusalCode, temporaryFolder } from '../../support/broker-world.ts'
import { frames, seen } from '../../support/tunnel-frames.ts'
import {
  DOWN,
  OPEN_ACL,
  openTunnelBroker,
  openVictim,
  STRICT_ACL,
  UP,
  VictimStream,
} from '../../support/tunnel-peers.ts'
import { pingreq, publishPacket } from '../../support/wire.ts'
import { replaceFile } from '../../support/replace-file.ts'

const FORBIDDEN = 'tunnelmq_tunnel_frames_dropped_total'

/** Rules of the broker hold whatever handlers allow. */
const rights = [
  ['rights of its own', STRICT_ACL],
  ['all rights', OPEN_ACL],
] as const

describe.each(rights)('a client with %s', (_title, acl) => {
  it('cannot read the frames of others, by whichever filter', async () => {
    const { mallory, victim, metric } = await openVictim(acl)
    const filters = [
      '$tunnel',
      '$tunnel/',
      '$tunnel/#',
      '$tunnel/+',
      '$tunnel/+/+/+/+',
      '$tunnel/+/+/+/up',
      '$tunnel/+/+/+/down',
      '$tunnel/+/#',
      '$tunnel/pi7/#',
      '$tunnel/pi7/+/+/up',
      '$tunnel/pi7/ssh/+/up',
      '$tunnel/+/+/laptop/down',
      UP,
      DOWN,
      '$tunnel/mallory/+/+/down',
      '$tunnel/mallory/+/+/+',
      '$tunnel/+/+/mallory/up',
      '$share/g/$tunnel/#',
      '$share/g/$tunnel/pi7/+/+/up',
      '$share/g/$tunnel/mallory/+/+/up',
      '$share/g/$tunnel/+/status',
    ]
    for (const filter of filters)
      expect([filter, await mallory.raw.subscribe([filter, 2])]).toEqual([filter, [0x80]])
    // These match nothing of it.
    const wildcards = ['#', '+/#', '+/+/+/+/+', '+/pi7/ssh/laptop/up', '$share/g/#']
    for (const filter of wildcards) expect(await mallory.raw.subscribe([filter, 1])).toHaveLength(1)
    await mallory.serve('mallory')
    await mallory.listen('mallory')
    for (let i = 0; i < 5; i++) await victim.exchange()
    expect(await mallory.rest()).toEqual([])
    expect(await metric('tunnelmq_tunnel_frames_total', 'up')).toBeGreaterThan(10)
  })

  it.each([0, 1, 2])('cannot speak in the place of another, at QoS %i', async (qos) => {
    const { mallory, victim, metric, broker } = await openVictim(acl)
    await mallory.listen('mallory')
    await mallory.serve('mallory')
    const forged = [
      frames.data(7, 600, 'injected'),
      frames.data(7, 0, 'injected', { fin: true }),
      frames.ack(7, { acked: 600, limit: 1e9 }),
      frames.resume(7),
      frames.open(7, { token: 'ffeeddccbbaa9988' }),
      frames.open(8),
      frames.accept(7),
      frames.ping(7),
      frames.reset(7, ResetCode.reset),
      Buffer.from('not a frame'),
    ]
    // Where there is a stream, and where there is none yet.
    const elsewhere = ['$tunnel/pi7/web/laptop/up', '$tunnel/pi7/web/laptop/down']
    for (const topic of [UP, DOWN, ...elsewhere])
      for (const payload of forged) await mallory.raw.publish({ topic, payload, qos })
    const answers = await mallory.rest()
    expect(answers).toHaveLength(32)
    expect(new Set(answers.map((line) => line.replace(/\d+/, 'N')))).toEqual(new Set(['reset N forbidden']))
    await victim.exchange()
    expect(await metric(FORBIDDEN, 'forbidden')).toBe(40)
    expect(await metric('tunnelmq_tunnel_streams')).toBe(1)
    expect(eventsOf(broker, 'tunnel frame in the place of another')).toMatchObject([
      { client: 'mallory', username: 'mallory', topic: UP, address: '127.0.0.1' },
    ])
    // Nobody else has got any of it either.
    expect(await metric('tunnelmq_retained_messages')).toBe(0)
  })

  it('cannot speak as one end of a stream whose other end it is', async () => {
    const { agent, client, victim } = await openVictim(acl)
    client.send(DOWN, frames.data(7, 600, 'as the agent'))
    agent.send(UP, frames.data(7, 600, 'as the client'))
    expect([await agent.rest(), await client.rest()]).toEqual([[], []])
    await victim.exchange()
  })

  it('cannot take the place of an agent: its filter, its status, its will', async () => {
    const { mallory, agent, client, victim, broker } = await openVictim(acl)
    const status = '{"online":true,"services":["ssh"],"host":"real"}'
    await agent.raw.publish({ topic: '$tunnel/pi7/status', payload: status, qos: 1, retain: true })
    expect(await mallory.raw.subscribe(['$tunnel/pi7/+/+/up', 0])).toEqual([0x80])
    await mallory.serve('mallory')
    for (const qos of [0, 1, 2])
      await mallory.raw.publish({
        topic: '$tunnel/pi7/status',
        payload: '{"online":false}',
        retain: true,
        qos,
      })
    for (const topic of ['$tunnel/pi7/status', UP, '$tunnel/x', '$tunnel/mallory/+/up']) {
      const fields = { clientId: 'mallory2', username: 'mallory', password: 'pw-mallory' }
      expect(await refusalCode(broker.port, { ...fields, will: { topic, payload: 'x', retain: true } })).toBe(
        5,
      )
    }
    expect(await client.raw.subscribe(['$tunnel/+/status', 1])).toEqual([1])
    expect(await client.raw.next('publish')).toMatchObject({
      topic: '$tunnel/pi7/status',
      payload: Buffer.from(status),
      retain: true,
    })
    await victim.exchange()
  })

  it('that takes over the client id of another does not get its streams', async () => {
    const { as, agent, client, metric, broker } = await openVictim(acl)
    const mallory = await as('mallory', { clientId: 'laptop' })
    await client.raw.untilClosed()
    agent.send(DOWN, frames.data(7, 600, 'secret'))
    await mallory.listen('laptop')
    expect(await agent.next()).toMatchObject({ type: 'reset', stream: 7, code: 'forbidden' })
    agent.send(DOWN, frames.data(7, 600, 'secret'))
    mallory.send(UP, frames.resume(7, { acked: 600 }), frames.data(7, 600, 'injected'))
    expect(await mallory.rest()).toEqual(['reset 7 forbidden', 'reset 7 forbidden'])
    expect(await agent.rest()).toEqual(['reset 7 forbidden'])
    expect(await metric('tunnelmq_tunnel_streams_ended_total', 'forbidden')).toBe(1)
    expect(await eventOf(broker, 'stream ended')).toMatchObject({
      agent: 'pi7',
      client: 'laptop',
      username: 'ann',
      reason: 'forbidden',
      bytesUp: 600,
      // What was sent to nobody as well.
      bytesDown: 606,
    })
  })

  it('that takes over a client id while the agent is away does not get the streams either', async () => {
    const { as, agent, client } = await openVictim(acl)
    await agent.raw.destroy()
    const mallory = await as('mallory', { clientId: 'laptop' })
    await client.raw.untilClosed()
    await mallory.listen('laptop')
    const again = await (await as('pi7')).serve('pi7')
    again.send(DOWN, frames.resume(7), frames.data(7, 600, 'secret'))
    mallory.send(UP, frames.resume(7))
    expect(await again.rest()).toEqual(['reset 7 forbidden', 'reset 7 forbidden'])
    expect(await mallory.rest()).toEqual(['reset 7 forbidden'])
  })
})

describe('whoever looks into the store', () => {
  it('finds nothing that is kept: no frame is retained, queued, or in the files of the store', async () => {
    const path = join(await temporaryFolder(), 'store')
    const marker = 'THE-BYTES-OF-THE-STREAM'
    const { as, agent, client, victim, metric, broker } = await openVictim(OPEN_ACL, {
      store: { type: 'embedded', path },
    })
    // An agent with a stored session, and frames as messages that are to be kept.
    const stored = await (await as('pi7', { clientId: 'pi8', clean: false })).serve('pi8')
    await stored.raw.destroy()
    for (const qos of [0, 1, 2]) {
      await client.raw.publish({ topic: UP, payload: frames.data(7, 600, marker), qos, retain: true })
      expect(await agent.next()).toMatchObject({ payload: marker })
      expect(agent.raw.received.at(-1)).toMatchObject({ retain: false, qos: 0, dup: false })
      await client.raw.publish({
        topic: '$tunnel/pi8/ssh/laptop/up',
        payload: frames.open(qos, { more: { marker } }),
        qos,
        retain: true,
      })
    }
    await client.rest()
    expect(await metric('tunnelmq_retained_messages')).toBe(0)
    expect(await metric('tunnelmq_queued_messages')).toBe(0)
    const again = await openRaw(broker.port)
    const fields = { clientId: 'pi8', username: 'pi7', password: 'pw-pi7', clean: false }
    expect(await again.connect(fields)).toMatchObject({ code: 0, sessionPresent: true })
    await again.ping()
    expect(again.waitingMessages).toEqual([])
    // Subscriptions to frames last as long as their connection.
    client.send('$tunnel/pi8/ssh/laptop/up', frames.open(9))
    expect(await client.rest()).toEqual(['reset 9 agent-offline'])
    await again.destroy()
    await victim.agent.raw.destroy()
    await broker.stop()
    const files = await readdir(path)
    expect(files.length).toBeGreaterThan(2)
    const bytes = Buffer.concat(await Promise.all(files.map((file) => readFile(join(path, file)))))
    expect(bytes.includes('pi8')).toBe(true)
    expect(bytes.includes(marker)).toBe(false)
    expect(bytes.includes('/ssh/laptop')).toBe(false)
  })
})

describe('a client without the right to a service', () => {
  it('is told so by RESET, and the agent hears nothing of it', async () => {
    const { mallory, agent, victim, metric, broker } = await openVictim(STRICT_ACL)
    await mallory.listen('mallory')
    mallory.send('$tunnel/pi7/ssh/mallory/up', frames.open(1), frames.data(1, 0, 'hello'), frames.resume(2))
    expect(await mallory.rest()).toEqual(['reset 1 forbidden', 'reset 1 unknown-stream', 'reset 2 forbidden'])
    expect(await agent.rest()).toEqual([])
    mallory.send('$tunnel/pi7/web/mallory/up', frames.open(3))
    expect(await agent.next()).toMatchObject({ type: 'open', topic: '$tunnel/pi7/web/mallory/up' })
    await victim.exchange()
    expect(await metric('tunnelmq_tunnel_streams_refused_total', 'forbidden')).toBe(2)
    expect(await eventOf(broker, 'stream refused', { stream: 1 })).toMatchObject({
      agent: 'pi7',
      service: 'ssh',
      client: 'mallory',
      username: 'mallory',
      address: '127.0.0.1',
      port: expect.any(Number) as number,
      reason: 'forbidden',
    })
  })

  it('cannot serve a name that is not given to it, though it is its client id', async () => {
    const { as } = await openTunnelBroker(STRICT_ACL)
    const filters = [
      ['$tunnel/pi9/+/+/up', 0],
      ['$tunnel/+/+/pi9/down', 0],
    ] as const
    const modern = await as('mallory', { clientId: 'pi9', version: 5 })
    expect(await modern.raw.subscribe(...filters)).toEqual([0x87, 0])
    const agent = await as('mallory', { clientId: 'pi9' })
    expect(await agent.raw.subscribe(...filters)).toEqual([0x80, 0])
    await agent.raw.publish({ topic: '$tunnel/pi9/status', payload: '{"online":true}', qos: 1, retain: true })
    const reader = await as('ann', { clientId: 'laptop' })
    await reader.raw.subscribe(['$tunnel/+/status', 0])
    expect(await reader.rest()).toEqual([])
  })

  it('loses what it has when the list is changed: both ends are told, others go on', async () => {
    const { agent, client, as, broker, aclFile, metric } = await openVictim(STRICT_ACL)
    // Of MQTT 5, with aliases.
    const properties = { topicAliasMaximum: 4 }
    const other = await (await as('mallory', { version: 5, properties })).listen('mallory')
    const web = { up: '$tunnel/pi7/web/mallory/up', down: '$tunnel/pi7/web/mallory/down' }
    const stays = await new VictimStream(agent, other, 1, web).open()
    await replaceFile(aclFile, STRICT_ACL.replace('topic write $tunnel/pi7/ssh/laptop/up', ''))
    expect(await client.next()).toMatchObject({ type: 'reset', stream: 7, code: 'revoked' })
    expect(await agent.next()).toMatchObject({ type: 'reset', stream: 7, code: 'revoked', topic: UP })
    await stays.exchange()
    expect(await metric('tunnelmq_tunnel_streams_ended_total', 'revoked')).toBe(1)
    client.send(UP, frames.open(8))
    expect(await client.rest()).toEqual(['reset 8 forbidden'])
    // The agent's as well.
    await replaceFile(aclFile, STRICT_ACL.replace('topic read $tunnel/pi7/#', ''))
    expect(await other.next()).toMatchObject({ type: 'reset', code: 'revoked' })
    expect(await agent.next()).toMatchObject({ type: 'reset', code: 'revoked', topic: web.up })
    other.send(web.up, frames.open(2))
    expect(await other.rest()).toEqual(['reset 2 agent-offline'])
    expect(eventsOf(broker, 'tunnel right revoked')).toHaveLength(2)
  })
})

describe('a client that floods', () => {
  it('beyond its credit loses that stream at both ends, and neither its connection nor its other streams', async () => {
    const { agent, client, victim, metric } = await openVictim(OPEN_ACL)
    client.send(
      UP,
      frames.open(8),
      frames.data(8, 0, Buffer.alloc(65_536)),
      frames.data(8, 65_536, 'too much'),
    )
    expect(await client.next()).toMatchObject({ type: 'reset', stream: 8, code: 'protocol' })
    const got = [await agent.next(), await agent.next(), await agent.next()]
    expect(got.map(({ type }) => type)).toEqual(['open', 'data', 'reset'])
    expect(got[2]).toMatchObject({ code: 'protocol', reason: 'DATA up to 65544, credit up to 65536' })
    await victim.exchange()
    expect(await metric(FORBIDDEN, 'credit')).toBe(1)
  })

  it('with OPEN gets as many streams as are allowed, and the others theirs', async () => {
    const { agent, mallory, victim, metric } = await openVictim(OPEN_ACL, {
      tunnel: { maxStreamsPerClient: 10 },
    })
    await mallory.listen('mallory')
    const ids = Array.from({ length: 5_000 }, (_, id) => id)
    mallory.send('$tunnel/pi7/ssh/mallory/up', ...ids.map((id) => frames.open(id)))
    const answers = await mallory.rest()
    expect(answers).toHaveLength(4_990)
    expect(answers.every((line) => line.endsWith(' limit'))).toBe(true)
    expect(await agent.rest()).toHaveLength(10)
    mallory.send('$tunnel/pi7/ssh/mallory/up', ...ids.map((id) => frames.resume(10_000 + id)))
    expect(await mallory.rest()).toHaveLength(5_000)
    expect(await metric('tunnelmq_tunnel_streams')).toBe(11)
    expect(await metric('tunnelmq_tunnel_streams_refused_total', 'limit')).toBe(9_990)
    await victim.exchange()
  })

  it('with agents that do not exist leaves nothing in the broker', async () => {
    const { mallory, victim, metric } = await openVictim(OPEN_ACL)
    await mallory.listen('mallory')
    for (let i = 0; i < 3_000; i++) mallory.send(`$tunnel/agent-${i}/ssh/mallory/up`, frames.open(i))
    expect(await mallory.rest()).toHaveLength(3_000)
    expect(await metric('tunnelmq_tunnel_streams')).toBe(1)
    await victim.exchange()
  })

  it('is told within the same round trip that an agent is not there', async () => {
    const { client } = await openVictim(OPEN_ACL)
    const open = publishPacket({ topic: '$tunnel/pi9/ssh/laptop/up', payload: frames.open(9) })
    const before = client.raw.received.length
    client.raw.send(open, pingreq)
    await client.raw.next('pingresp')
    expect(client.raw.received.slice(before).map(({ type }) => type)).toEqual(['publish', 'pingresp'])
    expect(await client.next()).toMatchObject({ code: 'agent-offline', reason: 'agent pi9 is not connected' })
  })

  it('does not fill the broker when the agent reads nothing, and other agents go on', async () => {
    const { as, agent, client, metric } = await openVictim(OPEN_ACL, { tunnel: { maxPendingBytes: 262_144 } })
    const other = await (await as('pi7', { clientId: 'pi8' })).serve('pi8')
    const topics = { up: '$tunnel/pi8/ssh/laptop/up', down: '$tunnel/pi8/ssh/laptop/down' }
    const stream = await new VictimStream(other, client, 1, topics).open()
    agent.raw.pauseReading()
    const chunk = Buffer.alloc(65_536)
    for (let i = 0; i < 300; i++) {
      client.send(UP, frames.data(7, 600 + i * chunk.length, chunk))
      if (i % 10 === 0) await stream.exchange()
    }
    // What the system's buffers take is not ours.
    expect(await metric(FORBIDDEN, 'slow')).toBeGreaterThan(100)
    await stream.exchange()
    agent.raw.resumeReading()
    await agent.rest()
    client.send(UP, frames.data(7, 600, 'again'))
    expect(await agent.next()).toMatchObject({ type: 'data', payload: 'again' })
  })
})

describe('a client that sends nonsense', () => {
  it('is answered, frame by frame, for thousands of them; its connection and all other streams go on', async () => {
    const { mallory, agent, victim, metric } = await openVictim(OPEN_ACL)
    await mallory.listen('mallory')
    await mallory.serve('mallory')
    const topics = [
      '$tunnel/pi7/ssh/mallory/up',
      '$tunnel/mallory/ssh/laptop/down',
      '$tunnel/mallory/ssh/mallory/up',
      '$tunnel/mallory/ssh/mallory/down',
      '$tunnel/mallory/status',
      '$tunnel/mallory',
      '$tunnel/a/b/c/d/e/f',
      '$tunnel/ä/ö/ü/up',
      UP,
      DOWN,
    ]
    const header = fc
      .tuple(fc.nat(10), fc.nat(4), fc.nat(8), fc.uint8Array({ minLength: 0, maxLength: 60 }))
      .map(([type, flags, id, rest]) => Buffer.concat([Buffer.of(type, flags, 0, 0, 0, id), rest]))
    const payload = fc.oneof(
      header,
      fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes)),
    )
    const packets = fc.sample(fc.tuple(fc.constantFrom(...topics), payload, fc.boolean()), {
      numRuns: 5_000,
      seed: 7,
    })
    for (let i = 0; i < packets.length; i += 500) {
      for (const [topic, bytes, retain] of packets.slice(i, i + 500))
        mallory.raw.send(publishPacket({ topic, payload: bytes, retain }))
      await mallory.rest()
      await agent.rest()
      // What mallory says as an agent to the client of another is the one thing that reaches it.
      const reached = await victim.client.rest()
      expect(reached.filter((line) => !/^(resume|reset) [0-8]/.test(line))).toEqual([])
      await victim.exchange()
    }
    expect(await metric(FORBIDDEN, 'malformed')).toBeGreaterThan(1_000)
    expect(await metric('tunnelmq_unhandled_errors_total')).toBe(0)
    expect(await mallory.raw.pingOrClose()).toBe('answered')
  })

  it('as its status is not believed', async () => {
    const { as, client } = await openVictim(OPEN_ACL)
    const agent = await (await as('mallory')).serve('mallory')
    await client.raw.subscribe(['$tunnel/+/status', 0])
    const odd = [
      '{',
      '[]',
      'null',
      '{"services":[]}',
      JSON.stringify({ online: true, x: 'x'.repeat(5_000) }),
      '\u0000',
    ]
    for (const payload of odd)
      await agent.raw.publish({ topic: '$tunnel/mallory/status', payload, qos: 1, retain: true })
    expect(await client.rest()).toEqual([])
    await agent.raw.publish({
      topic: '$tunnel/mallory/status',
      payload: '{"online":true,"services":[]}',
      qos: 2,
    })
    // Always the retained one, and seen under its name only.
    const late = await as('ann', { clientId: 'late' })
    await late.raw.subscribe(['$tunnel/mallory/status', 1])
    expect(await late.raw.next('publish')).toMatchObject({ retain: true })
    expect(await client.rest()).toEqual(['status $tunnel/mallory/status'])
  })

  it('with its own status as will loses only that: the broker tells itself when it is gone', async () => {
    const { as, client } = await openVictim(OPEN_ACL)
    const agent = await as('mallory', {
      will: { topic: '$tunnel/mallory/status', payload: '{"online":true,"services":["fake"]}', retain: true },
    })
    await agent.serve('mallory')
    await agent.raw.publish({
      topic: '$tunnel/mallory/status',
      payload: '{"online":true,"services":["a"],"host":"h"}',
      qos: 1,
    })
    await client.raw.subscribe(['$tunnel/+/status', 0])
    expect(JSON.parse((await client.raw.next('publish')).payload.toString())).toMatchObject({ online: true })
    await agent.raw.destroy()
    const last = await client.raw.next('publish')
    expect(JSON.parse(last.payload.toString())).toEqual({
      online: false,
      services: ['a'],
      host: 'h',
      streams: 0,
      since: expect.any(String) as string,
    })
    expect(await client.rest()).toEqual([])
  })

  it('learns of a RESET what was wrong, and can go on', async () => {
    const { client, agent } = await openVictim(OPEN_ACL)
    client.send(UP, frames.accept(99))
    const { payload } = await client.raw.next('publish')
    expect(seen(payload)).toMatchObject({ code: 'protocol', reason: 'ACCEPT from a client' })
    client.send(UP, frames.open(99))
    expect(await agent.next()).toMatchObject({ type: 'open', stream: 99 })
  })
})
