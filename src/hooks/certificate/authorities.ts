import { createHash, X509Certificate } from 'node:crypto'
import { Certificate, CRLDistributionPoints, InfoAccess } from 'pkijs'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { decode, serialKey } from './der.ts'
import { uriNames, uriOf } from './general-names.ts'

/** Who has issued a certificate: a CA of the file, or an intermediate below one. */
export interface Authority {
  /** The same for every certificate of its name and key: it may be renewed. */
  readonly id: string
  readonly x509: X509Certificate
  /** DER of its name. */
  readonly name: Buffer
  /** Bits of its public key, as OCSP hashes them. */
  readonly keyBits: Buffer
}

/** One certificate of a chain, with who has issued it. */
export interface Link {
  /** For people. */
  readonly subject: string
  /** Key of sets of serials, and the bytes of its INTEGER. */
  readonly serial: string
  readonly serialBytes: Buffer
  readonly isCa: boolean
  readonly authority: Authority
  /** http URLs that the certificate names. */
  readonly ocspUrls: readonly string[]
  readonly crlUrls: readonly string[]
}

/** Longest chain below a CA of the file, the client's own certificate included. */
const MAX_LINKS = 8
/** Intermediates that clients have sent, kept for resumed TLS sessions, which bring only the leaf. */
const MAX_INTERMEDIATES = 64

const DistributionPointsId = '2.5.29.31'
const InfoAccessId = '1.3.6.1.5.5.7.1.1'
const OcspId = '1.3.6.1.5.5.7.48.1'

/** The CAs of a file, and the chains that end at them. */
export class Authorities {
  readonly #ofFile: readonly Authority[]
  readonly #intermediates = new Map<string, Authority>()

  constructor(certificates: readonly X509Certificate[]) {
    this.#ofFile = certificates.map(authorityOf)
  }

  get ofFile(): readonly Authority[] {
    return this.#ofFile
  }

  /**
   * From the leaf up to a CA of the file; `sent`: what came with it in the handshake, not trusted. A string: why there
   * is no chain. A CA of the file that is issued by another one of the file is a link as well.
   */
  chainOf(leaf: X509Certificate, sent: () => readonly X509Certificate[]): readonly Link[] | string {
    const links: Link[] = []
    const used: Authority[] = []
    let current = leaf
    while (links.length < MAX_LINKS) {
      const trusted = issuerOf(current, this.#ofFile)
      const authority =
        trusted ??
        issuerOf(current, [...this.#intermediates.values()]) ??
        issuerOf(current, candidates(sent()))
      if (authority === undefined) {
        const isTrusted = used.at(-1) !== undefined && this.#ofFile.includes(used.at(-1)!)
        if (!isTrusted)
          return `the issuer ${oneLine(current.issuer)} is not known: it has to be in the file of CAs`
        break
      }
      links.push(linkOf(current, authority))
      used.push(authority)
      const isRoot = authority.x509.checkIssued(authority.x509)
      if (trusted !== undefined && isRoot) break
      if (isRoot) return `the CA ${oneLine(authority.x509.subject)} is not in the file of CAs`
      current = authority.x509
    }
    if (!this.#ofFile.includes(used.at(-1)!)) return 'the chain of issuers is too long'
    // Verified up to a CA of ours.
    for (const authority of used) this.#keep(authority)
    return links
  }

  #keep(authority: Authority): void {
    if (this.#ofFile.includes(authority) || this.#intermediates.has(authority.id)) return
    if (this.#intermediates.size >= MAX_INTERMEDIATES)
      this.#intermediates.delete(this.#intermediates.keys().next().value!)
    this.#intermediates.set(authority.id, authority)
  }
}

/**
 * All certificates of a PEM file.
 * @throws {TunnelMQError} TMQ_FILE when there is none, or one is broken.
 */
export function parseCertificates(pem: string, file: string): readonly X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  if (blocks.length === 0) throw new TunnelMQError(ErrorCode.file, `${file}: has no certificate in PEM form`)
  return blocks.map((block, index) => {
    try {
      return new X509Certificate(block)
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      throw new TunnelMQError(ErrorCode.file, `${file}: certificate ${index + 1} is broken: ${why}`)
    }
  })
}

function candidates(sent: readonly X509Certificate[]): readonly Authority[] {
  return sent.filter(({ ca }) => ca).map(authorityOf)
}

function issuerOf(certificate: X509Certificate, authorities: readonly Authority[]): Authority | undefined {
  return authorities.find(({ x509 }) => certificate.checkIssued(x509) && certificate.verify(x509.publicKey))
}

function authorityOf(x509: X509Certificate): Authority {
  const parsed = read(x509)
  const name = Buffer.from(parsed.subject.valueBeforeDecode)
  const keyBits = Buffer.from(parsed.subjectPublicKeyInfo.subjectPublicKey.valueBlock.valueHexView)
  return { id: createHash('sha256').update(name).update(keyBits).digest('base64'), x509, name, keyBits }
}

function linkOf(x509: X509Certificate, authority: Authority): Link {
  const parsed = read(x509)
  const serialBytes = Buffer.from(parsed.serialNumber.valueBlock.valueHexView)
  const ocspUrls: string[] = []
  const crlUrls: string[] = []
  for (const { extnID, extnValue } of parsed.extensions ?? []) {
    if (extnID !== InfoAccessId && extnID !== DistributionPointsId) continue
    const schema = decode(extnValue.valueBlock.valueHexView)
    if (extnID === InfoAccessId) {
      for (const { accessMethod, accessLocation } of new InfoAccess({ schema }).accessDescriptions)
        if (accessMethod === OcspId) ocspUrls.push(...uriOf(accessLocation))
    } else {
      for (const { distributionPoint, reasons, cRLIssuer } of new CRLDistributionPoints({ schema })
        .distributionPoints)
        // A list for some reasons only, or of another issuer: not supported.
        if (distributionPoint !== undefined && reasons === undefined && cRLIssuer === undefined)
          crlUrls.push(...uriNames(distributionPoint))
    }
  }
  return {
    subject: oneLine(x509.subject),
    serial: serialKey(serialBytes),
    serialBytes,
    isCa: x509.ca,
    authority,
    ocspUrls: ocspUrls.filter(isHttp),
    crlUrls: crlUrls.filter(isHttp),
  }
}

function read(x509: X509Certificate): Certificate {
  return new Certificate({ schema: decode(x509.raw) })
}

function isHttp(url: string): boolean {
  return /^http:\/\//i.test(url)
}

function oneLine(name: string): string {
  return name.replaceAll('\n', ', ')
}
