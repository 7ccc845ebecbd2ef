import { mkdtemp, rm } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { MqttClient } from 'mqtt'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { AuthError, RefuseReason, type Session } from '../../../src/hooks/types.ts'
import { startHaproxy } from '../listeners/haproxy.ts'
import {
  connectMqtt,
  connectMqttOver,
  connectRaw,
  eventOf,
  openBroker,
  openRaw,
  portOf,
  refusalCode,
  type ListenerInput,
} from '../../support/broker-world.ts'
import { connectPacket } from '../../support/wire.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tunnelmq-proxy-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const behindProxy = {
  type: 'tcp',
  name: 'mqtt',
  port: 0,
  allowAnonymous: true,
  proxyProtocol: 'required',
} as const satisfies ListenerInput

const localPort = (client: MqttClient): number => (client.stream as Socket).localPort!
/** A PROXY header of version 1 for a client elsewhere, as a proxy would send it. */
const header = (address: string): Buffer => Buffer.from(`PROXY TCP4 ${address} 127.0.0.1 40000 1883\r\n`)

describe.each([
  ['send-proxy', 'proxy-v1'],
  ['send-proxy-v2', 'proxy-v2'],
])('behind a real HAProxy with %s', (option, addressSource) => {
  it('the client has its own address in the session and in every log line', async () => {
    const sessions: Session[] = []
    const broker = await openBroker(
      { listeners: [{ ...behindProxy, allowAnonymous: false }] },
      { authConnect: (session) => void sessions.push(session) },
    )
    const port = await startHaproxy({ folder, server: `127.0.0.1:${portOf(broker, 'mqtt')} ${option}` })
    const client = await connectMqttOver(
      { host: '127.0.0.1', port, localAddress: '127.0.0.77' },
      { clientId: 'c1' },
    )
    const own = { address: '127.0.0.77', port: localPort(client) }
    expect(sessions[0]!.peer).toMatchObject({
      ...own,
      addressSource,
      socketAddress: '127.0.0.1',
      listener: 'mqtt',
    })
    expect(await eventOf(broker, 'client connected')).toMatchObject({ client: 'c1', ...own })
    await client.endAsync()
    expect(await eventOf(broker, 'client disconnected')).toMatchObject({ client: 'c1', ...own })
  })

  it('limits and bans are for its own address, not for that of the proxy', async () => {
    const broker = await openBroker({
      listeners: [{ ...behindProxy, handlers: [] }],
      // Two: a refused connection may still be on its way out when the next one comes.
      limits: { maxConnectionsPerAddress: 2, banFailures: 2 },
    })
    const port = await startHaproxy({ folder, server: `127.0.0.1:${portOf(broker, 'mqtt')} ${option}` })
    const from = (localAddress: string, options = {}) =>
      connectMqttOver({ host: '127.0.0.1', port, localAddress }, options)
    await from('127.0.0.81')
    await from('127.0.0.81')
    await expect(from('127.0.0.81')).rejects.toThrow(/closed/)
    expect(await eventOf(broker, 'connection refused', { reason: 'address-max-connections' })).toMatchObject({
      address: '127.0.0.81',
    })
    await from('127.0.0.82')

    const guess = { username: 'ann', password: 'x' }
    await expect(from('127.0.0.83', guess)).rejects.toThrow(/Bad username or password/)
    await expect(from('127.0.0.83', guess)).rejects.toThrow(/Bad username or password/)
    await expect(from('127.0.0.83')).rejects.toThrow(/closed/)
    expect(await eventOf(broker, 'connection refused', { reason: 'banned' })).toMatchObject({
      address: '127.0.0.83',
    })
    await from('127.0.0.84')
  })
})

describe('a listener with proxyProtocol', () => {
  it('trusted takes a direct client and one behind the proxy on the same port', async () => {
    const sessions: Session[] = []
    const broker = await openBroker(
      {
        listeners: [
          { type: 'tcp', name: 'mqtt', port: 0, proxyProtocol: 'trusted', trustedProxies: ['127.0.0.9/32'] },
        ],
      },
      { authConnect: (session) => void sessions.push(session) },
    )
    const own = portOf(broker, 'mqtt')
    const proxy = await startHaproxy({ folder, server: `127.0.0.1:${own} send-proxy-v2 source 127.0.0.9` })
    await connectMqttOver({ host: '127.0.0.1', port: proxy, localAddress: '127.0.0.78' })
    await connectMqtt(broker.url)
    expect(sessions.map(({ peer }) => [peer.address, peer.addressSource])).toEqual([
      ['127.0.0.78', 'proxy-v2'],
      ['127.0.0.1', 'socket'],
    ])
  })

  it('trusted does not believe a header from elsewhere', async () => {
    const broker = await openBroker({
      listeners: [{ ...behindProxy, proxyProtocol: 'trusted', trustedProxies: ['192.0.2.0/24'] }],
    })
    const client = await openRaw(broker.port)
    client.send(header('203.0.113.5'), connectPacket({ clientId: 'c1' }))
    await client.untilClosed()
    expect(client.received).toEqual([])
    expect(await eventOf(broker, 'connection refused')).toMatchObject({
      address: '127.0.0.1',
      detail: 'a PROXY header, from an address that is not to send one',
    })
  })

  it('required refuses who sends none, with a reason in the log', async () => {
    const broker = await openBroker({ listeners: [behindProxy] })
    const client = await openRaw(broker.port)
    client.send(connectPacket({ clientId: 'c1' }))
    await client.untilClosed()
    expect(await eventOf(broker, 'connection refused')).toMatchObject({
      address: '127.0.0.1',
      listener: 'mqtt',
      reason: 'proxy-header',
    })
  })

  it('takes CONNECT in the same segment as the header, and counts connects for each address', async () => {
    const broker = await openBroker({
      listeners: [behindProxy],
      limits: { connectionsPerSecondPerAddress: 1 },
    })
    const connect = async (address: string): Promise<number | undefined> => {
      const client = await openRaw(broker.port)
      client.send(header(address), connectPacket({ clientId: 'c1' }))
      await Promise.race([client.next('connack').catch(() => undefined), client.closed])
      const [connack] = client.received
      return connack?.type === 'connack' ? connack.code : undefined
    }
    expect(await connect('203.0.113.5')).toBe(0)
    expect(await connect('203.0.113.6')).toBe(0)
    expect(await connect('203.0.113.6')).toBeUndefined()
    expect(await eventOf(broker, 'connection refused')).toMatchObject({
      address: '203.0.113.6',
      port: 40_000,
      reason: 'address-connect-rate',
    })
  })
})

