import { describe, expect, it } from 'vitest'
import type { TunnelConfig } from '../../../../src/config/tunnel-schema.ts'
import { ResetCode } from '../../../../src/tunnel/protocol/reset-code.ts'
import { frames } from '../../../support/tunnel-frames.ts'
import { type PodEnd, PodsWorld } from './pods-world.ts'
import { allowed, DOWN, refused, UP } from './world.ts'

const OTHER_TOKEN = 'ffeeddccbbaa9988'
const nothing = { seats: 0, lanes: 0, streams: 0, ended: 0, shaped: 0, expected: 0 }

function open(agent: PodEnd, client: PodEnd, id = 7): void {
  client.send(UP, frames.open(id))
  agent.send(DOWN, frames.accept(id))
  agent.got()
  client.got()
}

/** An agent at pod a, a client at pod b, and a stream 7 between them that is open. */
function openWorld(config: Partial<TunnelConfig> = {}, pods = ['a', 'b', 'c']) {
  const world = new PodsWorld(pods, config)
  const agent = world.end('a', 'pi7', { username: 'pi' }).serve()
  const client = world.end('b', 'laptop').listen()
  open(agent, client)
  return { world, agent, client }
}

describe('a stream between two pods', () => {
  it('is at home at the pod of its client: there it is asked for, counted and logged, and nowhere else', () => {
    const world = new PodsWorld(['a', 'b', 'c'])
    const agent = world.end('a', 'pi7', { username: 'pi' }).serve()
    const client = world.end('b', 'laptop').listen()
    client.send(UP, frames.open(7), frames.data(7, 0, 'hello'))
    expect(client.asked).toHaveLength(1)
    const [opened] = agent.gotFrames()
    expect(JSON.parse(opened!.payload)).toMatchObject({
      peer: { address: '192.0.2.7', port: 40_001, username: 'ann' },
    })
    agent.send(DOWN, frames.accept(7), frames.data(7, 0, 'world!', { acked: 5 }))
    expect(client.gotTopics()).toEqual([`${DOWN} accept 7`, `${DOWN} data 7 @0 "world!"`])
    expect([...world.routers].map(([, router]) => router.streamCount)).toEqual([0, 1, 0])
    client.send(UP, frames.data(7, 5, '', { fin: true, acked: 6 }))
    agent.send(DOWN, frames.data(7, 6, '', { fin: true, acked: 6 }))
    client.send(UP, frames.ack(7, { offset: 6, acked: 7, fin: true }))
    expect(agent.got().at(-1)).toBe('ack 7 fin')
    expect(world.router('b').counters).toMatchObject({ opened: 1, ended: { closed: 1 }, bytes: { down: 6 } })
    expect(world.router('a').counters).toMatchObject({
      opened: 0,
      frames: { up: 0, down: 0 },
      dropped: { away: 0 },
    })
    expect(world.lines.filter(({ msg }) => msg !== undefined)).toMatchObject([
      { pod: 'b', msg: 'stream opened', agent: 'pi7', agentPod: 'a', client: 'laptop' },
      { pod: 'b', msg: 'stream ended', reason: 'closed', bytesUp: 5, bytesDown: 6 },
    ])
    agent.leave()
    client.leave()
    world.advance(130_000)
    for (const router of world.routers.values()) expect(router.held()).toEqual(nothing)
  })

  it('is opened where the client is, also when its agent is there: no frame crosses', () => {
    const world = new PodsWorld(['a', 'b'])
    const agent = world.end('a', 'pi7').serve()
    const client = world.end('a', 'laptop').listen()
    open(agent, client)
    expect(world.frameCount).toBe(0)
  })

  it('ends at both ends when one of them breaks the protocol, whatever the size of what it sends', () => {
    const { agent, client } = openWorld()
    agent.send(DOWN, Buffer.concat([frames.data(7, 0, 'x'), Buffer.alloc(1_000_000)]))
    expect([...client.got(), ...agent.got()]).toEqual(['reset 7 protocol', 'reset 7 protocol'])
  })

  it('is refused with the limits of the pod of the client', () => {
    const { agent, client } = openWorld({ maxStreamsPerAgent: 1 })
    client.send(UP, frames.open(8))
    expect([...client.got(), ...agent.got()]).toEqual(['reset 8 limit'])
  })

  it('has the bounds of slow connections, on the way between pods and behind it', () => {
    const { world, agent, client } = openWorld({ maxPendingBytes: 1_000 })
    agent.pendingBytes = 1_500
    client.send(UP, frames.data(7, 0, 'x'), frames.ack(7))
    expect(agent.got()).toEqual(['ack 7'])
    expect(world.router('a').counters.dropped.slow).toBe(1)
    world.pendingBytes = 1_500
    client.send(UP, frames.data(7, 0, 'x'))
    agent.send(DOWN, frames.data(7, 0, 'x'), frames.ack(7))
    expect(client.got()).toEqual(['ack 7'])
    expect([...world.routers].map(([, { counters }]) => counters.dropped.slow)).toEqual([2, 1, 0])
  })

  it('tells whoever waits for room when there is some on the way between pods', () => {
    const { world } = openWorld()
    let rooms = 0
    world
      .router('b')
      .endOf('', 'pi7', 'serve')!
      .onceDrained(() => void rooms++)
    for (const listener of world.drainListeners) listener()
    expect(rooms).toBe(1)
  })
})

