import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createProxyDecoder } from '../../../src/listeners/proxy-protocol.ts'
import { createAgent, type Agent, type AgentOptions } from '../../../src/tunnel/index.ts'
import { encodeFrame, FrameType } from '../../../src/tunnel/protocol/frame.ts'
import type { TestBroker } from '../../support/broker.ts'
import { connectMqtt, connectMqttOver, eventOf, eventsOf, openBroker } from '../../support/broker-world.ts'
import {
  closeCodeOf,
  dialPort,
  digest,
  digestOf,
  echo,
  later,
  openTarget,
  recordingLog,
  textOf,
} from '../../support/tunnel-ends.ts'
import { encodeV2, inet } from '../../unit/listeners/proxy-encoder.ts'

type Overrides = NonNullable<Parameters<typeof openBroker>[0]>
type ListenInput = NonNullable<NonNullable<Overrides['tunnel']>['listen']>[number]

const listening = (...entries: Partial<ListenInput>[]): Overrides => ({
  tunnel: { listen: entries.map((entry) => ({ bind: '127.0.0.1:0', to: 'pi7/echo', ...entry })) },
})
const portOf = (broker: TestBroker, index = 0): number => broker.tunnelPorts[index]!.port

/** An agent of the library, connected, closed when the test ends. */
async function openAgent(
  broker: TestBroker,
  services: AgentOptions['services'],
  options: Partial<AgentOptions> = {},
): Promise<Agent> {
  const agent = createAgent({ id: 'pi7', url: broker.url, services, ...options })
  onTestFinished(() => agent.close())
  await agent.connected()
  return agent
}

/** As `dialPort`, not waited for: it may be reset at once. */
function reach(broker: TestBroker, { index = 0, localAddress = '127.0.0.1' } = {}): Socket {
  const socket = connect({
    host: '127.0.0.1',
    port: portOf(broker, index),
    localAddress,
    allowHalfOpen: true,
  })
  onTestFinished(() => void socket.destroy())
  return socket
}

/** Writes, and reads until something has come back. */
async function roundTrip(socket: Socket, text: string): Promise<string> {
  socket.write(text)
  const [answer] = (await once(socket, 'data')) as [Buffer]
  return answer.toString()
}

