import { describe, expect, it } from 'vitest'
import { ResetCode } from '../../../../src/tunnel/protocol/reset-code.ts'
import { frames } from '../../../support/tunnel-frames.ts'
import {
  allowed,
  createRouterWorld,
  DOWN,
  type FakeEnd,
  pendingAnswer,
  refused,
  settle,
  UP,
} from './world.ts'
import type { RouterWorld } from './world.ts'

const OTHER_TOKEN = 'ffeeddccbbaa9988'

/** An agent, a client, and a stream 7 between them that is open. */
function openWorld(config: Parameters<typeof createRouterWorld>[0] = {}): RouterWorld & {
  agent: FakeEnd
  client: FakeEnd
} {
  const world = createRouterWorld(config)
  const agent = world.end('pi7', { username: 'pi' }).serve()
  const client = world.end('laptop').listen()
  openStream(agent, client, 7)
  return { ...world, agent, client }
}

function openStream(agent: FakeEnd, client: FakeEnd, id: number): void {
  client.send(UP, frames.open(id))
  agent.send(DOWN, frames.accept(id))
  agent.got()
  client.got()
}

function closeStream(agent: FakeEnd, client: FakeEnd, id: number): void {
  client.send(UP, frames.data(id, 0, '', { fin: true }))
  agent.send(DOWN, frames.data(id, 0, '', { fin: true, acked: 1 }))
  client.send(UP, frames.ack(id, { offset: 1, acked: 1, fin: true }))
}

const nothing = { seats: 0, lanes: 0, streams: 0, ended: 0, shaped: 0, expected: 0 }

describe('a stream', () => {
  it('goes from OPEN to the last acknowledgement, is counted and logged, and leaves nothing behind', () => {
    const { router, end, lines, advance } = createRouterWorld()
    const agent = end('pi7', { username: 'pi' }).serve()
    const client = end('laptop', { username: 'ann' }).listen()
    client.send(UP, frames.open(7), frames.data(7, 0, 'hello'))
    expect(agent.gotTopics()).toEqual([`${UP} open 7`, `${UP} data 7 @0 "hello"`])
    agent.send(DOWN, frames.accept(7), frames.data(7, 0, 'world!', { acked: 5 }))
    expect(client.gotTopics()).toEqual([`${DOWN} accept 7`, `${DOWN} data 7 @0 "world!"`])
    expect(router.counts()).toMatchObject({ agents: 1, clients: 1 })
    advance(1_000)
    client.send(UP, frames.data(7, 5, '', { fin: true, acked: 6 }))
    agent.send(DOWN, frames.data(7, 6, '', { fin: true, acked: 6 }))
    expect(router.streamCount).toBe(1)
    client.send(UP, frames.ack(7, { offset: 6, acked: 7, fin: true }))
    expect(router.streamCount).toBe(0)
    expect(router.counters).toMatchObject({ opened: 1, ended: { closed: 1 } })
    const who = { agent: 'pi7', service: 'ssh', client: 'laptop', username: 'ann', address: '192.0.2.7' }
    expect(lines).toMatchObject([
      { msg: 'stream opened', ...who, stream: 7, port: 40_001 },
      { msg: 'stream ended', ...who, reason: 'closed', bytesUp: 5, bytesDown: 6, durationMs: 1_000 },
    ])
    advance(11_000, 1_000)
    agent.leave()
    client.leave()
    expect(router.held()).toEqual(nothing)
  })

  it('tells the agent who the client is, whatever the client says', () => {
    const { end } = createRouterWorld()
    const agent = end('pi7').serve()
    const client = end('laptop', { username: 'ann' }).listen()
    const source = { address: '10.0.0.5', port: 5 }
    client.send(
      UP,
      frames.open(7, { more: { source, peer: { address: '10.9.9.9', port: 9, username: 'root' }, x: 1 } }),
    )
    const [open] = agent.gotFrames()
    expect(JSON.parse(open!.payload)).toEqual({
      v: 1,
      token: '00112233445566ff',
      source,
      peer: { address: '192.0.2.7', port: 40_001, username: 'ann' },
    })
  })

  it('opens for a user and a source whose names hardly fit, without the source', () => {
    const { end } = createRouterWorld()
    const agent = end('pi7').serve()
    const client = end('laptop', { username: '\u0001'.repeat(256) }).listen()
    client.send(UP, frames.open(7, { more: { source: { address: '\u0001'.repeat(253), port: 5 } } }))
    const [open] = agent.gotFrames()
    expect(JSON.parse(open!.payload)).not.toHaveProperty('source')
  })

  it('is refused with its reason when the agent says so, and counted as refused', () => {
    const { router, end, lines } = createRouterWorld()
    const agent = end('pi7').serve()
    const client = end('laptop').listen()
    client.send(UP, frames.open(7))
    agent.send(DOWN, frames.reset(7, ResetCode.unknownService, 'no ssh here\u001b'))
    expect(client.got()).toEqual(['reset 7 unknown-service'])
    expect(router.counters).toMatchObject({ opened: 0, refused: { 'unknown-service': 1 } })
    expect(lines).toMatchObject([
      { msg: 'stream refused', detail: 'no ssh here?', reason: 'unknown-service' },
    ])
    expect(router.streamCount).toBe(0)
  })

  it('is answered at once when the agent is not there, and nothing of it stays', () => {
    const { router, end } = createRouterWorld()
    const client = end('laptop').listen()
    for (let id = 0; id < 1_000; id++) client.send(`$tunnel/made-up-${id}/ssh/laptop/up`, frames.open(id))
    expect(new Set(client.got().map((line) => line.split(' ')[2]))).toEqual(new Set(['agent-offline']))
    expect(router.counters.refused['agent-offline']).toBe(1_000)
    expect(router.held()).toEqual({ ...nothing, seats: 1 })
  })

  it('that is opened with another token takes the place of the old one, of which only the agent is told', () => {
    const { agent, client, router } = openWorld()
    client.send(UP, frames.open(7, { token: OTHER_TOKEN }))
    expect(agent.got()).toEqual(['reset 7 reset', 'open 7'])
    expect(client.got()).toEqual([])
    agent.send(DOWN, frames.accept(7))
    expect(client.got()).toEqual(['accept 7'])
    client.send(UP, frames.data(7, 0, 'new'))
    expect(agent.got()).toEqual(['data 7 @0 "new"'])
    expect(router.counters).toMatchObject({ opened: 2, ended: { reset: 1 } })
  })

  it('that has just closed can be opened with its id again', () => {
    const { agent, client, router } = openWorld()
    closeStream(agent, client, 7)
    agent.got()
    client.got()
    client.send(UP, frames.open(7, { token: OTHER_TOKEN }))
    expect(agent.got()).toEqual(['open 7'])
    expect(client.got()).toEqual([])
    expect(router.held()).toMatchObject({ streams: 1, ended: 0 })
  })

  it('that has closed still carries what an end repeats, for ten seconds', () => {
    const { agent, client, advance } = openWorld()
    closeStream(agent, client, 7)
    agent.got()
    client.got()
    agent.send(DOWN, frames.data(7, 0, '', { fin: true, acked: 1 }))
    expect(client.got()).toEqual(['data 7 @0 "" fin'])
    advance(11_000, 1_000)
    client.send(UP, frames.data(7, 0, '', { fin: true }))
    expect(client.got()).toEqual(['reset 7 unknown-stream'])
    expect(agent.got()).toEqual([])
  })

  it('can be opened by a client that has come back right after its last stream has closed', () => {
    const { agent, client, end } = openWorld()
    closeStream(agent, client, 7)
    client.leave()
    agent.got()
    const again = end('laptop').listen()
    again.send(UP, frames.open(8))
    expect(agent.got()).toEqual(['open 8'])
    agent.send(DOWN, frames.accept(8))
    expect(again.got()).toEqual(['accept 8'])
  })
})