describe('places at other pods', () => {
  it('belong to their owners: no client of another pod speaks in them, nor a pod for a client that it does not have', () => {
    const { world, agent, client } = openWorld()
    const evil = [
      frames.data(7, 0, 'evil'),
      frames.resume(7),
      frames.open(7, { token: OTHER_TOKEN }),
      frames.accept(7),
    ]
    for (const pod of ['a', 'b', 'c']) {
      const mallory = world.end(pod, 'mallory').listen().serve()
      mallory.send(UP, ...evil)
      mallory.send(DOWN, ...evil)
      mallory.leave()
    }
    for (const frame of evil) {
      for (const from of ['b', 'c']) world.router('b').frameFromPod(from, '', DOWN, Buffer.from(frame))
      for (const from of ['a', 'c']) world.router('a').frameFromPod(from, '', UP, Buffer.from(frame))
      world.router('a').frameFromPod('b', 'site-b/', UP, Buffer.from(frame))
    }
    world.router('a').frameFromPod('b', '', '$tunnel/pi7/up', Buffer.alloc(30))
    world.flow()
    expect([...agent.got(), ...client.got()]).toEqual([])
    client.send(UP, frames.data(7, 0, 'hello'))
    agent.send(DOWN, frames.data(7, 0, 'world'))
    expect([...agent.got(), ...client.got()]).toEqual(['data 7 @0 "hello"', 'data 7 @0 "world"'])
  })

  it('are names within a mountpoint', () => {
    const { world, agent, client } = openWorld()
    const twin = world.end('a', 'pi7', { mountpoint: 'site-b/', username: 'pi' }).serve()
    const elsewhere = world.end('c', 'laptop', { mountpoint: 'site-b/' }).listen()
    open(twin, elsewhere)
    twin.send(DOWN, frames.data(7, 0, 'b'))
    agent.send(DOWN, frames.data(7, 0, 'a'))
    expect([...client.got(), ...elsewhere.got()]).toEqual(['data 7 @0 "a"', 'data 7 @0 "b"'])
  })

  it('of the broker as a client are those of one pod, and no client can have them', () => {
    const one = '0123456789abcdef'
    const world = new PodsWorld([one, 'fedcba9876543210'])
    const router = world.router(one)
    expect(router.ownClientName).toBe(`broker-${one}`)
    expect(router.isReserved('', 'broker-fedcba9876543210')).toBe(true)
    expect(router.isReserved('', 'broker-7')).toBe(false)
    const long = new PodsWorld([one], { name: 'n'.repeat(64) }).router(one)
    expect(long.ownClientName).toHaveLength(64)
    expect(long.isReserved('', long.ownClientName)).toBe(true)
  })

  it('of made-up services leave nothing behind', () => {
    const { world, agent } = openWorld({ maxStreamsPerAgent: 10 })
    for (let n = 0; n < 1_000; n++) agent.send(`$tunnel/pi7/s${n}/laptop/down`, frames.resume(1))
    expect(world.router('a').held().lanes).toBeLessThan(12)
    world.advance(130_000)
    expect(world.router('a').held().lanes).toBe(0)
  })
})

