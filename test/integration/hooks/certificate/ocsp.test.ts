import { spawn, type ChildProcess } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Authorities, type Link } from '../../../../src/hooks/certificate/authorities.ts'
import { encodeOcspRequest, readOcspResponse } from '../../../../src/hooks/certificate/ocsp-message.ts'
import { createArrivals, type Arrivals } from '../../../support/certificate-clients.ts'
import {
  createOpensslCa,
  ocspAnswer,
  serveHttp,
  type HttpWorld,
  type IssuedFiles,
  type OpensslCa,
} from '../../../support/openssl-ca.ts'
import { startTestBroker, type TestBroker } from '../../../support/broker.ts'
import { eventsOf, portOf, type ListenerInput } from '../../../support/broker-world.ts'
import { eventually } from '../../../support/eventually.ts'

type Answer = (request: Buffer) => Promise<Buffer> | Buffer | 'nothing' | 'error'

let folder: string
let ca: OpensslCa
let other: OpensslCa
/** A responder that answers as a test has it. */
let responder: HttpWorld
let answer: Answer
/** openssl's own. */
let real: ChildProcess
let good: IssuedFiles
let revoked: IssuedFiles
let delegate: IssuedFiles
let plain: IssuedFiles
let listed: IssuedFiles
let arrivals: Arrivals
let broker: TestBroker

const UNAVAILABLE = 3
const REFUSED = 5
const letIn = /^[a-z0-9-]+ client-/

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tunnelmq-ocsp-'))
  responder = await serveHttp(async (_request, body, response) => {
    const made = await answer(body)
    if (made === 'nothing') return
    if (made === 'error') response.writeHead(500).end()
    else response.writeHead(200, { 'content-type': 'application/ocsp-response' }).end(made)
  })
  ca = await createOpensslCa(folder, 'devices')
  other = await createOpensslCa(folder, 'others')
  const server = await ca.issue('server', { extensions: ['subjectAltName = DNS:localhost'] })
  ;[good, revoked, delegate, plain, listed] = await Promise.all([
    ca.issue('good', { extensions: [`authorityInfoAccess = OCSP;URI:${responder.url}/aia`] }),
    ca.issue('revoked'),
    ca.issue('delegate', { extensions: ['extendedKeyUsage = OCSPSigning'] }),
    ca.issue('plain'),
    ca.issue('listed', { extensions: [`crlDistributionPoints = URI:${responder.url}/list`] }),
  ])
  await ca.revoke(revoked.cert)
  answer = (request) => ocspAnswer(ca, request)
  const realUrl = await startRealResponder()

  const tls = { cert: server.cert, key: server.key, clientCa: ca.cert }
  const listener = (name: string, ocsp: object, more: object = {}): ListenerInput => {
    const revocation = { ocsp: { mode: 'hard', ...ocsp } as const, retryMs: 1, ...more }
    return { type: 'tls', name, port: 0, tls, handlers: [{ type: 'certificate', revocation }] }
  }
  // Asks for each connection, so that each test sees its own answer.
  const fresh = { responder: responder.url, maxCacheMs: 0 }
  arrivals = createArrivals(ca.cert)
  broker = await startTestBroker(
    {
      limits: { banFailures: 0 },
      listeners: [
        listener('real', { responder: realUrl }),
        listener('hard', fresh),
        listener('soft', { ...fresh, mode: 'soft' }),
        listener('required-nonce', { ...fresh, nonce: 'required' }),
        listener('kept', { responder: responder.url }),
        listener('short', fresh, { timeoutMs: 50 }),
        listener('short-soft', { ...fresh, mode: 'soft' }, { timeoutMs: 50 }),
        listener('both', fresh, { allowedHosts: [responder.host], crl: { distributionPoints: true } }),
        listener('named', { maxCacheMs: 0 }, { allowedHosts: [responder.host] }),
        listener('not-named', { maxCacheMs: 0 }, { allowedHosts: ['ocsp.example.com'] }),
      ],
    },
    { handlers: [arrivals.handler] },
  )
})
afterAll(async () => {
  await broker.stop()
  real.kill()
  if (real.exitCode === null && real.signalCode === null) await once(real, 'exit')
  await responder.close()
  await rm(folder, { recursive: true, force: true })
})