describe('places', () => {
  const intruders: [string, (world: ReturnType<typeof openWorld>) => FakeEnd, string][] = [
    ['as the client', ({ end }) => end('mallory').listen(), UP],
    ['as the client, being an agent', ({ end }) => end('mallory').serve(), UP],
    ['as the agent', ({ end }) => end('mallory').serve(), DOWN],
    ['as the agent, being a client', ({ end }) => end('mallory').listen(), DOWN],
    ['with its name, without its place', ({ end }) => end('laptop'), UP],
    ['as the agent of its own stream', ({ client }) => client, DOWN],
  ]

  it.each(intruders)('belong to their owners: nobody speaks %s', (_title, intruder, topic) => {
    const world = openWorld()
    const { agent, client, router } = world
    const mallory = intruder(world)
    mallory.send(
      topic,
      frames.data(7, 0, 'evil'),
      frames.ack(7, { acked: 1 }),
      frames.reset(7, ResetCode.reset),
      frames.resume(7),
      frames.open(7),
      frames.accept(7),
      Buffer.alloc(3),
    )
    expect(agent.got()).toEqual([])
    expect(client.got().filter((line) => line !== 'reset 7 forbidden')).toEqual([])
    expect(router.counters.dropped.forbidden).toBe(7)
    client.send(UP, frames.data(7, 0, 'hello'))
    agent.send(DOWN, frames.data(7, 0, 'world'))
    expect([...agent.got(), ...client.got()]).toEqual(['data 7 @0 "hello"', 'data 7 @0 "world"'])
  })

  it('tell an intruder so on its own topic, once in the log, and never in answer to RESET', () => {
    const { end, lines } = openWorld()
    const mallory = end('mallory').listen()
    mallory.send(UP, frames.data(7, 0, 'evil'), frames.reset(7, ResetCode.reset), frames.ping(7))
    expect(mallory.gotTopics()).toEqual([
      '$tunnel/pi7/ssh/mallory/down reset 7 forbidden',
      '$tunnel/pi7/ssh/mallory/down reset 7 forbidden',
    ])
    expect(lines.filter(({ msg }) => msg === 'tunnel frame in the place of another')).toMatchObject([
      { client: 'mallory', topic: UP, address: '192.0.2.7' },
    ])
  })

  it('know no topic that is not one of frames', () => {
    const { end, router } = openWorld()
    const mallory = end('mallory').listen().serve()
    for (const topic of ['$tunnel/', '$tunnel/a', '$tunnel/a/b/mallory/sideways', '$tunnel/a/b c/mallory/up'])
      mallory.send(topic, frames.open(1))
    expect(mallory.got()).toEqual([])
    expect(router.counters.dropped.forbidden).toBe(4)
  })

  it('are names within a mountpoint', () => {
    const { agent, client, router, end } = openWorld()
    const elsewhere = end('laptop', { mountpoint: 'site-b/' }).listen()
    elsewhere.send(UP, frames.data(7, 0, 'evil'), frames.open(9))
    expect(elsewhere.got()).toEqual(['reset 7 unknown-stream', 'reset 9 agent-offline'])
    const twin = end('pi7', { mountpoint: 'site-b/', username: 'pi' }).serve()
    elsewhere.send(UP, frames.open(9))
    expect(twin.got()).toEqual(['open 9'])
    twin.send(DOWN, frames.data(7, 0, 'evil'), frames.reset(7, ResetCode.reset))
    expect([...agent.got(), ...client.got(), ...elsewhere.got()]).toEqual([])
    expect(router.streamCount).toBe(2)
  })

  it('of the broker itself are reserved', () => {
    const { router } = createRouterWorld()
    router.reserve('', 'broker')
    expect(router.isReserved('', 'broker')).toBe(true)
    expect(router.isReserved('site-b/', 'broker')).toBe(false)
    expect(router.isReserved('', 'other')).toBe(false)
  })

  it.each([
    ['pi7', '$tunnel/pi7/+/+/up', 'serve'],
    ['pi7', '$tunnel/+/+/pi7/down', 'answers'],
    ['pi7', '$tunnel/pi8/+/+/up', undefined],
    ['pi7', '$tunnel/+/+/+/up', undefined],
    ['pi7', '$tunnel/pi7/ssh/+/up', undefined],
    ['pi7', '$tunnel/pi7/#', undefined],
    ['pi7', '$tunnel/#', undefined],
    ['+', '$tunnel/+/+/+/up', undefined],
    ['+', '$tunnel/+/+/+/down', undefined],
    ['a/b', '$tunnel/a/b/+/+/up', undefined],
    ['#', '$tunnel/#/+/+/up', undefined],
    ['', '$tunnel//+/+/up', undefined],
  ])('of %s: the filter %s is the role %s', (name, filter, role) => {
    expect(createRouterWorld().router.roleOf(name, filter)).toBe(role)
  })
})