describe('ends that come back to another pod', () => {
  it('the agent: its stream goes on, from the pod where it is now', () => {
    const { world, agent, client } = openWorld()
    agent.leave()
    client.send(UP, frames.data(7, 0, 'lost'))
    const again = world.end('c', 'pi7', { username: 'pi' }).serve()
    expect(again.got()).toEqual(['ping 7'])
    again.send(DOWN, frames.resume(7, { limit: 1_048_576 }))
    client.send(UP, frames.data(7, 0, 'lost'))
    expect([...client.got(), ...again.got()]).toEqual(['resume 7', 'data 7 @0 "lost"'])
  })

  it('the client: it is at home there then, and the pod before forgets it without a word', () => {
    const { world, agent, client } = openWorld()
    client.send(UP, frames.data(7, 0, 'up'))
    client.leave()
    agent.got()
    const again = world.end('c', 'laptop').listen()
    expect(world.router('b').streamCount).toBe(0)
    again.send(UP, frames.resume(7, { offset: 2, acked: 0, limit: 1_048_576 }))
    expect(again.asked).toHaveLength(1)
    agent.send(DOWN, frames.ack(7, { acked: 2, limit: 1_048_576 }), frames.data(7, 0, 'down'))
    again.send(UP, frames.data(7, 2, 'more'))
    expect(agent.got()).toEqual(['resume 7', 'data 7 @2 "more"'])
    expect(again.got()).toEqual(['ack 7', 'data 7 @0 "down"'])
    expect(world.lines.map(({ pod, msg, reason }) => [pod, msg, reason])).toEqual([
      ['b', 'stream opened', undefined],
      ['b', 'stream ended', 'moved'],
      ['c', 'stream resumed', undefined],
    ])
    world.advance(200_000)
    expect([...agent.got(), ...again.got()]).toEqual([])
  })

  it('the client, to the pod of its agent and back again', () => {
    const { world, agent, client } = openWorld()
    client.leave()
    const second = world.end('a', 'laptop').listen()
    second.send(UP, frames.resume(7, { limit: 1_048_576 }))
    agent.send(DOWN, frames.ack(7, { limit: 9_000_000 }))
    second.send(UP, frames.data(7, 8_000_000, 'far'))
    expect([...agent.got(), ...second.got()]).toEqual(['resume 7', 'data 7 @8000000 "far"', 'ack 7'])
    second.leave()
    const third = world.end('b', 'laptop').listen()
    third.send(UP, frames.resume(7, { offset: 8_000_003, limit: 1_048_576 }))
    agent.send(DOWN, frames.ack(7, { acked: 8_000_003, limit: 9_000_000 }))
    third.send(UP, frames.data(7, 8_999_999, 'x'))
    expect([...agent.got(), ...third.got()]).toEqual(['resume 7', 'data 7 @8999999 "x"', 'ack 7'])
  })

  it('the client, to a pod that has not heard that it was elsewhere: credit from there is good', () => {
    const { world, agent, client } = openWorld()
    world.lagging.add('b')
    client.leave()
    const second = world.end('c', 'laptop').listen()
    second.send(UP, frames.resume(7, { limit: 1_048_576 }))
    agent.send(DOWN, frames.ack(7, { limit: 9_000_000 }))
    second.send(UP, frames.data(7, 5_000_000, 'x'))
    second.leave()
    agent.got()
    const third = world.end('b', 'laptop').listen()
    third.send(UP, frames.resume(7, { offset: 5_000_001, limit: 3_000_000 }))
    third.send(UP, frames.data(7, 8_999_999, 'x'))
    agent.send(DOWN, frames.data(7, 2_999_999, 'x', { limit: 9_000_000 }))
    world.lagging.clear()
    world.flow()
    third.send(UP, frames.data(7, 8_999_999, 'y'))
    expect([...agent.got(), ...third.got()]).toEqual([
      'resume 7',
      'data 7 @8999999 "x"',
      'data 7 @8999999 "y"',
      'ping 7',
      'data 7 @2999999 "x"',
    ])
  })

  it('both, elsewhere, in either order', () => {
    for (const order of [0, 1]) {
      const { world, agent, client } = openWorld({}, ['a', 'b', 'c', 'd'])
      world.kill('a')
      world.kill('b')
      const ends = [world.end('c', 'pi7', { username: 'pi' }), world.end('d', 'laptop')] as const
      const back = [
        () => ends[0].serve().send(DOWN, frames.resume(7, { limit: 1_048_576 })),
        () => ends[1].listen().send(UP, frames.resume(7, { limit: 1_048_576 })),
      ]
      back[order]!()
      back[1 - order]!()
      world.bury('a')
      world.bury('b')
      ends[0].got()
      ends[1].got()
      ends[1].send(UP, frames.data(7, 0, 'up'))
      ends[0].send(DOWN, frames.data(7, 0, 'down'))
      expect([...ends[0].got(), ...ends[1].got()]).toEqual(['data 7 @0 "up"', 'data 7 @0 "down"'])
      expect([agent.got(), client.got()]).toEqual([[], []])
    }
  })

  it('another user with the name of a client does not get its streams, wherever it is', () => {
    const { world, agent, client } = openWorld()
    client.leave()
    const mallory = world.end('c', 'laptop', { username: 'mallory' }).listen()
    expect(agent.got()).toEqual(['reset 7 forbidden'])
    expect(world.router('b').counters.ended.forbidden).toBe(1)
    expect(mallory.got()).toEqual([])
  })

  it('another user with the name of an agent does not get its streams either', () => {
    const { world, agent, client } = openWorld()
    agent.leave()
    const mallory = world.end('c', 'pi7', { username: 'mallory' }).serve()
    expect(client.got()).toEqual(['reset 7 forbidden'])
    mallory.send(DOWN, frames.data(7, 0, 'evil'))
    expect(client.got()).toEqual([])
  })

  it('one that is here is not put out by old news of another pod, nor gone when that has ended', () => {
    const world = new PodsWorld(['a', 'b'])
    world.lagging.add('b')
    world.end('a', 'pi7', { username: 'pi' }).serve().leave()
    const agent = world.end('b', 'pi7', { username: 'pi' }).serve()
    const client = world.end('b', 'laptop').listen()
    open(agent, client)
    world.lagging.clear()
    world.flow()
    client.send(UP, frames.data(7, 0, 'hello'))
    expect(agent.got()).toEqual(['data 7 @0 "hello"'])
  })

  it('one that speaks before this pod has heard of it is heard then, in its order, and not a second later', () => {
    const world = new PodsWorld(['a', 'b'])
    const agent = world.end('a', 'pi7', { username: 'pi' }).serve()
    world.lagging.add('a')
    const client = world.end('b', 'laptop').listen()
    client.send(UP, frames.open(7), frames.data(7, 0, 'hello'))
    expect(agent.got()).toEqual([])
    world.lagging.clear()
    world.flow()
    expect(agent.got()).toEqual(['open 7', 'data 7 @0 "hello"'])
    world.lagging.add('b')
    agent.leave()
    const again = world.end('a', 'pi7', { username: 'pi' }).serve()
    again.send(DOWN, frames.resume(7, { limit: 9 }))
    world.lagging.clear()
    world.flow()
    expect([...client.got(), ...again.got()]).toEqual(['resume 7', 'ping 7'])
    world.lagging.add('a')
    world.end('b', 'phone').listen().send('$tunnel/pi7/ssh/phone/up', frames.open(7))
    world.advance(3_000)
    world.lagging.clear()
    world.flow()
    expect(again.got()).toEqual([])
    for (let n = 0; n < 100; n++) world.router('a').frameFromPod('c', '', UP, Buffer.alloc(65_000, 3))
    expect(world.router('a').counters.dropped.slow).toBe(36)
  })

  it('one whose name was taken at another pod leaves its place to that one', () => {
    const { world, agent, client } = openWorld()
    const newer = world.end('c', 'laptop').listen()
    newer.send(UP, frames.resume(7, { limit: 1_048_576 }))
    client.leave('taken-over')
    newer.send(UP, frames.data(7, 0, 'new'))
    expect(agent.got()).toEqual(['resume 7', 'data 7 @0 "new"'])
    expect([...world.routers].map(([, router]) => router.streamCount)).toEqual([0, 0, 1])
  })
})

