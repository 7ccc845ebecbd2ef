import { execFileSync } from 'node:child_process'
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createArrivals, type Arrivals } from '../../../support/certificate-clients.ts'
import {
  createOpensslCa,
  serveHttp,
  type HttpWorld,
  type IssuedFiles,
  type OpensslCa,
} from '../../../support/openssl-ca.ts'
import { startTestBroker, type TestBroker } from '../../../support/broker.ts'
import { eventOf, eventsOf, portOf, type ListenerInput } from '../../../support/broker-world.ts'
import { eventually } from '../../../support/eventually.ts'

let folder: string
let root: OpensslCa
let line: OpensslCa
let other: OpensslCa
let points: HttpWorld
let arrivals: Arrivals
let broker: TestBroker
/** Issued by the root, by the intermediate, and with a distribution point. */
let direct: IssuedFiles
let below: IssuedFiles
let pointed: IssuedFiles
let elsewhere: IssuedFiles
let missing: IssuedFiles
let rootCrl: string
let lineCrl: string
/** What the server of distribution points serves. */
const served = new Map<string, Buffer>()

const LONG_AGO = { from: '240101000000Z', until: '240201000000Z' }

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tunnelmq-crl-'))
  points = await serveHttp((request, _body, response) => {
    const bytes = served.get(request.url ?? '')
    response.writeHead(bytes === undefined ? 404 : 200).end(bytes)
  })
  root = await createOpensslCa(folder, 'root')
  other = await createOpensslCa(folder, 'other')
  line = await root.issueCa('line')
  const server = await root.issue('server', { extensions: ['subjectAltName = DNS:localhost'] })
  const at = (url: string) => ({ extensions: [`crlDistributionPoints = URI:${url}`] })
  ;[direct, below, pointed, elsewhere, missing] = await Promise.all([
    root.issue('direct'),
    line.issue('below'),
    line.issue('pointed', at(`${points.url}/line.crl`)),
    line.issue('elsewhere', at('http://169.254.169.254/latest')),
    line.issue('missing', at(`${points.url}/missing.crl`)),
  ])
  rootCrl = await root.crl(join(folder, 'root.crl'))
  lineCrl = await line.crl(join(folder, 'line.crl'))
  const stale = await root.crl(join(folder, 'stale.crl'), LONG_AGO)
  const users = await root.crl(join(folder, 'users.crl'), { extensions: 'crl-users' })

  const tls = { cert: server.cert, key: server.key, clientCa: root.cert }
  const listener = (name: string, crl: object, more: object = {}): ListenerInput => ({
    type: 'tls',
    name,
    port: 0,
    tls,
    handlers: [{ type: 'certificate', revocation: { crl, retryMs: 1, ...more } }],
  })
  const fetched = { files: [rootCrl], distributionPoints: true }
  const allowedHosts = [points.host]
  arrivals = createArrivals(root.cert)
  broker = await startTestBroker(
    {
      limits: { banFailures: 0 },
      listeners: [
        listener('files', { files: [rootCrl, lineCrl] }),
        listener('root-only', { files: [rootCrl] }),
        listener('leaf', { files: [lineCrl] }, { depth: 'leaf' }),
        listener('users', { files: [users] }),
        listener('stale', { files: [stale] }),
        listener('stale-accepted', { files: [stale], onStale: 'accept' }),
        listener('missing-accepted', { distributionPoints: true, onMissing: 'accept' }, { allowedHosts }),
        listener('points', fetched, { allowedHosts }),
        listener('small', { ...fetched, maxBytes: 1_024 }, { allowedHosts }),
        listener('url', { files: [rootCrl], urls: [`${points.url}/fixed.crl`], refreshMs: 1_000 }),
      ],
    },
    { handlers: [arrivals.handler] },
  )
})
afterAll(async () => {
  await broker.stop()
  await points.close()
  await rm(folder, { recursive: true, force: true })
})

const url = (name: string): string => `mqtts://localhost:${portOf(broker, name)}`
const accepted = /^(direct|below|pointed|elsewhere|missing) client-/
const UNAVAILABLE = 3
const REFUSED = 5

function toDer(pem: string): Buffer {
  return execFileSync('openssl', ['crl', '-in', pem, '-outform', 'DER'], { maxBuffer: 100_000_000 })
}