describe('rights', () => {
  it('are asked for once a stream, with the topic of its client', () => {
    const { end } = createRouterWorld()
    const agent = end('pi7').serve()
    const client = end('laptop').listen()
    client.send(UP, frames.open(7), frames.open(7), frames.data(7, 0, 'x'), frames.open(7))
    expect(client.asked).toEqual([{ action: 'open', agent: 'pi7', service: 'ssh', topic: UP }])
    expect(agent.got()).toEqual(['open 7', 'open 7', 'data 7 @0 "x"', 'open 7'])
  })

  it('that are missing mean RESET forbidden, and the agent hears nothing', () => {
    const { end, router, lines } = createRouterWorld()
    const agent = end('pi7').serve()
    const client = end('laptop').listen()
    client.answer = () => refused
    client.send(UP, frames.open(7), frames.data(7, 0, 'x'), frames.resume(8))
    expect(client.gotFrames()).toMatchObject([
      { type: 'reset', code: 'forbidden', reason: 'no right to this service' },
      { type: 'reset', code: 'unknown-stream' },
      { type: 'reset', stream: 8, code: 'forbidden' },
    ])
    expect(agent.got()).toEqual([])
    expect(router.counters.refused.forbidden).toBe(2)
    // The handler's own words are for the log.
    expect(lines[0]).toMatchObject({ msg: 'stream refused', detail: 'not in the list', client: 'laptop' })
    expect(router.held()).toMatchObject({ streams: 0, lanes: 0 })
  })

  it('that take time hold the client back, and nobody else', async () => {
    const { end, router } = createRouterWorld()
    const agent = end('pi7').serve()
    const client = end('laptop').listen()
    const { promise, give } = pendingAnswer()
    client.answer = () => promise
    client.send(UP, frames.open(7))
    expect([client.holdCount, agent.holdCount, router.streamCount]).toEqual([1, 0, 0])
    give(allowed)
    await settle()
    expect(client.holdCount).toBe(0)
    expect(agent.got()).toEqual(['open 7'])
    agent.send(DOWN, frames.accept(7))
    expect(client.got()).toEqual(['accept 7'])
  })

  it.each([
    ['OPEN', frames.open(7)],
    ['RESUME', frames.resume(7)],
  ])('of %s that come when the client is gone open nothing, and hold nothing', async (_title, frame) => {
    const { end, router } = createRouterWorld()
    const agent = end('pi7').serve()
    const client = end('laptop').listen()
    const { promise, give } = pendingAnswer()
    client.answer = () => promise
    client.send(UP, frame)
    client.leave()
    const again = end('laptop').listen()
    give(allowed)
    await settle()
    expect(client.holdCount).toBe(0)
    expect([...agent.got(), ...again.got()]).toEqual([])
    agent.leave()
    again.leave()
    expect(router.held()).toEqual(nothing)
  })

  it('that come when the agent has gone and come back open the stream to the one that is there', async () => {
    const { end } = createRouterWorld()
    const agent = end('pi7').serve()
    const client = end('laptop').listen()
    const { promise, give } = pendingAnswer()
    client.answer = () => promise
    client.send(UP, frames.open(7))
    agent.leave()
    const again = end('pi7').serve()
    give(allowed)
    await settle()
    expect(again.got()).toEqual(['open 7'])
    again.send(DOWN, frames.accept(7))
    expect(client.got()).toEqual(['accept 7'])
  })

  it('are asked for again by a connection that comes back; until then it is told nothing', () => {
    const { agent, client, end } = openWorld()
    client.leave()
    const again = end('laptop').listen()
    expect(again.got()).toEqual(['ping 7'])
    agent.send(DOWN, frames.data(7, 0, 'secret'))
    again.send(UP, frames.ping(7), frames.pong(7))
    expect([...again.got(), ...agent.got()]).toEqual([])
    again.send(UP, frames.resume(7))
    expect(again.asked).toHaveLength(1)
    expect(agent.got()).toEqual(['resume 7'])
    agent.send(DOWN, frames.data(7, 0, 'secret'))
    expect(again.got()).toEqual(['data 7 @0 "secret"'])
  })

  it('to many streams of a service are asked for once by a client that comes back', async () => {
    const { agent, client, end } = openWorld()
    for (let id = 100; id < 150; id++) openStream(agent, client, id)
    client.leave()
    const again = end('laptop').listen()
    again.got()
    const { promise, give } = pendingAnswer()
    again.answer = () => promise
    again.send(UP, frames.resume(7))
    expect(again.holdCount).toBe(1)
    give(allowed)
    await settle()
    for (let id = 100; id < 150; id++) again.send(UP, frames.resume(id))
    // Of a stream that the broker does not know.
    again.send(UP, frames.resume(777))
    expect(agent.got()).toHaveLength(52)
    expect([again.asked.length, again.holdCount]).toEqual([1, 0])
    again.send(UP, frames.open(778))
    expect(again.asked).toHaveLength(2)
    await settle()
  })

  it('are asked for as well by an answer to RESUME of the agent, from a client that had no ACCEPT and knows no other', () => {
    const { end } = createRouterWorld()
    const agent = end('pi7').serve()
    const client = end('laptop').listen()
    client.send(UP, frames.open(7))
    client.leave()
    const again = end('laptop').listen()
    agent.send(DOWN, frames.resume(7, { limit: 1_048_576 }))
    again.send(UP, frames.ack(7), frames.data(7, 0, 'x'))
    expect(again.asked).toHaveLength(1)
    expect(agent.got()).toEqual(['open 7', 'ack 7', 'data 7 @0 "x"'])
  })

  it('are asked for by DATA of such a client, when its agent has just accepted', () => {
    const { agent, client, end } = openWorld()
    client.send(UP, frames.open(8))
    client.leave()
    agent.got()
    const again = end('laptop').listen()
    agent.send(DOWN, frames.accept(8))
    again.answer = ({ service }) => (service === 'ssh' ? allowed : refused)
    again.send(UP, frames.data(8, 0, 'x'))
    expect(agent.got()).toEqual(['data 8 @0 "x"'])
    const third = end('laptop').listen()
    third.answer = () => refused
    third.send(UP, frames.data(8, 1, 'y'))
    expect(agent.got()).toEqual(['reset 8 forbidden'])
  })

  it('are not needed to say that the stream has ended, when the last word was lost with the connection', () => {
    const { agent, client, end, router } = openWorld()
    client.send(UP, frames.data(7, 0, '', { fin: true }))
    agent.send(DOWN, frames.data(7, 0, '', { fin: true, acked: 1 }))
    client.leave()
    agent.got()
    const again = end('laptop').listen()
    again.send(UP, frames.ack(7, { offset: 1, acked: 1, fin: true }))
    expect(again.asked).toEqual([])
    expect(agent.got()).toEqual(['ack 7 fin'])
    expect(router.counters.ended.closed).toBe(1)
  })

  it('that were lost while a client was away end its stream when it comes back', () => {
    const { agent, client, end, router } = openWorld()
    client.leave()
    const again = end('laptop').listen()
    again.answer = () => refused
    again.got()
    again.send(UP, frames.resume(7, { acked: 3 }))
    expect(again.got()).toEqual(['reset 7 forbidden'])
    expect(agent.got()).toEqual(['reset 7 forbidden'])
    expect(router.counters.ended.forbidden).toBe(1)
  })

  it('that are taken away end streams at both ends, those of others not', async () => {
    const { agent, client, router, end, lines } = openWorld()
    client.send('$tunnel/pi7/web/laptop/up', frames.open(9))
    const other = end('phone').listen()
    other.send('$tunnel/pi7/ssh/phone/up', frames.open(7))
    agent.got()
    client.answer = ({ service }) => (service === 'ssh' ? refused : allowed)
    await router.recheck(client)
    await router.recheck(other)
    expect(client.got()).toEqual(['reset 7 revoked'])
    expect(agent.gotTopics()).toEqual([`${UP} reset 7 revoked`])
    expect(router.streamCount).toBe(2)
    expect(router.counters.ended.revoked).toBe(1)
    expect(lines.filter(({ msg }) => msg === 'tunnel right revoked')).toMatchObject([
      { client: 'laptop', what: 'pi7/ssh', count: 1 },
    ])
  })

  it('to serve that are taken away end all streams of the agent, and its place', async () => {
    const { agent, client, router, statuses } = openWorld()
    router.takeStatus(agent, 'pi7', Buffer.from('{"online":true,"services":["ssh"]}'))
    agent.answer = () => refused
    await router.recheck(agent)
    expect(agent.asked).toEqual([
      { action: 'serve', agent: 'pi7', service: '+', topic: '$tunnel/pi7/+/+/up' },
    ])
    expect([...client.got(), ...agent.got()]).toEqual(['reset 7 revoked', 'reset 7 revoked'])
    expect(statuses).toMatchObject([{ agent: 'pi7', status: { online: false } }])
    client.send(UP, frames.open(8))
    expect(client.got()).toEqual(['reset 8 agent-offline'])
  })

  it('that are looked at again while the stream ends by itself do not end it twice', async () => {
    const { agent, client, router } = openWorld()
    const { promise, give } = pendingAnswer()
    client.answer = () => promise
    const done = router.recheck(client)
    agent.send(DOWN, frames.reset(7, ResetCode.reset))
    client.got()
    give(refused)
    await done
    expect([...client.got(), ...agent.got()]).toEqual([])
    expect(router.counters.ended).toMatchObject({ reset: 1, revoked: 0 })
  })

  it('of a connection that was closed as revoked end its streams at once', () => {
    const { agent, client } = openWorld()
    client.leave('revoked')
    expect(agent.got()).toEqual(['reset 7 revoked'])
  })
})