describe('an agent that is away', () => {
  it('is offline when its own connection has ended, and its own pod says so', () => {
    const { world, agent, client } = openWorld()
    agent.online().leave()
    expect(world.said).toMatchObject([
      { pod: 'a', agent: 'pi7', status: { online: false, services: ['ssh'] } },
    ])
    client.send(UP, frames.open(8))
    expect(client.got()).toEqual(['reset 8 agent-offline'])
  })

  it.each(['stopped', 'dead'])('is expected back when its pod has %s: an OPEN waits for it', (how) => {
    const { world, agent, client } = openWorld()
    agent.online()
    if (how === 'stopped') agent.leave('shutdown')
    world.kill('a')
    world.bury('a')
    client.send(UP, frames.open(8))
    world.advance(5_000)
    expect(client.got()).toEqual([])
    const again = world.end('c', 'pi7', { username: 'pi' }).serve()
    client.send(UP, frames.open(8))
    expect(again.got()).toEqual(['ping 7', 'open 8'])
    world.advance(20_000)
    expect(world.said).toEqual([])
    expect(world.router('b').held().expected).toBe(0)
  })

  it('and does not come back from a dead pod is offline after the grace: one of those that live says so, once', () => {
    const { world, agent, client } = openWorld({}, ['a', 'b', 'c', 'd'])
    agent.online()
    world.kill('a')
    world.bury('a')
    world.advance(9_000)
    expect(world.said).toEqual([])
    world.advance(5_000)
    expect(world.said).toMatchObject([{ pod: 'b', agent: 'pi7', status: { online: false } }])
    client.send(UP, frames.open(8))
    expect(client.got()).toEqual(['reset 8 agent-offline'])
    world.advance(2_000)
    for (const router of world.routers.values()) expect(router.held().expected).toBe(0)
  })

  it('is said to be gone by another when the one that was to say so has died as well', () => {
    const { world, agent } = openWorld()
    agent.online()
    world.kill('a')
    world.bury('a')
    world.advance(9_000)
    world.kill('b')
    world.advance(5_000)
    expect(world.said).toMatchObject([{ pod: 'c', status: { online: false } }])
  })

  it('is not said to be gone when it has long been at another pod, of which its old one hears late', () => {
    const { world, agent } = openWorld()
    agent.online()
    world.lagging.add('a')
    const again = world.end('c', 'pi7', { username: 'pi' }).serve().online()
    agent.leave('taken-over')
    world.lagging.clear()
    world.flow()
    world.advance(20_000)
    expect(world.said).toEqual([])
    again.leave()
    expect(world.said).toMatchObject([{ pod: 'c', status: { online: false } }])
  })

  it('is waited for when its status says that it is there, and this pod has not heard where', () => {
    const { world, agent, client } = openWorld()
    world.lagging.add('b')
    agent.online()
    const newcomer = world.end('c', 'pi8', { username: 'pi' }).serve().online()
    const topic = '$tunnel/pi8/ssh/laptop/up'
    client.send(topic, frames.open(9))
    expect(client.got()).toEqual([])
    world.lagging.clear()
    world.flow()
    client.send(topic, frames.open(9))
    expect(newcomer.got()).toEqual(['open 9'])
    client.send('$tunnel/pi9/ssh/laptop/up', frames.open(9))
    expect(client.got()).toEqual(['reset 9 agent-offline'])
  })

  it('is known to a pod that starts later, and expected by it when it is nowhere', () => {
    const { world, agent } = openWorld()
    agent.online()
    const router = world.join('d')
    router.expect({ mountpoint: '', agent: 'pi7' })
    world.retained.set('ghost', Buffer.from('{"online":true,"services":[]}'))
    router.expect({ mountpoint: '', agent: 'ghost' })
    world.flow()
    const client = world.end('d', 'phone').listen()
    client.send('$tunnel/pi7/ssh/phone/up', frames.open(1))
    client.send('$tunnel/ghost/ssh/phone/up', frames.open(1))
    expect([...agent.got(), ...client.got()]).toEqual(['open 1'])
    for (const pod of ['a', 'b', 'c']) world.kill(pod)
    world.advance(12_000)
    expect(world.said).toMatchObject([{ pod: 'd', agent: 'ghost', status: { online: false } }])
  })
})