describe('revocation lists from files', () => {
  it('lets in what is not on them, also below an intermediate that the client brings', async () => {
    expect(await arrivals.come(url('files'), direct)).toMatch(accepted)
    expect(await arrivals.come(url('files'), below)).toMatch(accepted)
  })

  it('refuses for now where the list of an issuer is missing, and looks at the leaf alone if told so', async () => {
    expect(await arrivals.come(url('root-only'), direct)).toMatch(accepted)
    expect(await arrivals.come(url('root-only'), below)).toBe(UNAVAILABLE)
    expect(await arrivals.come(url('leaf'), below)).toMatch(accepted)
  })

  it('refuses for now when the list is out of date, or accepts if told so', async () => {
    expect(await arrivals.come(url('stale'), direct)).toBe(UNAVAILABLE)
    expect(await arrivals.come(url('stale-accepted'), direct)).toMatch(accepted)
    await eventOf(broker, 'connection refused', { reason: 'unavailable' })
  })

  it('takes a list for what it is about', async () => {
    expect(await arrivals.come(url('users'), direct)).toMatch(accepted)
    // The intermediate is a CA, and a list of users says nothing about it.
    expect(await arrivals.come(url('users'), below)).toBe(UNAVAILABLE)
  })

  it('ends the session of a certificate that is revoked while it is connected, and of no other', async () => {
    const victim = await line.issue('victim')
    const [gone, stays] = [
      await arrivals.stay(url('files'), victim, { clientId: 'victim' }),
      await arrivals.stay(url('files'), below),
    ]
    await line.revoke(victim.cert)
    await line.crl(`${lineCrl}.new`)
    // DER this time, in place of PEM.
    await writeFile(`${lineCrl}.new`, toDer(`${lineCrl}.new`))
    await rename(`${lineCrl}.new`, lineCrl)
    await eventually(() => gone.connected).toBe(false)
    await eventOf(broker, 'client disconnected', { client: 'victim', reason: 'revoked' })
    expect(stays.connected).toBe(true)
    expect(await arrivals.come(url('files'), victim)).toBe(REFUSED)
    expect(await arrivals.come(url('leaf'), victim)).toBe(REFUSED)
    expect(await arrivals.come(url('files'), below)).toMatch(accepted)
  })

  it('refuses all below an intermediate that is revoked', async () => {
    const bad = await root.issueCa('bad')
    const client = await bad.issue('client')
    const badCrl = await bad.crl(join(folder, 'bad.crl'))
    await writeFile(
      lineCrl,
      Buffer.concat([await readFile(await line.crl(join(folder, 'l'))), await readFile(badCrl)]),
    )
    await broker.reload()
    expect(await arrivals.come(url('files'), client)).toMatch(/^client /)
    await root.revoke(bad.cert, 'CACompromise')
    await root.crl(rootCrl)
    await broker.reload()
    expect(await arrivals.come(url('files'), client)).toBe(REFUSED)
  })

  it('keeps the old list when the new one is broken, or not signed by its CA', async () => {
    const forger = await createOpensslCa(await mkdtemp(join(folder, 'forger-')), 'root')
    await forger.crl(rootCrl)
    await expect(broker.reload()).rejects.toThrow(`${rootCrl}: the signature is not that of the CA`)
    await writeFile(rootCrl, 'garbage')
    await expect(broker.reload()).rejects.toThrow(`${rootCrl}: is not DER`)
    expect(await arrivals.come(url('root-only'), direct)).toMatch(accepted)
    await root.crl(rootCrl)
    await broker.reload()
  })

  it('does not count a list with the name of an intermediate that has not signed it', async () => {
    const forger = await createOpensslCa(await mkdtemp(join(folder, 'line-')), 'line')
    const honest = await readFile(lineCrl)
    await forger.crl(lineCrl)
    await broker.reload()
    expect(await arrivals.come(url('leaf'), below)).toBe(UNAVAILABLE)
    await writeFile(lineCrl, honest)
    await broker.reload()
    expect(await arrivals.come(url('leaf'), below)).toMatch(accepted)
  })

  it('looks up a certificate among 100,000', async () => {
    await other.pretendRevoked(100_000)
    const known = await other.issue('known')
    await other.revoke(known.cert)
    const { readCrl } = await import('../../../../src/hooks/certificate/crl.ts')
    const crl = await readCrl(toDer(await other.crl(join(folder, 'other.crl'))))
    expect(crl.serials.size).toBe(100_001)
    const { X509Certificate } = await import('node:crypto')
    const serial = Buffer.from(new X509Certificate(await readFile(known.cert)).serialNumber, 'hex')
    expect(crl.serials.has(serial.toString('latin1'))).toBe(true)
    expect(crl.isSignedBy(new X509Certificate(await readFile(other.cert)))).toBe(true)
    expect(crl.isSignedBy(new X509Certificate(await readFile(root.cert)))).toBe(false)
  })
})

