import { describe, expect, it } from 'vitest'
import { encodeV2, inet, inet6, sslTlv } from '../../unit/listeners/proxy-encoder.ts'
import { counted, dial, openWorld, portOf, read, readAll, type ListenerInput } from './world.ts'

const required: ListenerInput = { type: 'tcp', port: 0, proxyProtocol: 'required' }
const trusting = (host: string, ...trustedProxies: string[]): ListenerInput => ({
  type: 'tcp',
  host,
  port: 0,
  proxyProtocol: 'trusted',
  trustedProxies,
})
const fromHere = trusting('127.0.0.1', '127.0.0.0/8')
const fromElsewhere = trusting('127.0.0.1', '10.0.0.0/8', 'fd00::/8')
const v1 = Buffer.from('PROXY TCP4 192.0.2.1 127.0.0.1 40000 1883\r\n')

describe('a listener that requires the PROXY header', () => {
  it('takes the address from version 1, and the payload behind it', async () => {
    const world = await openWorld(required)
    const client = await dial(portOf(world))
    client.write(Buffer.concat([v1, Buffer.from('payload')]))
    expect((await read(client, 7)).toString()).toBe('payload')
    expect(world.connections[0]?.transport.peer).toMatchObject({
      address: '192.0.2.1',
      port: 40_000,
      addressSource: 'proxy-v1',
      socketAddress: '127.0.0.1',
    })
  })

  it('takes address and certificate name from version 2', async () => {
    const world = await openWorld(required)
    const client = await dial(portOf(world))
    const addresses = inet6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 40_001)
    const tlvs = [sslTlv(Buffer.from('sensor-7'))]
    client.write(encodeV2({ familyAndProtocol: 0x21, addresses, tlvs, checksum: true }))
    client.write('payload')
    expect((await read(client, 7)).toString()).toBe('payload')
    expect(world.connections[0]?.transport.peer).toMatchObject({
      address: '2001:db8::1',
      port: 40_001,
      addressSource: 'proxy-v2',
      proxyCertificateName: 'sensor-7',
    })
  })

  it('takes a header that comes in pieces', async () => {
    const world = await openWorld(required)
    const client = await dial(portOf(world))
    // With noDelay each write is a packet of its own; the turn between lets it be read alone.
    client.setNoDelay(true)
    for (const byte of Buffer.concat([v1, Buffer.from('payload')])) {
      client.write(Buffer.from([byte]))
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect((await read(client, 7)).toString()).toBe('payload')
    expect(world.connections[0]?.transport.peer.address).toBe('192.0.2.1')
  })

  it('takes LOCAL for the proxy itself', async () => {
    const world = await openWorld(required)
    const client = await dial(portOf(world))
    client.write(encodeV2({ command: 0, familyAndProtocol: 0 }))
    client.write('payload')
    await read(client, 7)
    expect(world.connections[0]?.transport.peer).toMatchObject({
      address: '127.0.0.1',
      port: client.localPort,
      addressSource: 'socket',
    })
  })

  it.each([
    ['no header', '\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00', 'no PROXY header'],
    ['a bad address', 'PROXY TCP4 1.2.3 127.0.0.1 1 2\r\n', 'v1: bad TCP4 address'],
    [
      'a length that lies',
      encodeV2({ addresses: inet([1, 2, 3, 4], 5).subarray(0, 11) }),
      'v2: shorter than its addresses',
    ],
  ])('closes a connection with %s, and says why', async (_, bytes, detail) => {
    const world = await openWorld(required)
    const client = await dial(portOf(world))
    client.write(bytes)
    expect(await readAll(client)).toBe('')
    expect(world.connections).toEqual([])
    expect(world.refusals).toEqual([
      {
        address: '127.0.0.1',
        port: expect.any(Number),
        socketAddress: '127.0.0.1',
        listener: world.listener.name,
        transport: 'tcp',
        reason: 'proxy-header',
        detail,
      },
    ])
    await counted(world, 0)
  })

  it('closes a connection whose header is late, or breaks off', async () => {
    const world = await openWorld(required, { bounds: { proxyHeaderTimeoutMs: 500 } })
    const late = await dial(portOf(world))
    late.write('PROXY TCP4 192.0')
    await readAll(late)
    const cut = await dial(portOf(world))
    cut.end('PROXY TCP4 192.0')
    await world.until(() => world.refusals.length === 2)
    expect(world.refusals.map(({ reason, detail }) => [reason, detail])).toEqual([
      ['proxy-header-timeout', 'not within 500 ms'],
      ['proxy-header', 'closed before it was complete'],
    ])
  })

  it('says nothing of a health check that connects and closes', async () => {
    const world = await openWorld(required)
    const check = await dial(portOf(world))
    check.end()
    await readAll(check)
    const next = await dial(portOf(world))
    next.write(Buffer.concat([v1, Buffer.from('x')]))
    await read(next, 1)
    await world.listener.close()
    expect(world.refusals).toEqual([])
  })

  it('counts limits and bans by the address in the header, and not by the proxy', async () => {
    const world = await openWorld(required, { limits: { maxConnectionsPerAddress: 1, banFailures: 1 } })
    const from = async (address: string): Promise<string> => {
      const client = await dial(portOf(world))
      client.write(`PROXY TCP4 ${address} 127.0.0.1 1 2\r\n!`)
      return (await read(client, 1)).toString()
    }
    expect(await from('192.0.2.1')).toBe('!')
    expect(await from('192.0.2.2')).toBe('!')
    expect(await from('192.0.2.1')).toBe('')
    world.admission.credentialsRefused('192.0.2.3')
    expect(await from('192.0.2.3')).toBe('')
    expect(world.refusals.map(({ address, reason }) => `${address} ${reason}`)).toEqual([
      '192.0.2.1 address-max-connections',
      '192.0.2.3 banned',
    ])
    expect(world.admission.counts()).toMatchObject({ connections: 2, addresses: 2 })
  })
})

