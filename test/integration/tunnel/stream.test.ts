import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { silentLog, type TunnelLog } from '../../../src/tunnel/log.ts'
import {
  closeCodeOf,
  digest,
  digestOf,
  echo,
  later,
  openEnds,
  openTarget,
  textOf,
} from '../../support/tunnel-ends.ts'

const MIB = 1024 * 1024

describe('a stream of the library', () => {
  it('carries every byte both ways, in order', async () => {
    const { client } = openEnds({ echo: { target: await openTarget(echo) } })
    const stream = await client.openStream('pi7/echo')
    const sent = randomBytes(16 * MIB)
    const received = digestOf(stream)
    for (let at = 0; at < sent.length; at += 100_000)
      if (!stream.write(sent.subarray(at, at + 100_000))) await once(stream, 'drain')
    stream.end()
    expect(await received).toBe(digest(sent))
    expect(stream.bytes.received).toBe(sent.length)
  })

  it('may get its buffer changed once it was written', async () => {
    const { client } = openEnds({ echo: { target: await openTarget(echo) } })
    const stream = await client.openStream('pi7/echo')
    const buffer = Buffer.from('good')
    await new Promise((resolve) => stream.write(buffer, resolve))
    buffer.fill('x')
    stream.end()
    expect(await textOf(stream)).toBe('good')
  })

  it('that is reset in the same breath as it was opened has its error when somebody can listen', async () => {
    const log: TunnelLog = {
      ...silentLog,
      // Before ACCEPT has left.
      info: (_fields, message) => {
        if (message === 'tunnel stream opened') void ends.agent.close()
      },
    }
    const ends = openEnds({ echo: { target: await openTarget(echo) } }, { agent: { log } })
    const stream = await ends.client.openStream('pi7/echo')
    expect(stream.destroyed).toBe(false)
    const [error] = await once(stream.resume(), 'error')
    expect(error).toMatchObject({ reset: 'shutdown' })
  })

  it('is refused with a source that no OPEN holds', async () => {
    const { client } = openEnds({ echo: { target: await openTarget(echo) } })
    const source = { address: 'x'.repeat(5_000), port: 1 }
    await expect(client.openStream('pi7/echo', { source })).rejects.toMatchObject({ code: 'TMQ_USAGE' })
    const stream = await client.openStream('pi7/echo')
    stream.end('still here')
    expect(await textOf(stream)).toBe('still here')
  })

  it('puts together the small pieces that nobody has read yet, and loses none', async () => {
    const target = await openTarget(echo)
    const { client } = openEnds({ echo: { target } }, { limits: { chunkBytes: 7 } })
    const stream = await client.openStream('pi7/echo')
    const sent = randomBytes(150_000)
    stream.end(sent)
    await expect.poll(() => stream.bytes.received).toBe(sent.length)
    expect(await digestOf(stream)).toBe(digest(sent))
  })

  it('ends one direction and still reads the answer', async () => {
    const target = await openTarget((socket) => {
      void textOf(socket).then((question) => socket.end(`${question}?`))
    })
    const { client } = openEnds({ late: { target } })
    const stream = await client.openStream('pi7/late')
    stream.end('really')
    expect(await textOf(stream)).toBe('really?')
  })

  it('still writes when the target has ended its direction', async () => {
    const heard = later<string>()
    const target = await openTarget((socket) => {
      socket.end('bye')
      void textOf(socket).then(heard.resolve)
    })
    const { client } = openEnds({ early: { target } })
    const stream = await client.openStream('pi7/early')
    expect(await textOf(stream)).toBe('bye')
    stream.end('one more thing')
    expect(await heard.promise).toBe('one more thing')
  })

  it('resets the connection of the target when it is destroyed', async () => {
    const atTarget = later<string | undefined>()
    const target = await openTarget((socket) => void closeCodeOf(socket).then(atTarget.resolve))
    const { client } = openEnds({ x: { target } })
    const stream = await client.openStream('pi7/x')
    stream.destroy()
    expect(await atTarget.promise).toBe('ECONNRESET')
  })

  it('is destroyed with the reason when the target resets its connection', async () => {
    const target = await openTarget((socket) => void socket.once('data', () => socket.resetAndDestroy()))
    const { client } = openEnds({ x: { target } })
    const stream = await client.openStream('pi7/x')
    stream.write('go')
    stream.resume()
    const [error] = (await once(stream, 'error')) as [Error]
    expect(error).toMatchObject({ name: 'TunnelError', code: 'TMQ_TUNNEL', reset: 'reset' })
  })

  it('stops its sender when nobody reads, and nobody else', async () => {
    const flooded = later<Socket>()
    const flood = await openTarget((socket) => {
      flooded.resolve(socket)
      const chunk = Buffer.alloc(65_536)
      const more = (): void => {
        while (socket.write(chunk));
      }
      socket.on('drain', more)
      more()
    })
    const limits = { windowBytes: 262_144, maxWindowBytes: 262_144, sendBufferBytes: 262_144 }
    const { client } = openEnds(
      { flood: { target: flood }, echo: { target: await openTarget(echo) } },
      { limits },
    )
    const unread = await client.openStream('pi7/flood')
    const other = await client.openStream('pi7/echo')
    const received = digestOf(other)
    const sent = randomBytes(4 * MIB)
    other.end(sent)
    expect(await received).toBe(digest(sent))
    // What the window gives, and what the reader's own buffer has taken.
    expect(unread.bytes.received).toBeLessThanOrEqual(262_144 + 2 * 65_536)
    expect(unread.bytes.received).toBeGreaterThanOrEqual(262_144)
    expect((await flooded.promise).destroyed).toBe(false)
  })

  it('goes on after both connections were lost in the middle', async () => {
    const { client, links } = openEnds({ echo: { target: await openTarget(echo) } })
    const stream = await client.openStream('pi7/echo')
    const sent = randomBytes(4 * MIB)
    let cuts = 0
    stream.on('data', () => {
      if (stream.bytes.received < (cuts + 1) * MIB) return
      cuts++
      links.cut()
      setImmediate(() => links.heal())
    })
    const received = digestOf(stream)
    stream.end(sent)
    expect(await received).toBe(digest(sent))
    expect(cuts).toBeGreaterThan(1)
  })
})