describe('revocation lists from distribution points', () => {
  it('asks once for clients that come at the same time, and keeps the list', async () => {
    served.set('/line.crl', toDer(await line.crl(join(folder, 'point.crl'))))
    const both = await Promise.all([
      arrivals.come(url('points'), pointed),
      arrivals.come(url('points'), pointed, { clientId: 'another' }),
    ])
    expect(both.filter((answer) => typeof answer === 'string')).toHaveLength(2)
    expect(await arrivals.come(url('points'), pointed)).toMatch(accepted)
    expect(points.asked.filter((path) => path === '/line.crl')).toHaveLength(1)
  })

  it('asks only hosts that are allowed', async () => {
    expect(await arrivals.come(url('points'), elsewhere)).toMatch(accepted) // by the list that is known by now
    expect(await arrivals.come(url('missing-accepted'), elsewhere)).toMatch(accepted)
    expect(JSON.stringify(broker.events)).not.toContain('169.254')
  })

  it('takes what cannot be fetched as missing', async () => {
    served.set('/line.crl', Buffer.alloc(100_000))
    expect(await arrivals.come(url('small'), pointed)).toBe(UNAVAILABLE)
    served.set('/line.crl', toDer(await other.crl(join(folder, 'wrong.crl'), LONG_AGO)).subarray(0, 900))
    expect(await arrivals.come(url('small'), pointed)).toBe(UNAVAILABLE)
    expect(await arrivals.come(url('missing-accepted'), missing)).toMatch(accepted)
    const reasons = eventsOf(broker, 'revocation list cannot be fetched').map(
      ({ err }) => (err as { message: string }).message,
    )
    expect(reasons).toContain('the answer is longer than 1024 bytes')
    expect(reasons).toContain('HTTP status 404')
  })

  it('takes no list of somebody else', async () => {
    const wrong = await createOpensslCa(await mkdtemp(join(folder, 'wrong-')), 'line')
    served.set('/line.crl', toDer(await wrong.crl(join(folder, 'wrong.crl'))))
    expect(await arrivals.come(url('small'), pointed)).toBe(UNAVAILABLE)
    expect(JSON.stringify(broker.events)).toContain('the list is not signed by the issuer of the certificate')
  })

  it('fetches a list again, and ends the session of whom it names', async () => {
    served.set('/fixed.crl', toDer(await line.crl(join(folder, 'fixed.crl'))))
    const victim = await line.issue('victim-2')
    await eventually(() => arrivals.come(url('url'), below)).toMatch(accepted)
    const gone = await arrivals.stay(url('url'), victim)
    await line.revoke(victim.cert)
    // Lists are told apart by their seconds.
    const from = new Date(Date.now() + 60_000)
      .toISOString()
      .replaceAll(/[-:T]|\.\d+/g, '')
      .slice(2)
    served.set(
      '/fixed.crl',
      toDer(await line.crl(join(folder, 'fixed.crl'), { from, until: '491231235959Z' })),
    )
    await eventually(() => gone.connected).toBe(false)
    expect(await arrivals.come(url('url'), victim)).toBe(REFUSED)
  })

  it('takes no older list than it has', async () => {
    served.set(
      '/fixed.crl',
      toDer(await line.crl(join(folder, 'old.crl'), { ...LONG_AGO, until: '491231235959Z' })),
    )
    await eventually(() => JSON.stringify(broker.events)).toContain('is older than the list from before')
    expect(await arrivals.come(url('url'), below)).toMatch(accepted)
  })
})
