import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { judgeCertificates, judgeServed, type TlsFiles } from '../../../src/doctor/certificates.ts'
import type { FindingState } from '../../../src/doctor/finding.ts'
import { createCa, type CertificateFiles, type TestCa } from '../../integration/listeners/certificates.ts'

const DAY_MS = 86_400_000

let folder = ''
let ca: TestCa
let good: CertificateFiles
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tmq-doctor-'))
  ca = await createCa(folder)
  good = await ca.issue('good', '/CN=good', 'DNS:broker.example.com', 200)
})
afterAll(() => rm(folder, { recursive: true }))

async function filesOf({ cert, key }: CertificateFiles, more: Partial<TlsFiles> = {}): Promise<TlsFiles> {
  return {
    name: 'tls-8883',
    certFile: cert,
    keyFile: key,
    cert: await readFile(cert),
    key: await readFile(key),
    passphrase: undefined,
    clientCa: undefined,
    ...more,
  }
}

/** What was not found to be good. */
function problems(files: TlsFiles, nowMs = Date.now()): [FindingState, string][] {
  const findings = judgeCertificates(files, nowMs).filter(({ state }) => state !== 'ok')
  expect(findings.every(({ todo }) => todo !== null)).toBe(true)
  return findings.map(({ state, seen }) => [state, seen])
}

it('is content with a certificate of a CA of its own, and says for which names it is', async () => {
  const files = await filesOf(good)
  expect(problems(files)).toEqual([])
  const seen = judgeCertificates(files, Date.now()).map((finding) => finding.seen)
  expect(seen).toContain('tls-8883: for DNS:broker.example.com')
  expect(seen).toContain('tls-8883: issued by CN=ca, which clients need as their CA')
})

it.each([
  ['warns 30 days before the end', 175, 'warn', /expires in 24 days/],
  ['fails after the end', 201, 'fail', /has expired on/],
  ['fails before the beginning', -2, 'fail', /is valid from/],
] as const)('%s', async (_, days, state, words) => {
  expect(problems(await filesOf(good), Date.now() + days * DAY_MS)).toEqual([
    [state, expect.stringMatching(words)],
  ])
})

it('fails for the key of another certificate, and for a key that is none', async () => {
  const other = await ca.issue('other', undefined, undefined, 200)
  expect(problems(await filesOf({ cert: good.cert, key: other.key }))).toEqual([
    ['fail', `tls-8883: ${other.key} is not the key of ${good.cert}`],
  ])
  expect(problems(await filesOf({ cert: good.cert, key: good.cert }))[0]?.[1]).toContain(
    'cannot be used as a key',
  )
})

it('fails for a file without a certificate', async () => {
  expect(problems(await filesOf({ cert: good.key, key: good.key }))[0]?.[1]).toContain(
    'has no certificate in PEM form',
  )
})

it('warns of a certificate that has its name in the subject only', async () => {
  const files = { cert: join(folder, 'old.crt'), key: join(folder, 'old.key') }
  await promisify(execFile)('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '90'],
    ...['-subj', '/CN=broker.example.com', '-keyout', files.key, '-out', files.cert],
  ])
  expect(problems(await filesOf(files))).toEqual([['warn', expect.stringContaining('has no subjectAltName')]])
})

it('fails for a chain in the wrong order, and for one whose intermediate is missing', async () => {
  const wrong = join(folder, 'wrong.crt')
  const stranger = await createCa(folder, 'stranger')
  await writeFile(wrong, (await readFile(good.cert, 'utf8')) + (await readFile(stranger.cert, 'utf8')))
  expect(problems(await filesOf({ ...good, cert: wrong }))).toEqual([
    ['fail', expect.stringMatching(/certificate 2 of .* has not issued the one before it/)],
  ])
  const whole = join(folder, 'whole.crt')
  await writeFile(whole, (await readFile(good.cert, 'utf8')) + (await readFile(ca.cert, 'utf8')))
  expect(problems(await filesOf({ ...good, cert: whole }))).toEqual([])
  // Public CAs say where the certificate of the issuer is; that it is needed shows that it is not here.
  const altNames = 'DNS:localhost\nauthorityInfoAccess=caIssuers;URI:http://ca.example.com/ca.crt'
  const short = await ca.issue('short', undefined, altNames, 200)
  expect(problems(await filesOf(short))).toEqual([
    ['fail', expect.stringMatching(/the certificate of CN=ca is missing/)],
  ])
})

it('reads the CA of client certificates, and sees when it has expired', async () => {
  const clientCa = { file: ca.cert, pem: await readFile(ca.cert) }
  const files = await filesOf(good, { clientCa })
  expect(problems(files)).toEqual([])
  expect(problems(files, Date.now() + 3 * DAY_MS)).toEqual([
    ['fail', expect.stringContaining('the CA CN=ca of client certificates has expired')],
  ])
  const none = await filesOf(good, { clientCa: { file: good.key, pem: await readFile(good.key) } })
  expect(problems(none)[0]?.[1]).toContain('has no CA in PEM form')
})

it('compares what clients are shown with the file', async () => {
  const files = await filesOf(good)
  expect(judgeServed(files, '00:11').state).toBe('fail')
})
