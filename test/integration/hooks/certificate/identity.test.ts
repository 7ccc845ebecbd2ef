import { X509Certificate } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect as connectTcp } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createArrivals, type Arrivals } from '../../../support/certificate-clients.ts'
import { createOpensslCa, type IssuedFiles, type OpensslCa } from '../../../support/openssl-ca.ts'
import { startTestBroker, type TestBroker } from '../../../support/broker.ts'
import { eventOf, eventsOf, portOf, type ListenerInput } from '../../../support/broker-world.ts'
import { eventually } from '../../../support/eventually.ts'
import { RawClient } from '../../../support/raw-client.ts'

let folder: string
let ca: OpensslCa
let pi7: IssuedFiles
let nameless: IssuedFiles
let strange: IssuedFiles
let arrivals: Arrivals
let broker: TestBroker
let fingerprints: string

type Handlers = NonNullable<ListenerInput['handlers']>

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tunnelmq-identity-'))
  ca = await createOpensslCa(folder, 'devices')
  const server = await ca.issue('server', { extensions: ['subjectAltName = DNS:localhost,IP:127.0.0.1'] })
  const names =
    'URI:urn:dev:serial:0815,URI:urn:other:1,email:pi7@example.com,DNS:pi7.example.com,IP:10.0.0.7'
  pi7 = await ca.issue('pi7', { subject: '/O=Home, sweet/CN=pi7', extensions: [`subjectAltName = ${names}`] })
  nameless = await ca.issue('nameless', { subject: '/O=Nobody' })
  strange = await (await createOpensslCa(folder, 'others')).issue('pi7')
  fingerprints = join(folder, 'fingerprints')
  await writeFile(fingerprints, await fingerprintLine(pi7))

  const tls = { cert: server.cert, key: server.key, clientCa: ca.cert, requireClientCertificate: false }
  const listener = (name: string, handlers: Handlers, more: object = {}): ListenerInput => ({
    type: 'tls',
    name,
    port: 0,
    tls,
    handlers,
    ...more,
  })
  const passwords = join(folder, 'passwords')
  // pi7:secret, by mosquitto_passwd -H sha512-pbkdf2 with few iterations.
  await writeFile(
    passwords,
    `pi7:$7$101$c2FsdA==$${(await pbkdf2('secret', 'salt', 101)).toString('base64')}\n`,
  )
  arrivals = createArrivals(ca.cert)
  broker = await startTestBroker(
    {
      // All of them come from one address.
      limits: { banFailures: 0 },
      listeners: [
        listener('cn', [{ type: 'certificate' }]),
        listener('open', [{ type: 'certificate' }], { allowAnonymous: true }),
        listener('required', [{ type: 'certificate', required: true }], { allowAnonymous: true }),
        listener('uri', [
          {
            type: 'certificate',
            identity: { from: 'san', sanType: 'uri', pattern: 'urn:dev:serial:([0-9]+)' },
            clientId: 'set',
          },
        ]),
        listener('dns', [{ type: 'certificate', identity: { from: 'san' } }]),
        listener('ip', [{ type: 'certificate', identity: { from: 'san', sanType: 'ip' } }]),
        listener('email', [{ type: 'certificate', identity: { from: 'san', sanType: 'email' } }]),
        listener('subject', [{ type: 'certificate', identity: { from: 'subject' } }]),
        listener('fingerprint', [{ type: 'certificate', identity: { from: 'fingerprint' }, fingerprints }]),
        listener('equal', [{ type: 'certificate', username: 'equal', clientId: 'equal' }]),
        listener('both', [
          { type: 'certificate', username: 'equal', decides: false, required: true },
          { type: 'password-file', file: passwords },
        ]),
        listener('identities', [
          { type: 'certificate', decides: false },
          { type: 'dynamic' },
          { type: 'certificate' },
        ]),
        { ...listener('wss', [{ type: 'certificate' }]), type: 'wss' } as ListenerInput,
        {
          type: 'tcp',
          name: 'proxied',
          port: 0,
          proxyProtocol: 'trusted',
          trustedProxies: ['127.0.0.1'],
          handlers: [{ type: 'certificate', proxyCertificateName: true }],
        },
        listener('proxied-tls', [{ type: 'certificate', proxyCertificateName: true }], {
          ...{ proxyProtocol: 'trusted', trustedProxies: ['127.0.0.1'] },
        }),
      ],
    },
    { handlers: [arrivals.handler] },
  )
})
afterAll(async () => {
  await broker.stop()
  await rm(folder, { recursive: true, force: true })
})