describe('what is against the protocol', () => {
  it.each([
    ['more than its first credit', (c: FakeEnd) => c.send(UP, frames.data(8, 65_530, 'too much'))],
    [
      'bytes behind its end',
      (c: FakeEnd) => c.send(UP, frames.data(8, 0, 'x', { fin: true }), frames.data(8, 1, 'x')),
    ],
    [
      'an unknown type',
      (c: FakeEnd) => c.send(UP, Buffer.concat([Buffer.of(77, 0, 0, 0, 0, 8), Buffer.alloc(18)])),
    ],
    ['ACCEPT from a client', (c: FakeEnd) => c.send(UP, frames.accept(8))],
    [
      'an OPEN that is no JSON',
      (c: FakeEnd) => c.send(UP, Buffer.concat([frames.open(8).subarray(0, 24), Buffer.from('{')])),
    ],
  ])('ends the stream at both ends, and no other: %s', (_title, misbehave) => {
    const { agent, client, router } = openWorld()
    client.send(UP, frames.open(8))
    agent.got()
    misbehave(client)
    expect(client.got().at(-1)).toBe('reset 8 protocol')
    expect(agent.got().at(-1)).toBe('reset 8 protocol')
    expect(router.streamCount).toBe(1)
    client.send(UP, frames.data(7, 0, 'hello'))
    expect(agent.got()).toEqual(['data 7 @0 "hello"'])
  })

  it('goes for the agent as well', () => {
    const { agent, client, router } = openWorld()
    agent.send(DOWN, frames.data(7, 1_048_570, 'too much'))
    expect([...client.got(), ...agent.got()]).toEqual(['reset 7 protocol', 'reset 7 protocol'])
    expect(router.counters).toMatchObject({ dropped: { credit: 1 }, ended: { protocol: 1 } })
  })

  it('is answered where there is no stream, and not where nobody could be told', () => {
    const { agent, client, router } = openWorld()
    client.send(UP, frames.accept(99), Buffer.alloc(23), Buffer.alloc(0))
    expect(client.got()).toEqual(['reset 99 protocol'])
    expect(agent.got()).toEqual([])
    expect(router.counters.dropped.malformed).toBe(3)
  })

  it('credit that has grown may be used, to its last byte', () => {
    const { agent, client } = openWorld()
    agent.send(DOWN, frames.ack(7, { limit: 2_000_000 }))
    client.send(UP, frames.data(7, 1_999_998, 'ok'), frames.data(7, 1_999_999, 'no'))
    expect(agent.got()).toEqual(['data 7 @1999998 "ok"', 'reset 7 protocol'])
  })
})