describe('rights at several pods', () => {
  it('of a client that are taken away end its streams at both ends', async () => {
    const { world, agent, client } = openWorld()
    client.answer = () => refused
    await world.router('b').recheck(client)
    world.flow()
    expect([...client.got(), ...agent.got()]).toEqual(['reset 7 revoked', 'reset 7 revoked'])
  })

  it('of a client whose connection was closed for it end its streams', () => {
    const { agent, client } = openWorld()
    client.leave('revoked')
    expect(agent.got()).toEqual(['reset 7 revoked'])
  })

  it('to serve that are taken away end all streams of the agent, wherever they are at home, and its place', async () => {
    const { world, agent, client } = openWorld()
    agent.online()
    agent.answer = () => refused
    await world.router('a').recheck(agent)
    world.flow()
    expect([...client.got(), ...agent.got()]).toEqual(['reset 7 revoked', 'reset 7 revoked'])
    expect(world.said).toMatchObject([{ pod: 'a', status: { online: false } }])
    client.send(UP, frames.open(8))
    expect([...client.got(), ...agent.got()]).toEqual(['reset 8 agent-offline'])
    agent.leave()
    world.advance(130_000)
    expect(world.router('a').held()).toEqual({ ...nothing, seats: 1 })
  })

  it('of an agent whose connection was closed for it end its streams', () => {
    const { agent, client } = openWorld()
    agent.leave('revoked')
    expect(client.got()).toEqual(['reset 7 revoked'])
  })

  it('are asked of the client at its own pod only, and are as good as ever for what comes from the other', () => {
    const { agent, client } = openWorld()
    client.answer = () => refused
    client.send(UP, frames.open(8))
    client.answer = () => allowed
    agent.send(DOWN, frames.data(7, 0, 'x'))
    expect(client.got()).toEqual(['reset 8 forbidden', 'data 7 @0 "x"'])
    expect(agent.asked).toEqual([])
    expect(agent.got()).toEqual([])
  })
})