describe('a stream that is not opened', () => {
  const services = { ssh: { target: '127.0.0.1:1' }, web: { target: '127.0.0.1:1' } }

  it('says what the agent offers instead', async () => {
    const { client } = openEnds(services)
    await expect(client.openStream('pi7/shh')).rejects.toMatchObject({
      reset: 'unknown-service',
      message: "agent pi7 does not offer 'shh'; it offers: ssh, web",
    })
  })

  it.each(['__proto__', 'constructor', 'toString'])('does not take %s for a service', async (name) => {
    const { client } = openEnds(services)
    await expect(client.openStream(`pi7/${name}`)).rejects.toMatchObject({ reset: 'unknown-service' })
  })

  it('says that there is no such agent, without waiting for one', async () => {
    const { client } = openEnds(services)
    await expect(client.openStream('pi8/ssh')).rejects.toMatchObject({
      reset: 'agent-offline',
      message: 'there is no agent pi8: it has no status at this broker',
    })
    // Known now: not even an OPEN is sent.
    await expect(client.openStream('pi8/ssh')).rejects.toMatchObject({ reset: 'agent-offline' })
  })

  it('says since when the agent is offline', async () => {
    const { client, links } = openEnds(services)
    await client.connected()
    links.client.tell('pi9', '{"online":false,"since":"2026-11-21T10:00:00.000Z"}')
    await expect(client.openStream('pi9/ssh')).rejects.toMatchObject({
      reset: 'agent-offline',
      message: 'agent pi9 is offline since 2026-11-21T10:00:00.000Z',
    })
  })

  it('gives up after the time when the status may not be read', async () => {
    const { client, links } = openEnds(services, { limits: { openTimeoutMs: 300 } })
    links.client.statusAnswer = 'refused'
    await client.connected()
    await links.agent.close()
    await expect(client.openStream('pi7/ssh')).rejects.toMatchObject({
      reset: 'timeout',
      message: expect.stringContaining('no answer from agent pi7') as string,
    })
  })

  it('says that there is no connection to the broker', async () => {
    const { client, links } = openEnds(services, { limits: { openTimeoutMs: 300 } })
    await client.connected()
    links.cut()
    await expect(client.openStream('pi7/ssh')).rejects.toMatchObject({
      reset: 'timeout',
      message: expect.stringContaining('not connected to the broker') as string,
    })
  })

  it('gives up when its signal says so, with the reason of the signal', async () => {
    const { client, links } = openEnds(services)
    links.client.statusAnswer = 'refused'
    await client.connected()
    await links.agent.close()
    const given = new AbortController()
    const opening = client.openStream('pi7/ssh', { signal: given.signal })
    given.abort(new Error('changed my mind'))
    await expect(opening).rejects.toThrow('changed my mind')
    await expect(client.openStream('pi7/ssh', { signal: given.signal })).rejects.toThrow('changed my mind')
  })

  it('is refused beyond the limit of those on their way', async () => {
    const { client, links } = openEnds(services, { client: { maxOpening: 1 } })
    links.client.statusAnswer = 'refused'
    await client.connected()
    await links.agent.close()
    const given = new AbortController()
    const first = client.openStream('pi7/ssh', { signal: given.signal })
    await expect(client.openStream('pi7/ssh')).rejects.toMatchObject({ reset: 'limit' })
    given.abort(new Error('enough'))
    await expect(first).rejects.toThrow('enough')
    const again = client.openStream('pi7/ssh', { signal: AbortSignal.timeout(20) })
    await expect(again).rejects.toMatchObject({ name: 'TimeoutError' })
  })

  it('is refused when its destination is none', async () => {
    const { client } = openEnds(services)
    await expect(client.openStream('pi7')).rejects.toMatchObject({ code: 'TMQ_USAGE' })
  })

  it('is refused by a client that is closed', async () => {
    const { client } = openEnds(services)
    await client.close()
    await expect(client.openStream('pi7/ssh')).rejects.toMatchObject({ reset: 'shutdown' })
  })
})

