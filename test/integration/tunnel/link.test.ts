import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { LinkTlsOptions } from '../../../src/tunnel/link/options.ts'
import { createCa, type CertificateFiles, type TestCa } from '../listeners/certificates.ts'
import { openBroker, portOf, temporaryFolder } from '../../support/broker-world.ts'
import { dataHeader, openHeader, openLink, openPayload, payloadOf } from '../../support/link-end.ts'
import { freePort, startMosquitto } from '../../support/mosquitto.ts'

let folder: string
let ca: TestCa
let server: CertificateFiles
let trust: LinkTlsOptions

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tunnelmq-link-'))
  ca = await createCa(folder)
  server = await ca.issue('server')
  trust = { ca: await readFile(ca.cert) }
})
afterAll(() => rm(folder, { recursive: true, force: true }))

interface Place {
  readonly url: string
  readonly tls?: LinkTlsOptions
  readonly topicPrefix?: string
}

/** Where the links go, and over what. */
const places: Record<string, () => Promise<Place>> = {
  'our broker over TCP': async () => {
    const broker = await openBroker()
    return { url: broker.url }
  },
  'our broker over TLS': async () => {
    const tls = { cert: server.cert, key: server.key }
    const listeners = [{ type: 'tls' as const, name: 'l', port: 0, tls, allowAnonymous: true }]
    const broker = await openBroker({ listeners })
    return { url: `mqtts://localhost:${portOf(broker, 'l')}`, tls: trust }
  },
  'our broker over a WebSocket': async () => {
    const listeners = [
      { type: 'tcp' as const, name: 't', port: 0, allowAnonymous: true },
      { type: 'ws' as const, name: 'l', port: 0, allowAnonymous: true },
    ]
    const broker = await openBroker({ listeners })
    return { url: `ws://127.0.0.1:${portOf(broker, 'l')}` }
  },
  'our broker over a WebSocket with TLS': async () => {
    const tls = { cert: server.cert, key: server.key }
    const listeners = [
      { type: 'tcp' as const, name: 't', port: 0, allowAnonymous: true },
      { type: 'wss' as const, name: 'l', port: 0, tls, websocket: { path: '/p' }, allowAnonymous: true },
    ]
    const broker = await openBroker({ listeners })
    return { url: `wss://127.0.0.1:${portOf(broker, 'l')}/p`, tls: trust }
  },
  'our broker over a unix socket': async () => {
    const path = join(await temporaryFolder(), 'mqtt.sock')
    const listeners = [
      { type: 'tcp' as const, name: 't', port: 0, allowAnonymous: true },
      { type: 'unix' as const, name: 'l', path, mode: '600', allowAnonymous: true },
    ]
    await openBroker({ listeners })
    return { url: `unix:${path}` }
  },
  'mosquitto over TCP': async () => {
    const { port } = await startMosquitto()
    return { url: `mqtt://127.0.0.1:${port}`, topicPrefix: 'tunnel' }
  },
  'mosquitto over TLS': async () => {
    const files = [`cafile ${ca.cert}`, `certfile ${server.cert}`, `keyfile ${server.key}`]
    const { port } = await startMosquitto({ lines: ['allow_anonymous true', ...files] })
    return { url: `mqtts://localhost:${port}`, tls: trust, topicPrefix: 'site/tunnel' }
  },
  'mosquitto over a WebSocket': async () => {
    const port = await freePort()
    const lines = ['allow_anonymous true', `listener ${port} 127.0.0.1`, 'protocol websockets']
    await startMosquitto({ lines })
    return { url: `ws://127.0.0.1:${port}`, topicPrefix: 'tunnel' }
  },
}

describe.each(Object.entries(places))('two links to %s', (_name, open) => {
  it('carry frames both ways, unchanged and in order', async () => {
    const place = await open()
    const agent = openLink({ role: 'agent', name: 'pi7', ...place })
    const client = openLink({ role: 'client', name: 'laptop', ...place })
    await Promise.all([agent.until('up'), client.until('up')])
    const route = client.link.route('pi7', 'ssh', 'laptop')
    const sizes = [1, 2_047, 2_048, 2_049, 32_768, 65_536, 100]
    expect(client.link.send(route, openHeader, openPayload)).toBe(true)
    let offset = 0
    for (const size of sizes) {
      expect(client.link.send(route, dataHeader(offset), Buffer.alloc(size, size % 251))).toBe(true)
      offset += size
      // The client's credit before ACCEPT is 64 KiB; this link does not ask, but the broker does.
      if (offset === 1 + 2_047 + 2_048 + 2_049 + 32_768) break
    }
    await agent.untilFrames(6)
    expect(agent.frames.every((got) => got.route === agent.link.route('pi7', 'ssh', 'laptop'))).toBe(true)
    expect(agent.frames.slice(1).map(({ frame }) => payloadOf(frame))).toEqual(
      sizes.slice(0, 5).map((size) => Buffer.alloc(size, size % 251)),
    )

    const back = agent.link.route('pi7', 'ssh', 'laptop')
    expect(agent.link.send(back, dataHeader(0, { type: 2 }), undefined)).toBe(true)
    offset = 0
    for (const size of sizes) {
      expect(agent.link.send(back, dataHeader(offset), Buffer.alloc(size, size % 251))).toBe(true)
      offset += size
    }
    await client.untilFrames(1 + sizes.length)
    expect(client.frames.slice(1).map(({ frame }) => payloadOf(frame))).toEqual(
      sizes.map((size) => Buffer.alloc(size, size % 251)),
    )
    expect(client.frames.every((got) => got.route === route)).toBe(true)
  })

  it('tell the status of an agent: retained, changed, and offline when it closes', async () => {
    const place = await open()
    const agent = openLink({ role: 'agent', name: 'pi7', ...place })
    agent.link.publishStatus('{"online":true,"services":["ssh"]}')
    await agent.until('up')
    const client = openLink({ role: 'client', name: 'laptop', ...place })
    client.link.watchStatus('pi7')
    client.link.watchStatus('+')
    await client.link.statusComplete(10_000)
    expect(client.told).toContain('status pi7 {"online":true,"services":["ssh"]}')
    agent.link.publishStatus('{"online":true,"services":["ssh","web"]}')
    await client.until('status pi7 {"online":true,"services":["ssh","web"]}')
    await agent.link.close()
    expect(agent.link.isUp).toBe(false)
    await client.until(/^status pi7 \{"online":false/)
  })
})