describe('limits', () => {
  it('hold for OPEN in all, of a client, and to an agent; streams that end make room', () => {
    const world = createRouterWorld({ maxStreams: 4, maxStreamsPerClient: 2, maxStreamsPerAgent: 3 })
    const pi7 = world.end('pi7').serve()
    const pi8 = world.end('pi8').serve()
    const clients = ['a', 'b', 'c'].map((name) => world.end(name).listen())
    const open = (client: FakeEnd, agent: string, id: number): string[] => {
      client.send(`$tunnel/${agent}/ssh/${client.name}/up`, frames.open(id))
      return client.gotFrames().map(({ code, reason }) => `${code}: ${reason}`)
    }
    const [a, b, c] = clients as [FakeEnd, FakeEnd, FakeEnd]
    expect([open(a, 'pi7', 1), open(a, 'pi7', 2)]).toEqual([[], []])
    expect(open(a, 'pi8', 3)).toEqual(['limit: too many streams of this client'])
    expect(open(b, 'pi7', 1)).toEqual([])
    expect(open(b, 'pi7', 2)).toEqual(['limit: too many streams to this agent'])
    expect(open(b, 'pi8', 2)).toEqual([])
    expect(open(c, 'pi8', 1)).toEqual(['limit: too many streams'])
    expect(world.router.counters.refused.limit).toBe(3)
    pi8.send('$tunnel/pi8/ssh/b/down', frames.reset(2, ResetCode.refused))
    expect(open(c, 'pi8', 1)).toEqual([])
    expect(pi7.got()).toHaveLength(3)
  })

  it('hold for RESUME of streams that the broker does not know: ids can be made up', () => {
    const { end, router } = createRouterWorld({ maxStreamsPerClient: 10 })
    const client = end('laptop').listen()
    for (let id = 0; id < 1_000; id++) client.send(UP, frames.resume(id))
    expect(router.streamCount).toBe(10)
    expect(client.got()).toHaveLength(990)
  })

  it('of a client are not used up by agents that speak of streams it has never opened', () => {
    const { end, router } = createRouterWorld({ maxStreamsPerClient: 5, maxStreamsPerAgent: 100 })
    const mallory = end('mallory').serve()
    const pi7 = end('pi7').serve()
    const client = end('laptop').listen()
    for (let id = 0; id < 1_000; id++) mallory.send('$tunnel/mallory/x/laptop/down', frames.resume(id))
    expect(router.streamCount).toBe(100)
    client.send(UP, frames.open(7))
    expect(pi7.got()).toEqual(['open 7'])
  })

  it('hold for what is written down of refusals', () => {
    const { end, lines, router, advance } = createRouterWorld()
    const client = end('laptop').listen()
    for (let id = 0; id < 1_000; id++) client.send(UP, frames.open(id))
    expect(lines).toHaveLength(60)
    expect(router.counters.refused['agent-offline']).toBe(1_000)
    advance(61_000, 1_000)
    client.send(UP, frames.open(1_000))
    expect(lines.at(-1)).toMatchObject({ stream: 1_000, notLogged: 940 })
  })

  it('hold for a connection that takes nothing: DATA is dropped sooner than answers', () => {
    const { agent, client, router } = openWorld({ maxPendingBytes: 1_000 })
    agent.pendingBytes = 1_500
    client.send(UP, frames.data(7, 0, 'x'), frames.ack(7, { acked: 0 }))
    expect(agent.got()).toEqual(['ack 7'])
    agent.pendingBytes = 2_001
    client.send(UP, frames.ack(7))
    client.pendingBytes = 2_001
    client.send(UP, frames.data(99, 0, 'x'))
    expect([...agent.got(), ...client.got()]).toEqual([])
    expect(router.counters.dropped.slow).toBe(2)
  })
})