describe('a TCP port of the broker that leads into a tunnel', () => {
  it('carries the bytes both ways, unchanged', async () => {
    const broker = await openBroker(listening({}))
    await openAgent(broker, { echo: { target: await openTarget(echo) } })
    const socket = await dialPort(portOf(broker))
    const bytes = randomBytes(24 * 1_048_576)
    const received = digestOf(socket)
    socket.end(bytes)
    expect(await received).toBe(digest(bytes))
  })

  it('serves several connections at once, each with its own bytes', async () => {
    const broker = await openBroker(listening({}))
    await openAgent(broker, { echo: { target: await openTarget(echo) } })
    const sent = Array.from({ length: 20 }, () => randomBytes(300_000))
    const received = await Promise.all(
      sent.map(async (bytes) => {
        const socket = await dialPort(portOf(broker))
        const digested = digestOf(socket)
        socket.end(bytes)
        return await digested
      }),
    )
    expect(received).toEqual(sent.map(digest))
  })

  it('says which ports it has, by their order in the configuration', async () => {
    const broker = await openBroker(listening({}, { bind: '[::1]:0', to: 'pi8/web' }))
    expect(broker.tunnelPorts).toEqual([
      { bind: '127.0.0.1:0', port: expect.any(Number) as number, to: 'pi7/echo' },
      { bind: '[::1]:0', port: expect.any(Number) as number, to: 'pi8/web' },
    ])
    expect(await eventOf(broker, 'tunnel port listening', { to: 'pi8/web' })).toMatchObject({
      port: portOf(broker, 1),
    })
  })

  it('keeps half-close: who has ended still reads the answer', async () => {
    const broker = await openBroker(listening({}))
    const target = await openTarget((socket) => {
      let question = ''
      socket.on('data', (bytes) => (question += bytes.toString()))
      socket.once('end', () => socket.end(`answer to ${question}`))
    })
    await openAgent(broker, { echo: { target } })
    const socket = await dialPort(portOf(broker))
    socket.end('the question')
    expect(await textOf(socket)).toBe('answer to the question')
  })

  it('passes on a reset of the target as a reset', async () => {
    const broker = await openBroker(listening({}))
    const target = await openTarget((socket) => socket.once('data', () => socket.resetAndDestroy()))
    await openAgent(broker, { echo: { target } })
    const socket = await dialPort(portOf(broker))
    const code = closeCodeOf(socket)
    socket.write('x')
    expect(await code).toBe('ECONNRESET')
  })

  it('passes on a reset of the client as a reset', async () => {
    const broker = await openBroker(listening({}))
    const seen = later<string | undefined>()
    const target = await openTarget((socket) => {
      socket.write('hello')
      void closeCodeOf(socket).then(seen.resolve)
    })
    await openAgent(broker, { echo: { target } })
    const socket = await dialPort(portOf(broker))
    await once(socket, 'data')
    socket.resetAndDestroy()
    expect(await seen.promise).toBe('ECONNRESET')
  })

  it('names the real address of its client in the audit, and to the agent', async () => {
    const broker = await openBroker(listening({}))
    const log = recordingLog()
    await openAgent(broker, { echo: { target: await openTarget(echo) } }, { log })
    const socket = reach(broker, { localAddress: '127.0.0.77' })
    expect(await roundTrip(socket, 'hi')).toBe('hi')
    const client = { client: 'broker', address: '127.0.0.77', port: socket.localPort }
    expect(await eventOf(broker, 'stream opened')).toMatchObject({ agent: 'pi7', service: 'echo', ...client })
    expect(log.events).toContainEqual(expect.objectContaining({ ...client, message: 'tunnel stream opened' }))
  })

  it('goes on with its streams when the connection of the agent is lost', async () => {
    const broker = await openBroker(listening({}))
    const agent = await openAgent(broker, { echo: { target: await openTarget(echo) } })
    const socket = await dialPort(portOf(broker))
    expect(await roundTrip(socket, 'before')).toBe('before')
    expect(await broker.disconnect('pi7')).toBe(true)
    await expect.poll(() => agent.isConnected).toBe(false)
    expect(await roundTrip(socket, 'behind')).toBe('behind')
    expect(agent.isConnected).toBe(true)
  })

  it('does not let a slow agent stop the streams to another one', async () => {
    const broker = await openBroker(listening({ to: 'stuck/sink' }, {}))
    const stuck = await connectMqtt(broker.url, { clientId: 'stuck' })
    await stuck.subscribeAsync('$tunnel/stuck/+/+/up')
    await openAgent(broker, { echo: { target: await openTarget(echo) } })
    // Accepts them all, gives much credit, and reads nothing more: more is on its way than the system takes.
    const allOpen = later<void>()
    let count = 0
    stuck.on('message', (topic, frame) => {
      const accept = { type: FrameType.accept, flags: 0, offset: 0, acked: 0, limit: 1_000_000_000 }
      stuck.publish(topic.replace(/up$/, 'down'), encodeFrame({ ...accept, stream: frame.readUInt32BE(2) }))
      if (++count === 60) allOpen.resolve()
    })
    const blocked = await Promise.all(Array.from({ length: 60 }, () => dialPort(portOf(broker))))
    await allOpen.promise
    await stuck.publishAsync('behind/all/accepts', '')
    ;(stuck.stream as Socket).pause()
    for (const socket of blocked) socket.write(Buffer.alloc(1_048_576))
    const socket = await dialPort(portOf(broker, 1))
    const bytes = randomBytes(4 * 1_048_576)
    const received = digestOf(socket)
    socket.end(bytes)
    expect(await received).toBe(digest(bytes))
    // Before the broker has given it up as a slow reader.
    expect(eventsOf(broker, 'client disconnected', { client: 'stuck' })).toEqual([])
  })
})