describe('the agents that a client knows', () => {
  it('are listed by name, without control characters', async () => {
    const { client, links } = openEnds({ ssh: { target: '127.0.0.1:1' } })
    await client.connected()
    const watched = client.agents()
    links.client.tell('attic', '{"online":true,"services":["tv"],"host":"\\u001b[31mred"}')
    links.client.tell('nonsense', 'nonsense')
    const agents = await watched
    expect(agents.map(({ id, online, services }) => ({ id, online, services }))).toEqual([
      { id: 'attic', online: true, services: ['tv'] },
      { id: 'pi7', online: true, services: ['ssh'] },
    ])
    expect(agents[0]!.host).toBe('?[31mred')
  })

  it('are told as they change, until that is ended', async () => {
    const { client, links } = openEnds({ ssh: { target: '127.0.0.1:1' } })
    await client.connected()
    const told: unknown[] = []
    const end = client.watchAgents((agent, info) => told.push([agent, info?.online]))
    links.client.tell('attic', '{"online":true,"services":[]}')
    links.client.tell('attic', '{"online":false}')
    links.client.tell('attic', undefined)
    end()
    links.client.tell('attic', '{"online":true,"services":[]}')
    expect(told).toEqual([
      ['attic', true],
      ['attic', false],
      ['attic', undefined],
    ])
  })

  it('cannot be listed where that is not allowed', async () => {
    const { client, links } = openEnds({})
    links.client.statusAnswer = 'refused'
    await expect(client.agents()).rejects.toMatchObject({ code: 'TMQ_UNREACHABLE' })
  })
})