describe('ends that go away', () => {
  it('the agent: frames for it are dropped, and it comes back to its stream', () => {
    const { agent, client, end, router } = openWorld()
    agent.leave()
    client.send(UP, frames.data(7, 0, 'lost'))
    const again = end('pi7', { username: 'pi' }).serve()
    expect(again.got()).toEqual(['ping 7'])
    again.send(DOWN, frames.resume(7, { limit: 1_048_576 }))
    client.send(UP, frames.data(7, 0, 'lost'))
    expect([...client.got(), ...again.got()]).toEqual(['resume 7', 'data 7 @0 "lost"'])
    expect(router.counters.dropped.away).toBe(1)
  })

  it('the client: likewise; what was acknowledged before is not told to it, of an agent that may be another by now', () => {
    const { agent, client, end, router } = openWorld()
    client.leave()
    agent.send(DOWN, frames.data(7, 0, 'lost'), frames.ack(7, { acked: 9, limit: 9_000_000 }))
    const again = end('laptop').listen()
    const [ping] = again.gotFrames()
    expect(ping).toMatchObject({ type: 'ping', acked: 0, limit: 0 })
    again.send(UP, frames.resume(7))
    agent.send(DOWN, frames.data(7, 0, 'lost'))
    expect([...agent.got(), ...again.got()]).toEqual(['resume 7', 'data 7 @0 "lost"'])
    expect(router.counters.dropped.away).toBe(2)
  })

  it('an agent that stays away: the client is told, and the agent when it comes after all', () => {
    const { agent, client, end, router, advance, lines } = openWorld({ resumeTimeoutMs: 10_000 })
    agent.leave()
    advance(10_000, 1_000)
    expect(client.got()).toEqual([])
    advance(2_000, 1_000)
    expect(client.got()).toEqual(['reset 7 agent-offline'])
    expect(router.streamCount).toBe(0)
    expect(lines.at(-1)).toMatchObject({ msg: 'stream ended', reason: 'agent-offline' })
    const again = end('pi7', { username: 'pi' }).serve()
    again.send(DOWN, frames.resume(7), frames.ack(7))
    expect(again.got()).toEqual(['reset 7 agent-offline'])
    expect(client.got()).toEqual([])
  })

  it('a client that stays away: the agent is told `timeout`', () => {
    const { agent, client, advance } = openWorld({ resumeTimeoutMs: 10_000 })
    client.leave()
    advance(12_000, 1_000)
    expect(agent.got()).toEqual(['reset 7 timeout'])
  })

  it('both at once come back in either order', () => {
    for (const order of [0, 1]) {
      const { agent, client, end } = openWorld()
      client.leave()
      agent.leave()
      const ends = [end('pi7', { username: 'pi' }), end('laptop')] as const
      const back = [
        () => ends[0].serve().send(DOWN, frames.resume(7, { limit: 1_048_576 })),
        () => ends[1].listen().send(UP, frames.resume(7, { limit: 1_048_576 })),
      ]
      back[order]!()
      back[1 - order]!()
      ends[0].got()
      ends[1].got()
      ends[1].send(UP, frames.data(7, 0, 'up'))
      ends[0].send(DOWN, frames.data(7, 0, 'down'))
      expect([...ends[0].got(), ...ends[1].got()]).toEqual(['data 7 @0 "up"', 'data 7 @0 "down"'])
    }
  })

  it('a client that does not know its stream any more says so, also of one that is being opened', () => {
    const { agent, client, end, router } = openWorld()
    client.send(UP, frames.open(8))
    client.leave()
    agent.got()
    const again = end('laptop').listen()
    expect(again.got()).toEqual(['ping 7', 'ping 8'])
    again.send(UP, frames.reset(7, ResetCode.unknownStream), frames.reset(8, ResetCode.unknownStream))
    expect(agent.got()).toEqual(['reset 7 unknown-stream', 'reset 8 unknown-stream'])
    expect(router.streamCount).toBe(0)
    expect(again.asked).toEqual([])
  })

  it('a client that resets its stream while the agent is away: the agent is told when it comes', () => {
    const { agent, client, end } = openWorld()
    agent.leave()
    client.send(UP, frames.reset(7, ResetCode.reset, 'enough'))
    const again = end('pi7', { username: 'pi' }).serve()
    again.send(DOWN, frames.resume(7))
    expect(again.gotFrames()).toMatchObject([{ type: 'reset', code: 'reset', reason: 'enough' }])
  })

  it('unsubscribing is going away', () => {
    const { agent, client, router } = openWorld()
    router.detach(agent, 'serve')
    client.send(UP, frames.open(8))
    expect(client.got()).toEqual(['reset 8 agent-offline'])
    router.detach(client, 'answers')
    client.send(UP, frames.open(9))
    expect(client.got()).toEqual([])
    expect(router.counts()).toMatchObject({ agents: 0, clients: 0 })
  })
})