describe('a connection that cannot be carried is reset, and a log line says why', () => {
  it.each([
    ['the agent is offline', 'pi9/echo', 'agent-offline', /pi9 is offline/],
    ['the agent does not offer the service', 'pi7/web', 'unknown-service', /does not offer 'web'/],
    ['the target refuses', 'pi7/closed', 'refused', /refused/],
  ])('when %s', async (_, to, reason, detail) => {
    const broker = await openBroker(listening({ to }))
    await openAgent(broker, { closed: { target: '127.0.0.1:1' } })
    const socket = await dialPort(portOf(broker))
    const { localPort } = socket
    socket.write('x')
    expect(await closeCodeOf(socket)).toBe('ECONNRESET')
    const event = await eventOf(broker, 'tunnel port connection refused')
    expect(event).toMatchObject({ bind: '127.0.0.1:0', to, address: '127.0.0.1', port: localPort, reason })
    expect(event['detail']).toMatch(detail)
  })

  it('when its address is not in the allow list', async () => {
    const broker = await openBroker(listening({ allow: ['127.0.0.5', '10.0.0.0/8'] }))
    await openAgent(broker, { echo: { target: await openTarget(echo) } })
    expect(await roundTrip(reach(broker, { localAddress: '127.0.0.5' }), 'in')).toBe('in')
    expect(await closeCodeOf(reach(broker, { localAddress: '127.0.0.6' }))).toBe('ECONNRESET')
    expect(await eventOf(broker, 'tunnel port connection refused')).toMatchObject({
      address: '127.0.0.6',
      reason: 'address-not-allowed',
    })
  })

  it('when its address is banned for its guesses at passwords', async () => {
    const broker = await openBroker({
      ...listening({}),
      limits: { banFailures: 1 },
      listeners: [{ type: 'tcp', port: 0, host: '127.0.0.1', handlers: [] }],
    })
    const guess = { host: '127.0.0.1', port: broker.port, localAddress: '127.0.0.8' }
    await expect(connectMqttOver(guess, { username: 'u', password: 'p' })).rejects.toThrow(
      /Not authorized|Bad username|closed/,
    )
    expect(await closeCodeOf(reach(broker, { localAddress: '127.0.0.8' }))).toBe('ECONNRESET')
    expect(await eventOf(broker, 'tunnel port connection refused')).toMatchObject({
      address: '127.0.0.8',
      reason: 'banned',
    })
  })

  it('when there are more than maxConnections; the next one has the place of one that has gone', async () => {
    const broker = await openBroker(listening({ maxConnections: 1 }))
    await openAgent(broker, { echo: { target: await openTarget(echo) } })
    const first = await dialPort(portOf(broker))
    expect(await roundTrip(first, 'one')).toBe('one')
    expect(await closeCodeOf(reach(broker))).toBe('ECONNRESET')
    expect(await eventOf(broker, 'tunnel port connection refused')).toMatchObject({
      reason: 'max-connections',
    })
    const ended = textOf(first)
    first.end()
    await ended
    await expect
      .poll(async () => {
        const socket = reach(broker)
        socket.end('two')
        return await textOf(socket).catch(() => 'reset')
      })
      .toBe('two')
  })

  it('but not for who connects and goes again, as a health check does', async () => {
    const broker = await openBroker(listening({ proxyProtocol: 'required' }, { to: 'pi9/echo' }))
    const check = await dialPort(portOf(broker))
    const closed = closeCodeOf(check)
    check.end()
    await closed
    // What comes after it is logged.
    expect(await closeCodeOf(reach(broker, { index: 1 }))).toBe('ECONNRESET')
    await eventOf(broker, 'tunnel port connection refused', { to: 'pi9/echo' })
    expect(eventsOf(broker, 'tunnel port connection refused')).toHaveLength(1)
  })
})

describe('the PROXY protocol at a tunnel port', () => {
  const v1 = (address: string): Buffer => Buffer.from(`PROXY TCP4 ${address} 127.0.0.1 40000 2222\r\n`)
  const v2 = encodeV2({ addresses: inet([203, 0, 113, 9], 40_001) })

  it.each([
    ['version 1', v1('203.0.113.9'), 40_000],
    ['version 2', v2, 40_001],
  ])('is read in %s, and the target is told the real address in version 2', async (_, header, port) => {
    const broker = await openBroker(listening({ proxyProtocol: 'required' }))
    const decoded = later<unknown>()
    const target = await openTarget((socket) => {
      const decoder = createProxyDecoder()
      let got = ''
      let isRead = false
      socket.on('data', (chunk) => {
        if (isRead) got += chunk.toString()
        else {
          const outcome = decoder.receive(chunk)
          if (outcome.kind === 'needMore') return
          isRead = true
          if (outcome.kind === 'header') {
            got = outcome.rest.toString()
            decoded.resolve(outcome.header)
          } else decoded.resolve(outcome)
        }
        if (got === 'hello') socket.end('welcome')
      })
    })
    await openAgent(broker, { echo: { target, proxyProtocol: 'v2' } })
    const socket = await dialPort(portOf(broker))
    // Split within the header, and with data right behind it.
    socket.write(header.subarray(0, 7))
    socket.write(Buffer.concat([header.subarray(7), Buffer.from('hello')]))
    expect(await textOf(socket)).toBe('welcome')
    expect(await decoded.promise).toMatchObject({ version: 2, source: { address: '203.0.113.9', port } })
    expect(await eventOf(broker, 'stream opened')).toMatchObject({ address: '203.0.113.9', port })
  })

  it('judges the allow list by the address in the header', async () => {
    const broker = await openBroker(listening({ proxyProtocol: 'required', allow: ['203.0.113.0/24'] }))
    await openAgent(broker, { echo: { target: await openTarget(echo) } })
    const good = await dialPort(portOf(broker))
    good.write(v1('203.0.113.9'))
    expect(await roundTrip(good, 'in')).toBe('in')
    const bad = await dialPort(portOf(broker))
    bad.write(v1('198.51.100.1'))
    expect(await closeCodeOf(bad)).toBe('ECONNRESET')
    expect(await eventOf(broker, 'tunnel port connection refused')).toMatchObject({
      address: '198.51.100.1',
      port: 40_000,
      reason: 'address-not-allowed',
    })
  })

  it('with `required`, refuses a connection without a header', async () => {
    const broker = await openBroker(listening({ proxyProtocol: 'required' }))
    const socket = await dialPort(portOf(broker))
    socket.write('SSH-2.0-OpenSSH_9.9\r\n')
    expect(await closeCodeOf(socket)).toBe('ECONNRESET')
    expect(await eventOf(broker, 'tunnel port connection refused')).toMatchObject({ reason: 'proxy-header' })
  })

  it('with `trusted`, is data like any other from everyone else', async () => {
    const broker = await openBroker(
      listening({
        proxyProtocol: 'trusted',
        trustedProxies: ['127.0.0.9'],
        allow: ['127.0.0.1', '203.0.113.9'],
      }),
    )
    await openAgent(broker, { echo: { target: await openTarget(echo) } })
    const header = v1('203.0.113.9').toString()
    expect(await roundTrip(await dialPort(portOf(broker)), header)).toBe(header)
    const proxy = reach(broker, { localAddress: '127.0.0.9' })
    proxy.write(header)
    expect(await roundTrip(proxy, 'in')).toBe('in')
  })
})

