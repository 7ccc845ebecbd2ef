import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { rootCertificates } from 'node:tls'
import { listenerName } from '../config/listener-name.ts'
import { tlsOf } from '../config/listener-tls.ts'
import type { Config } from '../config/schema.ts'
import { findingsOf, messageOf, type Finding } from './finding.ts'
import type { Probed } from './listeners.ts'

const { ok, warn, fail } = findingsOf('tls')

const DAY_MS = 86_400_000
const WARN_DAYS = 30

/** What a TLS listener is given, read from its files. */
export interface TlsFiles {
  readonly name: string
  readonly certFile: string
  readonly keyFile: string
  readonly cert: Buffer
  readonly key: Buffer
  readonly passphrase: string | undefined
  readonly clientCa: { readonly file: string; readonly pem: Buffer } | undefined
}

/** The certificates of listeners and of the admin server, and what the listeners that run really show. */
export async function checkCertificates(
  config: Config,
  probed: readonly Probed[],
): Promise<readonly Finding[]> {
  const places = config.listeners.flatMap((listener) => {
    const tls = tlsOf(listener)
    const probe = probed.find((one) => one.listener === listener)?.probe
    return tls === undefined ? [] : [{ name: listenerName(listener), tls, probe }]
  })
  const { admin } = config
  const all = [
    ...places,
    ...(admin.enabled && admin.tls !== undefined
      ? [{ name: 'admin', tls: admin.tls, probe: undefined }]
      : []),
  ]
  const findings: Finding[] = []
  for (const { name, tls, probe } of all) {
    try {
      const clientCa = 'clientCa' in tls ? tls.clientCa : undefined
      const files: TlsFiles = {
        name,
        certFile: tls.cert,
        keyFile: tls.key,
        cert: await readFile(tls.cert),
        key: await readFile(tls.key),
        passphrase: tls.passphrase,
        clientCa: clientCa === undefined ? undefined : { file: clientCa, pem: await readFile(clientCa) },
      }
      findings.push(...judgeCertificates(files, Date.now()))
      if (probe?.fingerprint !== undefined) findings.push(judgeServed(files, probe.fingerprint))
    } catch (error) {
      findings.push(
        fail(`${name}: ${messageOf(error)}`, 'the user of the broker has to be able to read these files'),
      )
    }
  }
  return findings
}

/** Pure. */
export function judgeCertificates(files: TlsFiles, nowMs: number): readonly Finding[] {
  const { name, certFile } = files
  const chain = readChain(files.cert)
  const [leaf] = chain
  if (leaf === undefined)
    return [
      fail(
        `${name}: ${certFile} has no certificate in PEM form`,
        'name a PEM file: -----BEGIN CERTIFICATE-----',
      ),
    ]
  return [
    judgeKey(files, leaf),
    judgeTime(name, certFile, leaf, nowMs),
    judgeNames(name, leaf),
    judgeChain(name, certFile, chain),
    ...judgeClientCa(files, nowMs),
  ]
}

function readChain(pem: Buffer): readonly X509Certificate[] {
  const blocks =
    pem.toString('latin1').match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  try {
    return blocks.map((block) => new X509Certificate(block))
  } catch {
    return []
  }
}

function judgeKey({ name, keyFile, key, passphrase, certFile }: TlsFiles, leaf: X509Certificate): Finding {
  try {
    const privateKey = createPrivateKey({ key, ...(passphrase !== undefined && { passphrase }) })
    if (leaf.checkPrivateKey(privateKey)) return ok(`${name}: the key belongs to the certificate`)
    return fail(
      `${name}: ${keyFile} is not the key of ${certFile}`,
      'name the key with which the certificate was requested',
    )
  } catch (error) {
    return fail(
      `${name}: ${keyFile} cannot be used as a key: ${messageOf(error)}`,
      'name a PEM file with the private key; an encrypted one needs tls.passphrase',
    )
  }
}