describe('another user with the same name', () => {
  it('as client does not get the streams of the one before, nor can it resume them', () => {
    const { agent, client, end, router } = openWorld()
    client.leave()
    const mallory = end('laptop', { username: 'mallory' }).listen()
    expect(agent.got()).toEqual(['reset 7 forbidden'])
    mallory.send(UP, frames.resume(7), frames.data(7, 0, 'evil'))
    expect(mallory.got()).toEqual(['reset 7 forbidden', 'reset 7 forbidden'])
    expect(agent.got()).toEqual([])
    expect(router.counters.ended.forbidden).toBe(1)
  })

  it('cannot resume them either when the agent was away, and has not heard that they were reset', () => {
    const { agent, client, end } = openWorld()
    agent.leave()
    client.leave()
    const mallory = end('laptop', { username: 'mallory' }).listen()
    const again = end('pi7', { username: 'pi' }).serve()
    again.send(DOWN, frames.resume(7), frames.data(7, 0, 'secret'))
    mallory.send(UP, frames.resume(7))
    expect(again.got()).toEqual(['reset 7 forbidden', 'reset 7 forbidden'])
    expect(mallory.got()).toEqual(['reset 7 forbidden'])
  })

  it('as agent does not get them either, and can serve new ones', () => {
    const { agent, client, end } = openWorld()
    agent.leave()
    const mallory = end('pi7', { username: 'mallory' }).serve()
    expect(client.got()).toEqual(['reset 7 forbidden'])
    expect(mallory.got()).toEqual([])
    mallory.send(DOWN, frames.resume(7), frames.data(7, 0, 'evil'))
    expect(client.got()).toEqual([])
    client.send(UP, frames.open(8))
    expect(mallory.got().at(-1)).toBe('open 8')
  })
})

describe('streams that the broker does not know, as it was restarted', () => {
  it('go on when the client comes first, with what it had sent', () => {
    const { end, router, lines } = createRouterWorld()
    const client = end('laptop').listen()
    client.send(UP, frames.resume(7, { offset: 5_000, acked: 300, limit: 1_000_300 }))
    expect(client.got()).toEqual([])
    const agent = end('pi7').serve()
    expect(agent.gotFrames()).toMatchObject([{ type: 'ping', acked: 300, limit: 1_000_300 }])
    client.send(UP, frames.data(7, 5_000, 'more'))
    agent.send(DOWN, frames.resume(7, { offset: 300, acked: 5_000, limit: 1_048_576 }))
    expect([...agent.got(), ...client.got()]).toEqual(['data 7 @5000 "more"', 'resume 7'])
    agent.send(DOWN, frames.data(7, 1_000_299, 'x'), frames.data(7, 1_000_300, 'y'))
    expect(client.got()).toEqual(['data 7 @1000299 "x"', 'reset 7 protocol'])
    expect(lines).toMatchObject([
      { msg: 'stream resumed', client: 'laptop', username: 'ann', stream: 7 },
      { msg: 'stream ended', reason: 'protocol' },
    ])
    expect(router.counters.opened).toBe(0)
  })

  it('go on when the agent comes first', () => {
    const { end, router } = createRouterWorld()
    const agent = end('pi7').serve()
    agent.send(DOWN, frames.resume(7, { limit: 1_048_576 }))
    expect(router.held()).toMatchObject({ streams: 0, lanes: 0 })
    const client = end('laptop').listen()
    client.send(UP, frames.resume(7, { limit: 1_048_576 }))
    expect(client.asked).toHaveLength(1)
    expect(agent.got()).toEqual(['resume 7'])
    agent.send(DOWN, frames.ack(7, { limit: 1_048_576 }))
    client.send(UP, frames.data(7, 0, 'more'))
    expect([...client.got(), ...agent.got()]).toEqual(['ack 7', 'data 7 @0 "more"'])
  })

  it('go on when the agent speaks after the client has come, and before it has spoken', () => {
    const { end } = createRouterWorld()
    const agent = end('pi7').serve()
    const client = end('laptop').listen()
    agent.send(DOWN, frames.resume(7, { limit: 1_048_576 }), frames.data(7, 0, 'too soon'))
    expect(client.got()).toEqual(['resume 7'])
    client.send(UP, frames.resume(7, { limit: 1_048_576 }))
    agent.send(DOWN, frames.ack(7, { limit: 1_048_576 }), frames.data(7, 0, 'now'))
    client.send(UP, frames.data(7, 0, 'more'))
    expect([...agent.got(), ...client.got()]).toEqual([
      'resume 7',
      'data 7 @0 "more"',
      'ack 7',
      'data 7 @0 "now"',
    ])
  })

  it('go on when the client was answered by RESUME of its agent before its OPEN was: it is asked about then', () => {
    const { end, router } = createRouterWorld()
    const agent = end('pi7').serve()
    const client = end('laptop').listen()
    agent.send(DOWN, frames.resume(7, { limit: 1_048_576 }))
    expect(client.got()).toEqual(['resume 7'])
    client.send(UP, frames.ack(7, { offset: 5, limit: 1_048_576 }))
    expect(client.asked).toHaveLength(1)
    client.send(UP, frames.data(7, 0, 'first'))
    agent.send(DOWN, frames.ack(7, { acked: 5, limit: 300 }))
    // 5.3: the first credit is more than this agent's window.
    client.send(UP, frames.data(7, 65_535, 'x'), frames.data(7, 65_536, 'y'))
    expect(agent.got()).toEqual([
      'ack 7',
      'ping 7',
      'data 7 @0 "first"',
      'data 7 @65535 "x"',
      'reset 7 protocol',
    ])
    expect(client.got()).toEqual(['ack 7', 'reset 7 protocol'])
    client.answer = () => refused
    agent.send(DOWN, frames.resume(8))
    client.send(UP, frames.ack(8), frames.data(8, 0, 'x'))
    expect(client.got()).toEqual(['resume 8', 'reset 8 forbidden'])
    expect(agent.got()).toEqual([])
    expect(router.counters.opened).toBe(0)
  })

  it('are not begun again by a client that has done with them', () => {
    const { end, router, advance } = createRouterWorld()
    const agent = end('pi7').serve()
    const client = end('laptop').listen()
    agent.send(DOWN, frames.resume(7, { offset: 11, fin: true }))
    client.send(UP, frames.ack(7, { offset: 3, acked: 11, fin: true }))
    expect(agent.got()).toEqual(['ack 7 fin'])
    expect(client.asked).toEqual([])
    advance(31_000, 1_000)
    expect(router.streamCount).toBe(0)
  })

  it('are forgotten when the client does not know them, or does not say so in time', () => {
    const { end, router, advance } = createRouterWorld()
    const agent = end('pi7').serve()
    const client = end('laptop').listen()
    agent.send(DOWN, frames.resume(7), frames.resume(8))
    client.got()
    client.send(UP, frames.reset(7, ResetCode.unknownStream))
    expect(agent.got()).toEqual(['reset 7 unknown-stream'])
    advance(31_000, 1_000)
    expect(router.held()).toMatchObject({ streams: 0, lanes: 0, ended: 0 })
    expect(client.asked).toEqual([])
  })

  it('end when the last acknowledgement has come, though the FIN was sent before', () => {
    const { end, router } = createRouterWorld()
    const agent = end('pi7').serve()
    const client = end('laptop').listen()
    client.send(UP, frames.resume(7, { offset: 11, acked: 21, limit: 1_000, fin: true }))
    agent.send(DOWN, frames.ack(7, { offset: 21, acked: 11, fin: true }))
    expect(agent.got()).toEqual(['resume 7 fin'])
    expect(router.streamCount).toBe(0)
  })

  it('bear no DATA without RESUME', () => {
    const { end, router } = createRouterWorld()
    const agent = end('pi7').serve()
    const client = end('laptop').listen()
    client.send(UP, frames.data(7, 0, 'x'), frames.ping(7), frames.ack(7), frames.pong(7))
    agent.send(DOWN, frames.data(7, 0, 'x'), frames.ack(7))
    expect(client.got()).toEqual(['reset 7 unknown-stream', 'reset 7 unknown-stream'])
    expect(agent.got()).toEqual([])
    expect(router.counters.dropped['unknown-stream']).toBe(4)
  })
})