describe('mountpoints', () => {
  it('a port leads to the agent of its mountpoint, not to one of the same name in another', async () => {
    const broker = await openBroker({
      listeners: [
        { type: 'tcp', port: 0, host: '127.0.0.1', allowAnonymous: true, name: 'a', mountpoint: 'a/' },
        { type: 'tcp', port: 0, host: '127.0.0.1', allowAnonymous: true, name: 'b', mountpoint: 'b/' },
      ],
      ...listening({ mountpoint: 'a/' }, { mountpoint: 'b/' }, {}),
    })
    for (const [index, name] of ['a', 'b'].entries()) {
      const target = await openTarget((socket) => socket.end(name))
      await openAgent(broker, { echo: { target } }, { url: broker.listeners[index]!.url })
    }
    expect(await textOf(await dialPort(portOf(broker, 0)))).toBe('a')
    expect(await textOf(await dialPort(portOf(broker, 1)))).toBe('b')
    expect(await closeCodeOf(reach(broker, { index: 2 }))).toBe('ECONNRESET')
  })
})

describe('start and stop', () => {
  it('a port that is in use fails the start, with its entry in the message, and leaves nothing open', async () => {
    const taken = createServer()
    taken.listen(0, '127.0.0.1')
    await once(taken, 'listening')
    onTestFinished(() => void taken.close())
    const { port } = taken.address() as AddressInfo
    const free = createServer()
    free.listen(0, '127.0.0.1')
    await once(free, 'listening')
    const other = (free.address() as AddressInfo).port
    free.close()
    await once(free, 'close')
    const overrides = listening({ bind: `127.0.0.1:${other}` }, { bind: `127.0.0.1:${port}` })
    await expect(openBroker(overrides)).rejects.toMatchObject({
      code: 'TMQ_LISTEN',
      message: expect.stringMatching(
        /^tunnel\.listen\.1 \(to pi7\/echo\) cannot listen on .* in use/,
      ) as string,
    })
    await expect(dialPort(other)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  })

  it('a stop resets the streams at both ends, and frees the port; the next start serves it again', async () => {
    const broker = await openBroker(listening({}))
    const targetClosed = later<string | undefined>()
    const target = await openTarget((socket) => {
      socket.pipe(socket)
      void closeCodeOf(socket).then(targetClosed.resolve)
    })
    await openAgent(broker, { echo: { target } })
    const socket = await dialPort(portOf(broker))
    expect(await roundTrip(socket, 'hi')).toBe('hi')
    const code = closeCodeOf(socket)
    await broker.stop()
    expect(await code).toBe('ECONNRESET')
    expect(await targetClosed.promise).toBe('ECONNRESET')
    expect(await eventOf(broker, 'stream ended')).toMatchObject({ reason: 'shutdown' })
    await expect(dialPort(portOf(broker))).rejects.toMatchObject({ code: 'ECONNREFUSED' })

    const again = await openBroker(listening({ bind: `127.0.0.1:${portOf(broker)}` }))
    await openAgent(again, { echo: { target: await openTarget(echo) } })
    expect(await roundTrip(await dialPort(portOf(broker)), 'again')).toBe('again')
  })
})