function startRealResponder(): Promise<string> {
  real = spawn('openssl', [
    ...['ocsp', '-port', '0', '-index', ca.index, '-CA', ca.cert, '-nmin', '5'],
    ...['-rsigner', delegate.cert, '-rkey', delegate.key],
  ])
  return new Promise<string>((resolve, reject) => {
    let said = ''
    const read = (chunk: Buffer): void => {
      said += chunk.toString()
      const port = /ACCEPT .*:(\d+)/.exec(said)?.[1]
      if (port !== undefined) resolve(`http://localhost:${port}`)
    }
    real.stdout?.on('data', read)
    real.stderr?.on('data', read)
    real.once('exit', () => reject(new Error(`openssl ocsp ended: ${said}`)))
  })
}

const url = (name: string): string => `mqtts://localhost:${portOf(broker, name)}`
const reasons = (): string[] =>
  eventsOf(broker, 'OCSP: no answer that counts').map(({ reason }) => String(reason))

describe('certificates and an OCSP responder', () => {
  it('asks that of openssl, which a certificate of the CA entitles', async () => {
    expect(await arrivals.come(url('real'), good)).toMatch(letIn)
    expect(await arrivals.come(url('real'), revoked)).toBe(REFUSED)
  })

  it('refuses what the responder does not know, also when soft', async () => {
    answer = (request) => ocspAnswer({ ...ca, index: other.index }, request)
    expect(await arrivals.come(url('hard'), good)).toBe(REFUSED)
    expect(await arrivals.come(url('soft'), good)).toBe(REFUSED)
    answer = (request) => ocspAnswer(ca, request)
    expect(await arrivals.come(url('soft'), good)).toMatch(letIn)
    expect(await arrivals.come(url('soft'), revoked)).toBe(REFUSED)
  })

  it('asks the responder that the certificate names, if its host is allowed', async () => {
    expect(await arrivals.come(url('named'), good)).toMatch(letIn)
    expect(responder.asked).toContain('/aia')
    const before = responder.asked.length
    expect(await arrivals.come(url('named'), plain)).toBe(UNAVAILABLE)
    expect(await arrivals.come(url('not-named'), good)).toBe(UNAVAILABLE)
    expect(responder.asked).toHaveLength(before)
    expect(reasons()).toContain('the certificate names no OCSP responder')
    expect(reasons()).toContain('the responder of the certificate is not one of allowedHosts')
  })

  it('asks once for clients that come at the same time, and keeps the answer', async () => {
    const before = responder.asked.length
    const both = await Promise.all([
      arrivals.come(url('kept'), good),
      arrivals.come(url('kept'), good, { clientId: 'another' }),
    ])
    expect(both.map((came) => typeof came)).toEqual(['string', 'string'])
    expect(await arrivals.come(url('kept'), good)).toMatch(letIn)
    expect(responder.asked.length - before).toBe(1)
  })

  it('asks for a list at the same time, so that two who do not answer cost one wait', async () => {
    const crl = await readFile(await ca.crl(join(folder, 'list.crl')))
    let asked: () => void
    const isAsked = new Promise<void>((resolve) => (asked = resolve))
    // The list comes once the responder is asked.
    answer = async (request) => {
      if (request.length === 0) return isAsked.then(() => crl)
      asked()
      return ocspAnswer(ca, request)
    }
    expect(await arrivals.come(url('both'), listed)).toMatch(letIn)
  })

  it('ends the session of a certificate that turns out to be revoked', async () => {
    const device = await ca.issue('device')
    answer = (request) => ocspAnswer(ca, request)
    const stays = await arrivals.stay(url('hard'), device)
    await ca.revoke(device.cert)
    expect(await arrivals.come(url('hard'), device)).toBe(REFUSED)
    await eventually(() => stays.connected).toBe(false)
  })
})