async function fingerprintLine({ cert }: IssuedFiles): Promise<string> {
  return `${new X509Certificate(await readFile(cert)).fingerprint256} # one of ours\n`
}

async function pbkdf2(password: string, salt: string, iterations: number): Promise<Buffer> {
  const { pbkdf2Sync } = await import('node:crypto')
  return pbkdf2Sync(password, salt, iterations, 64, 'sha512')
}

const url = (name: string): string => `mqtts://localhost:${portOf(broker, name)}`

describe('who a client is by its certificate', () => {
  it.each([
    ['cn', /^pi7 client-/],
    ['dns', /^pi7\.example\.com client-/],
    ['ip', /^10\.0\.0\.7 client-/],
    ['email', /^pi7@example\.com client-/],
    ['uri', /^0815 0815$/],
    ['subject', /^O=Home\\, sweet,CN=pi7 client-/],
    ['fingerprint', /^[0-9a-f]{64} client-/],
  ])('takes the %s', async (name, expected) => {
    expect(await arrivals.come(url(name), pi7)).toMatch(expected)
  })

  it('does the same over WebSocket', async () => {
    const place = `wss://localhost:${portOf(broker, 'wss')}/mqtt`
    expect(await arrivals.come(place, pi7)).toMatch(/^pi7 client-/)
  })

  it('takes the place of the username that the client gives, without its password', async () => {
    expect(await arrivals.come(url('cn'), pi7, { username: 'root', password: 'guess' })).toMatch(/^pi7 /)
  })

  it('refuses a certificate that has not the name', async () => {
    expect(await arrivals.come(url('cn'), nameless)).toBe(5)
    expect(await arrivals.come(url('uri'), nameless)).toBe(5)
  })

  it('leaves clients without a certificate to others, and those of another CA have none', async () => {
    expect(await arrivals.come(url('cn'))).toBe(5)
    expect(await arrivals.come(url('cn'), strange)).toBe(5)
    expect(await arrivals.come(url('open'))).toMatch(/^undefined client-/)
  })

  it('does not take a client with a certificate for an anonymous one', async () => {
    expect(await arrivals.come(url('open'), pi7)).toMatch(/^pi7 client-/)
    expect(await arrivals.come(url('open'), nameless)).toBe(5)
  })

  it('refuses those without one where it is required, whatever allowAnonymous says', async () => {
    expect(await arrivals.come(url('required'))).toBe(5)
    expect(await arrivals.come(url('required'), pi7)).toMatch(/^pi7 /)
  })

  it('refuses a client id or username that is not the identity', async () => {
    const own = { username: 'pi7', clientId: 'pi7' }
    expect(await arrivals.come(url('equal'), pi7, own)).toBe('pi7 pi7')
    expect(await arrivals.come(url('equal'), pi7, { ...own, clientId: 'pi8' })).toBe(2)
    expect(await arrivals.come(url('equal'), pi7, { ...own, username: 'pi8' })).toBe(5)
    expect(await arrivals.come(url('equal'), pi7, { clientId: 'pi7' })).toBe(5)
  })

  it('is one of two factors with a password behind it', async () => {
    const right = { username: 'pi7', password: 'secret' }
    expect(await arrivals.come(url('both'), pi7, right)).toMatch(/^pi7 /)
    expect(await arrivals.come(url('both'), pi7, { ...right, password: 'guess' })).toBe(4)
    expect(await arrivals.come(url('both'), undefined, right)).toBe(5)
  })

  it('stands before and behind identities that may be disabled or bound to a client id', async () => {
    const { operations } = broker
    const own = { clientId: 'device-7' }
    const facts = { description: '', isEnabled: true, groups: [], roles: [] }
    await operations.createIdentity({ ...facts, name: 'pi7', clientId: 'device-7' })
    expect(await arrivals.come(url('identities'), pi7, own)).toBe('pi7 device-7')
    expect(await arrivals.come(url('identities'), pi7, { clientId: 'device-8' })).toBe(2)
    await operations.changeIdentity('pi7', { isEnabled: false })
    expect(await arrivals.come(url('identities'), pi7, own)).toBe(5)
  })

  it('takes the name that a trusted proxy has seen', async () => {
    const client = await RawClient.open({ port: portOf(broker, 'proxied') })
    client.send(proxyV2('pi9'))
    expect(await client.connect({ clientId: 'behind' })).toMatchObject({ code: 0 })
    const clients = await broker.operations.clients({ limit: 100, state: 'connected' })
    expect(JSON.stringify(clients)).toContain('"username":"pi9"')
    await client.destroy()
  })

  it('does not take the certificate of the proxy for that of its clients', async () => {
    const [cert, key, trust] = await Promise.all([pi7.cert, pi7.key, ca.cert].map((file) => readFile(file)))
    const codeOf = async (header: Buffer, clientId: string): Promise<number | undefined> => {
      const socket = connectTcp({ port: portOf(broker, 'proxied-tls'), host: '127.0.0.1' })
      socket.write(header)
      const secure = connectTls({ socket, servername: 'localhost', cert, key, ca: trust })
      const fixed = Buffer.from('00044d51545404020005', 'hex')
      const id = Buffer.from(clientId)
      secure.write(
        Buffer.concat([Buffer.from([0x10, 12 + id.length]), fixed, Buffer.from([0, id.length]), id]),
      )
      const answer = await new Promise<Buffer>((resolve) => secure.once('data', resolve))
      secure.destroy()
      return answer[3]
    }
    expect(await codeOf(proxyV2('pi9'), 'by-proxy')).toBe(0)
    expect(eventsOf(broker, 'client connected', { client: 'by-proxy', username: 'pi9' })).toHaveLength(1)
    expect(await codeOf(proxyV2(), 'nobody')).toBe(5)
  })

  it('knows the identity of a resumed TLS session', async () => {
    const [cert, key, trust] = await Promise.all([pi7.cert, pi7.key, ca.cert].map((file) => readFile(file)))
    const options = { port: portOf(broker, 'cn'), host: 'localhost', cert, key, ca: trust }
    const first = connectTls(options)
    const session = await new Promise<Buffer>((resolve) => first.once('session', resolve))
    first.destroy()
    const second = connectTls({ ...options, session })
    await new Promise((resolve) => second.once('secureConnect', resolve))
    expect(second.isSessionReused()).toBe(true)
    second.write(Buffer.from('101600044d51545404020005000a7265736d70696f6e2d31', 'hex'))
    await new Promise((resolve) => second.once('data', resolve))
    expect(eventsOf(broker, 'client connected', { client: 'resmpion-1', username: 'pi7' })).toHaveLength(1)
    second.destroy()
  })

  it('explains itself', async () => {
    const stays = await arrivals.stay(url('cn'), pi7, { clientId: 'asked' })
    const why = await broker.operations.why({
      action: 'connect',
      client: 'asked',
      mountpoint: '',
      topic: '',
      qos: 0,
      retain: false,
    })
    expect(JSON.stringify(why)).toContain('identity: cn')
    expect(stays.connected).toBe(true)
  })
})