describe('time', () => {
  it('ends a stream without data, and not one with', () => {
    const { agent, client, advance, router } = openWorld({ idleTimeoutMs: 5_000 })
    openStream(agent, client, 8)
    for (let second = 0; second < 10; second++) {
      client.send(UP, frames.data(8, 0, 'x'), frames.ack(7))
      advance(1_000, 1_000)
    }
    expect(client.got()).toEqual(['reset 7 idle'])
    expect(agent.got()).toContain('reset 7 idle')
    expect(router.streamCount).toBe(1)
  })

  it('ends a stream that is open for too long', () => {
    const { agent, client, advance } = openWorld({ maxDurationMs: 5_000 })
    for (let second = 0; second < 7; second++) {
      client.send(UP, frames.data(7, 0, 'x'))
      advance(1_000, 1_000)
    }
    expect(client.gotFrames()).toMatchObject([
      { code: 'idle', reason: 'open for 5000 ms' },
      { code: 'unknown-stream' },
    ])
    expect(agent.got()).toContain('reset 7 idle')
  })
})

describe('statuses', () => {
  const online = (more: object = {}): Buffer =>
    Buffer.from(JSON.stringify({ online: true, services: ['ssh'], ...more }))

  it('are taken from the agent of that name that serves, and from nobody else', () => {
    const { router, end } = createRouterWorld()
    const agent = end('pi7')
    expect(router.takeStatus(agent, 'pi7', online())).toContain('its own')
    agent.serve()
    expect(router.takeStatus(agent, 'pi7', online())).toBeUndefined()
    expect(router.takeStatus(agent, 'pi8', online())).toContain('its own')
    expect(router.takeStatus(end('mallory').serve(), 'pi7', online())).toContain('its own')
    expect(router.takeStatus(end('pi7', { mountpoint: 'b/' }), 'pi7', online())).toContain('its own')
  })

  it.each([
    ['no JSON', '{'],
    ['no object', '[]'],
    ['null', 'null'],
    ['without `online`', '{"services":[]}'],
    ['with a strange `online`', '{"online":"yes"}'],
    ['too large', JSON.stringify({ online: true, x: 'x'.repeat(4_096) })],
  ])('that are %s are refused', (_title, text) => {
    const { router, end } = createRouterWorld()
    expect(router.takeStatus(end('pi7').serve(), 'pi7', Buffer.from(text))).toEqual(expect.any(String))
  })

  it('are corrected when the agent is gone, keeping what it said', () => {
    const { router, end, statuses } = createRouterWorld()
    const agent = end('pi7', { mountpoint: 'b/' }).serve()
    router.takeStatus(agent, 'pi7', online({ host: 'raspberrypi', streams: 4 }))
    agent.leave()
    expect(statuses).toEqual([
      {
        mountpoint: 'b/',
        agent: 'pi7',
        status: {
          online: false,
          services: ['ssh'],
          host: 'raspberrypi',
          streams: 0,
          since: expect.any(String) as string,
        },
      },
    ])
  })

  it('are not corrected when the agent has said itself that it goes, or has taken them back', () => {
    for (const last of ['{"online":false}', '']) {
      const { router, end, statuses } = createRouterWorld()
      const agent = end('pi7').serve()
      router.takeStatus(agent, 'pi7', online())
      router.takeStatus(agent, 'pi7', Buffer.from(last))
      agent.leave()
      expect(statuses).toEqual([])
    }
  })

  it('of an agent that is gone can be read, however large what it said was', () => {
    const { router, end, statuses } = createRouterWorld()
    const agent = end('pi7').serve()
    const room = 4_096 - online({ x: '' }).length
    expect(router.takeStatus(agent, 'pi7', online({ x: 'x'.repeat(room) }))).toBeUndefined()
    agent.leave()
    expect(statuses[0]!.status).toMatchObject({ online: false, services: [] })
    expect(JSON.stringify(statuses[0]!.status).length).toBeLessThan(4_096)
  })
})