describe('the end of a stream', () => {
  it('whose client stays away is told by the pod where it was last: the agent hears `timeout`', () => {
    const { world, agent, client } = openWorld({ resumeTimeoutMs: 10_000 })
    client.leave()
    world.advance(12_000)
    expect(agent.got()).toEqual(['reset 7 timeout'])
  })

  it('whose client was a pod is told by that of the agent, when it speaks of it', () => {
    const pods = ['00000000000000aa', '00000000000000bb'] as const
    const world = new PodsWorld(pods)
    const agent = world.end(pods[0], 'pi7').serve()
    const client = world.end(pods[1], `broker-${pods[1]}`).listen()
    client.send(`$tunnel/pi7/ssh/${client.name}/up`, frames.open(7))
    const down = `$tunnel/pi7/ssh/${client.name}/down`
    agent.send(down, frames.accept(7))
    world.kill(pods[1])
    world.bury(pods[1])
    agent.got()
    agent.send(down, frames.ack(7), frames.ping(7))
    expect(agent.got()).toEqual(['reset 7 timeout'])
  })

  it('that was reset, and of which the word was lost between the pods, is told when the agent speaks of it', () => {
    const { world, agent, client } = openWorld()
    world.lose = () => true
    client.send(UP, frames.reset(7, ResetCode.reset, 'enough'))
    world.lose = () => false
    agent.send(DOWN, frames.data(7, 0, 'x'))
    expect(agent.gotFrames()).toMatchObject([{ type: 'reset', code: 'reset', reason: 'enough' }])
    expect(client.got()).toEqual([])
  })

  it('that was reset while the agent was away is told to it when it comes back, elsewhere', () => {
    const { world, agent, client } = openWorld()
    agent.leave()
    client.send(UP, frames.reset(7, ResetCode.reset, 'enough'))
    const again = world.end('c', 'pi7', { username: 'pi' }).serve()
    again.send(DOWN, frames.resume(7))
    expect(again.gotFrames()).toMatchObject([{ type: 'reset', code: 'reset', reason: 'enough' }])
  })
})