describe('the list of fingerprints', () => {
  it('lets in those that are on it, and ends the session of one that is taken from it', async () => {
    const other = await ca.issue('other')
    expect(await arrivals.come(url('fingerprint'), other)).toBe(5)
    const client = await arrivals.stay(url('fingerprint'), pi7, { clientId: 'listed' })
    await writeFile(fingerprints, `# nobody but\n${await fingerprintLine(other)}`)
    await broker.reload()
    await eventually(() => client.connected).toBe(false)
    await eventOf(broker, 'client disconnected', { client: 'listed', reason: 'revoked' })
    expect(await arrivals.come(url('fingerprint'), other)).toMatch(/^[0-9a-f]{64} /)
  })
})

/** PROXY v2 with the common name of a certificate that was verified. */
/** Without a name: of a client without a certificate. */
function proxyV2(name = ''): Buffer {
  const cn = Buffer.from(name)
  const sub = name === '' ? cn : Buffer.concat([Buffer.from([0x22, 0, cn.length]), cn])
  const ssl = Buffer.concat([Buffer.from([0x20, 0, sub.length + 5, 0x07, 0, 0, 0, 0]), sub])
  const addresses = Buffer.from([10, 0, 0, 9, 127, 0, 0, 1, 0x10, 0, 0x07, 0x5b])
  const length = Buffer.alloc(2)
  length.writeUInt16BE(addresses.length + ssl.length)
  const head = Buffer.from('0d0a0d0a000d0a515549540a2111', 'hex')
  return Buffer.concat([head, length, addresses, ssl])
}