describe('X-Forwarded-For', () => {
  it('is believed from a trusted proxy only', async () => {
    const sessions: Session[] = []
    const ws = { type: 'ws', port: 0, allowAnonymous: false } as const
    const broker = await openBroker(
      {
        listeners: [
          { type: 'tcp', port: 0 },
          { ...ws, name: 'trusting', trustedProxies: ['127.0.0.1'] },
          { ...ws, name: 'direct' },
        ],
      },
      { authConnect: (session) => void sessions.push(session) },
    )
    for (const name of ['trusting', 'direct']) {
      await connectMqtt(`ws://127.0.0.1:${portOf(broker, name)}/mqtt`, {
        wsOptions: { headers: { 'X-Forwarded-For': '203.0.113.7' } },
      })
    }
    expect(sessions.map(({ peer }) => [peer.listener, peer.address, peer.addressSource])).toEqual([
      ['trusting', '203.0.113.7', 'x-forwarded-for'],
      ['direct', '127.0.0.1', 'socket'],
    ])
  })
})

function judge(password: string | undefined): void {
  if (password !== 'right') throw new AuthError('wrong', RefuseReason.badCredentials)
}

describe('a ban', () => {
  it('comes after repeated refusals of credentials, for that address alone, and ends', async () => {
    const broker = await openBroker({
      listeners: [{ ...behindProxy, proxyProtocol: 'off', handlers: [] }],
      limits: { banFailures: 3, banMs: 1_000 },
    })
    const guess = { clientId: 'c1', username: 'ann', password: 'x' }
    for (let i = 0; i < 3; i++) expect(await refusalCode(broker.port, guess)).toBe(4)
    const banned = await openRaw(broker.port)
    await banned.untilClosed()
    expect(await eventOf(broker, 'connection refused', { reason: 'banned' })).toMatchObject({
      address: '127.0.0.1',
    })
    await connectMqttOver({ host: '127.0.0.1', port: broker.port, localAddress: '127.0.0.2' })
    await expect
      .poll(async () => (await openRaw(broker.port)).connect({ clientId: 'c2' }).catch(() => undefined), {
        timeout: 10_000,
      })
      .toMatchObject({ code: 0 })
  })

  it('leaves no guess to connections that were opened before it', async () => {
    const broker = await openBroker(
      { limits: { banFailures: 3 } },
      { authConnect: ({ password }) => judge(password?.toString()) },
    )
    const opened = await Promise.all(Array.from({ length: 8 }, () => openRaw(broker.port)))
    const codes: number[] = []
    for (const [index, client] of opened.entries()) {
      const password = index === 7 ? 'right' : 'wrong'
      codes.push((await client.connect({ clientId: `c${index}`, username: 'ann', password })).code)
    }
    expect(codes).toEqual([4, 4, 4, 5, 5, 5, 5, 5])
    expect(await eventOf(broker, 'connection refused', { reason: 'banned' })).toMatchObject({
      address: '127.0.0.1',
    })
  })

  it('answers guesses that were waiting for their verdict alike, right or wrong', async () => {
    const verdicts: (() => void)[] = []
    const broker = await openBroker(
      { limits: { banFailures: 2 } },
      {
        async authConnect({ password }) {
          const text = password?.toString()
          await new Promise<void>((resolve) => verdicts.push(resolve))
          judge(text)
        },
      },
    )
    const answers: Promise<{ code: number }>[] = []
    for (const [index, password] of ['a', 'b', 'c', 'right'].entries()) {
      const client = await openRaw(broker.port)
      answers.push(client.connect({ clientId: `c${index}`, username: 'ann', password }))
      await expect.poll(() => verdicts.length).toBe(index + 1)
    }
    const codes: number[] = []
    for (const [index, answer] of answers.entries()) {
      verdicts[index]?.()
      codes.push((await answer).code)
    }
    expect(codes).toEqual([4, 4, 5, 5])
  })

  it('does not come from refusals that are no guesses', async () => {
    const broker = await openBroker({ limits: { banFailures: 1, maxClientIdBytes: 4 } })
    expect(await refusalCode(broker.port, { clientId: 'too long' })).toBe(2)
    expect(await refusalCode(broker.port, { clientId: 'c1', level: 6 })).toBe(0x84)
    await connectRaw(broker.port, { clientId: 'c1' })
  })
})