describe('answers that do not count', () => {
  const cases: readonly (readonly [string, Answer, RegExp])[] = [
    ['an error', () => 'error', /HTTP status 500/],
    ['garbage', () => Buffer.from('no ASN.1 at all'), /./],
    ['an answer that is too long', () => Buffer.alloc(100_000), /longer than 65536 bytes/],
    ['that of another CA', (request) => ocspAnswer(ca, request, { signer: other }), /not one of the CA/],
    ['that of a client', (request) => ocspAnswer(ca, request, { signer: plain }), /not one for OCSP/],
    ['a refusal', () => Buffer.from('30030a0103', 'hex'), /tryLater/],
  ]
  it.each(cases)('refuses for now after %s, and lets in when soft', async (_what, made, reason) => {
    answer = made
    expect(await arrivals.come(url('hard'), good)).toBe(UNAVAILABLE)
    expect(reasons().at(-1)).toMatch(reason)
    expect(await arrivals.come(url('soft'), good)).toMatch(letIn)
  })

  it('does the same without an answer in time', async () => {
    answer = () => 'nothing'
    expect(await arrivals.come(url('short'), good)).toBe(UNAVAILABLE)
    expect(reasons().at(-1)).toBe('no answer within 50 ms')
    expect(await arrivals.come(url('short-soft'), good)).toMatch(letIn)
  })

  it('takes no answer to another question', async () => {
    let first: Buffer | undefined
    answer = async (request) => (first ??= await ocspAnswer(ca, request))
    expect(await arrivals.come(url('hard'), good)).toMatch(letIn)
    // The same answer, played back: about this certificate, and to another nonce.
    expect(await arrivals.come(url('hard'), good)).toBe(UNAVAILABLE)
    expect(reasons().at(-1)).toMatch(/another nonce/)
  })

  it('takes an answer with the nonce where that is required', async () => {
    answer = (request) => ocspAnswer(ca, request)
    expect(await arrivals.come(url('required-nonce'), good)).toMatch(letIn)
  })
})

describe('reading an answer', () => {
  it('knows one that is out of date, from the future, bent, or about another certificate', async () => {
    const authorities = new Authorities([new X509Certificate(await readFile(ca.cert))])
    const chain = authorities.chainOf(new X509Certificate(await readFile(good.cert)), () => [])
    const [link] = chain as readonly Link[]
    const answered = await ocspAnswer(ca, Buffer.from(encodeOcspRequest(link!, undefined)))
    const reading = {
      ...{ nonce: undefined, needsNonce: false },
      ...{ toleranceMs: 1_000, maxAgeMs: 60_000, nowMs: Date.now() },
    }
    expect(readOcspResponse(answered, link!, reading)).toMatchObject({ status: 'good' })
    const at = (nowMs: number) => () => readOcspResponse(answered, link!, { ...reading, nowMs })
    expect(at(Date.now() + 3_600_000)).toThrow('out of date')
    expect(at(Date.now() - 3_600_000)).toThrow('from the future')
    expect(() => readOcspResponse(answered, { ...link!, serial: 'x' }, reading)).toThrow(
      'another certificate',
    )
    // Without a nextUpdate, and to nobody's question: whoever has kept one may play it back for ever.
    const endless = await ocspAnswer(ca, Buffer.from(encodeOcspRequest(link!, undefined)), { minutes: 0 })
    expect(readOcspResponse(endless, link!, reading)).toMatchObject({ status: 'good' })
    const nowMs = Date.now() + 3_600_000
    expect(() => readOcspResponse(endless, link!, { ...reading, nowMs })).toThrow('is old')
    const asked = { ...reading, nonce: Buffer.alloc(16), needsNonce: true }
    expect(() => readOcspResponse(answered, link!, asked)).toThrow('no nonce')
    // Every bit that matters is signed: one that is bent is an error, or changes nothing of what it says.
    for (let place = 0; place < answered.length; place += 23) {
      const bent = Buffer.from(answered)
      bent.writeUInt8(bent.readUInt8(place) ^ 1, place)
      let said: unknown = 'nothing'
      try {
        said = readOcspResponse(bent, link!, reading).status
      } catch {
        continue
      }
      expect(said).toBe('good')
    }
  })
})