function judgeTime(
  name: string,
  file: string,
  { validFrom, validTo }: X509Certificate,
  nowMs: number,
): Finding {
  const days = (Date.parse(validTo) - nowMs) / DAY_MS
  const renew = 'renew it; the broker reads the files again when they change'
  if (Date.parse(validFrom) > nowMs)
    return fail(
      `${name}: ${file} is valid from ${validFrom} on`,
      'is the clock right? Clients refuse it until then',
    )
  if (days < 0) return fail(`${name}: ${file} has expired on ${validTo}`, renew)
  if (days < WARN_DAYS)
    return warn(`${name}: ${file} expires in ${Math.floor(days)} days, on ${validTo}`, renew)
  return ok(`${name}: valid for ${Math.floor(days)} days, until ${validTo}`)
}

function judgeNames(name: string, { subject, subjectAltName }: X509Certificate): Finding {
  if (subjectAltName !== undefined && subjectAltName !== '') return ok(`${name}: for ${subjectAltName}`)
  return warn(
    `${name}: the certificate has no subjectAltName, only ${subject.replaceAll('\n', ', ')}`,
    'have the host names put into subjectAltName: clients of today look nowhere else',
  )
}

function judgeChain(name: string, file: string, chain: readonly X509Certificate[]): Finding {
  const broken = chain.findIndex((one, index) => index > 0 && !isIssuedBy(chain[index - 1], one))
  if (broken > 0)
    return fail(
      `${name}: certificate ${broken + 1} of ${file} has not issued the one before it`,
      'put them in order: the own one, the intermediate that has issued it, the next',
    )
  const last = chain.at(-1)!
  const issuer = oneLine(last.issuer)
  if (last.checkIssued(last)) return ok(`${name}: the chain ends at ${issuer}, which clients have to trust`)
  if (systemRoots().some((root) => isIssuedBy(last, root)))
    return ok(`${name}: the chain is complete, to ${issuer}`)
  // Private CAs hardly ever say where their certificate can be fetched; public intermediates always do.
  if (last.infoAccess?.includes('CA Issuers') === true)
    return fail(
      `${name}: the chain ends before its root: the certificate of ${issuer} is missing in ${file}`,
      'use the file with the whole chain (fullchain.pem), or append the intermediate certificate',
    )
  return ok(`${name}: issued by ${issuer}, which clients need as their CA`)
}

function judgeClientCa({ name, clientCa }: TlsFiles, nowMs: number): readonly Finding[] {
  if (clientCa === undefined) return []
  const authorities = readChain(clientCa.pem)
  if (authorities.length === 0)
    return [
      fail(
        `${name}: ${clientCa.file} has no CA in PEM form`,
        'name the PEM file of the CA of client certificates',
      ),
    ]
  const expired = authorities.filter(({ validTo }) => Date.parse(validTo) < nowMs)
  if (expired.length > 0)
    return [
      fail(
        `${name}: the CA ${oneLine(expired[0]!.subject)} of client certificates has expired`,
        'renew the CA: no client certificate of it is taken any more',
      ),
    ]
  return [
    ok(`${name}: client certificates of ${authorities.map(({ subject }) => oneLine(subject)).join('; ')}`),
  ]
}

/** Pure: the running listener shows what its file has. */
export function judgeServed({ name, cert, certFile }: TlsFiles, fingerprint: string): Finding {
  const [leaf] = readChain(cert)
  if (leaf?.fingerprint256 === fingerprint) return ok(`${name}: clients are shown this certificate`)
  return fail(
    `${name}: clients are shown another certificate than that of ${certFile}`,
    'the broker could not use the new files, and its log says why; SIGHUP makes it try again',
  )
}

function isIssuedBy(one: X509Certificate | undefined, issuer: X509Certificate): boolean {
  return one !== undefined && one.checkIssued(issuer) && one.verify(issuer.publicKey)
}

function systemRoots(): readonly X509Certificate[] {
  return rootCertificates.map((pem) => new X509Certificate(pem))
}

function oneLine(name: string): string {
  return name.replaceAll('\n', ', ')
}