describe('a listener that takes the PROXY header from trusted proxies', () => {
  it('believes it from one of them', async () => {
    const world = await openWorld(fromHere)
    const client = await dial(portOf(world))
    client.write(Buffer.concat([v1, Buffer.from('payload')]))
    expect((await read(client, 7)).toString()).toBe('payload')
    expect(world.connections[0]?.transport.peer.address).toBe('192.0.2.1')
  })

  it('takes everyone else for a direct client on the same port', async () => {
    const world = await openWorld(fromElsewhere)
    const client = await dial(portOf(world))
    client.write('payload')
    expect((await read(client, 7)).toString()).toBe('payload')
    expect(world.connections[0]?.transport.peer).toMatchObject({
      address: '127.0.0.1',
      addressSource: 'socket',
    })
  })

  it('hands on the header of everyone else as data, and believes nothing of it', async () => {
    const world = await openWorld(fromElsewhere)
    const client = await dial(portOf(world))
    client.write(v1)
    expect((await read(client, v1.length)).equals(v1)).toBe(true)
    expect(world.connections[0]?.transport.peer.address).toBe('127.0.0.1')
  })

  it('closes a trusted proxy that sends none', async () => {
    const world = await openWorld(fromHere)
    const client = await dial(portOf(world))
    client.write('\x10')
    await readAll(client)
    expect(world.refusals).toMatchObject([{ reason: 'proxy-header', detail: 'no PROXY header' }])
  })

  it('knows a trusted IPv4 proxy on a listener for both families', async () => {
    const world = await openWorld(trusting('::', '127.0.0.0/8'))
    const client = await dial(portOf(world))
    client.write(Buffer.concat([v1, Buffer.from('!')]))
    await read(client, 1)
    expect(world.connections[0]?.transport.peer).toMatchObject({
      address: '192.0.2.1',
      socketAddress: '127.0.0.1',
    })
  })
})

describe('a listener with the PROXY protocol off', () => {
  it('hands on a header as data', async () => {
    const world = await openWorld({ type: 'tcp', port: 0 })
    const client = await dial(portOf(world))
    client.write(v1)
    expect((await read(client, v1.length)).equals(v1)).toBe(true)
  })
})
