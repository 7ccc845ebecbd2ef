import { createHash, X509Certificate } from 'node:crypto'
import { Integer, Null, OctetString } from 'asn1js'
import {
  AlgorithmIdentifier,
  BasicOCSPResponse,
  CertID,
  Extension,
  OCSPRequest,
  OCSPResponse,
  Request,
  TBSRequest,
  type SingleResponse,
} from 'pkijs'
import type { Authority, Link } from './authorities.ts'
import { decode, serialKey } from './der.ts'
import { isSignedBy } from './signature.ts'

export type OcspStatus = 'good' | 'revoked' | 'unknown'

export interface OcspAnswer {
  readonly status: OcspStatus
  readonly thisUpdateMs: number
  /** Undefined: newer information is always there. */
  readonly nextUpdateMs: number | undefined
}

export interface OcspReading {
  readonly nonce: Buffer | undefined
  /** The answer has to repeat the nonce. */
  readonly needsNonce: boolean
  readonly toleranceMs: number
  /** Of an answer that does not say until when it counts, and is not to our nonce: it may be played back. */
  readonly maxAgeMs: number
  readonly nowMs: number
}

const Sha1Id = '1.3.14.3.2.26'
const BasicResponseId = '1.3.6.1.5.5.7.48.1.1'
const NonceId = '1.3.6.1.5.5.7.48.1.2'
const OcspSigningId = '1.3.6.1.5.5.7.3.9'
/** More certificates than that in an answer are not looked at. */
const MAX_CERTIFICATES = 8

/** OCSPResponseStatus: RFC 6960, 4.2.1. */
const FAILURES: Readonly<Record<number, string>> = {
  1: 'malformedRequest',
  2: 'internalError',
  3: 'tryLater',
  5: 'sigRequired',
  6: 'unauthorized',
}

/** DER of a request for one certificate: RFC 6960, 4.1. */
export function encodeOcspRequest({ authority, serialBytes }: Link, nonce: Buffer | undefined): Uint8Array {
  const reqCert = new CertID({
    // Every responder knows SHA-1 here (RFC 5019, 2.1.1); it is a name, not a signature.
    hashAlgorithm: new AlgorithmIdentifier({ algorithmId: Sha1Id, algorithmParams: new Null() }),
    issuerNameHash: new OctetString({ valueHex: bufferOf(sha1(authority.name)) }),
    issuerKeyHash: new OctetString({ valueHex: bufferOf(sha1(authority.keyBits)) }),
    serialNumber: new Integer({ valueHex: bufferOf(serialBytes) }),
  })
  const tbsRequest = new TBSRequest({ requestList: [new Request({ reqCert })] })
  if (nonce !== undefined) {
    // RFC 8954: the value of the extension is an OCTET STRING again.
    const extnValue = new OctetString({ valueHex: bufferOf(nonce) }).toBER()
    tbsRequest.requestExtensions = [new Extension({ extnID: NonceId, extnValue })]
  }
  return new Uint8Array(new OCSPRequest({ tbsRequest }).toSchema(true).toBER())
}

/**
 * What a response says about the certificate, if it is to be believed: RFC 6960, 3.2.
 * @throws {Error} why it is not.
 */
export function readOcspResponse(der: Uint8Array, link: Link, reading: OcspReading): OcspAnswer {
  const response = new OCSPResponse({ schema: decode(der) })
  const status = response.responseStatus.valueBlock.valueDec
  if (status !== 0) throw new Error(`the responder says ${FAILURES[status] ?? `status ${status}`}`)
  const { responseBytes } = response
  if (responseBytes?.responseType !== BasicResponseId) throw new Error('the answer is of an unknown kind')
  const basic = new BasicOCSPResponse({ schema: decode(responseBytes.response.valueBlock.valueHexView) })
  checkSigner(basic, link.authority, reading.nowMs)
  const isOurs = hasOurNonce(basic, reading)
  const single = basic.tbsResponseData.responses.find(({ certID }) => isAbout(certID, link))
  if (single === undefined) throw new Error('the answer is about another certificate')
  return checkTime(single, isOurs ? { ...reading, maxAgeMs: Infinity } : reading)
}

/** The CA itself, or whom it has allowed to (4.2.2.2): id-kp-OCSPSigning, issued by that CA directly. */
function checkSigner(basic: BasicOCSPResponse, { x509: issuer }: Authority, nowMs: number): void {
  const signed = {
    tbs: basic.tbsResponseData.tbsView,
    signature: basic.signature.valueBlock.valueHexView,
    algorithm: basic.signatureAlgorithm,
  }
  if (isSignedBy(signed, issuer.publicKey)) return
  const delegated = (basic.certs ?? [])
    .slice(0, MAX_CERTIFICATES)
    .map((certificate) => new X509Certificate(Buffer.from(certificate.toSchema().toBER())))
  for (const responder of delegated) {
    if (!isSignedBy(signed, responder.publicKey)) continue
    if (!responder.checkIssued(issuer) || !responder.verify(issuer.publicKey))
      throw new Error('the responder is not one of the CA that has issued the certificate')
    // Of X509Certificate, keyUsage is the extended one.
    if (!responder.keyUsage?.includes(OcspSigningId))
      throw new Error('the certificate of the responder is not one for OCSP (id-kp-OCSPSigning)')
    if (Date.parse(responder.validFrom) > nowMs || Date.parse(responder.validTo) < nowMs)
      throw new Error('the certificate of the responder is not valid now')
    return
  }
  throw new Error(
    'the answer is not signed by the CA that has issued the certificate, nor by a responder of it',
  )
}

function hasOurNonce({ tbsResponseData }: BasicOCSPResponse, { nonce, needsNonce }: OcspReading): boolean {
  if (nonce === undefined) return false
  const found = tbsResponseData.responseExtensions?.find(({ extnID }) => extnID === NonceId)
  if (found === undefined) {
    if (needsNonce) throw new Error('the answer has no nonce')
    return false
  }
  const value = decode(found.extnValue.valueBlock.valueHexView)
  if (!(value instanceof OctetString) || !nonce.equals(value.valueBlock.valueHexView))
    throw new Error('the answer has another nonce: it is to another question')
  return true
}

function isAbout(certId: CertID, { authority, serial }: Link): boolean {
  return (
    certId.hashAlgorithm.algorithmId === Sha1Id &&
    sha1(authority.name).equals(certId.issuerNameHash.valueBlock.valueHexView) &&
    sha1(authority.keyBits).equals(certId.issuerKeyHash.valueBlock.valueHexView) &&
    serialKey(certId.serialNumber.valueBlock.valueHexView) === serial
  )
}

function checkTime(single: SingleResponse, { nowMs, toleranceMs, maxAgeMs }: OcspReading): OcspAnswer {
  const thisUpdateMs = single.thisUpdate.getTime()
  const nextUpdateMs = single.nextUpdate?.getTime()
  if (thisUpdateMs > nowMs + toleranceMs)
    throw new Error('the answer is from the future: is the clock right?')
  if (nextUpdateMs !== undefined && nextUpdateMs < nowMs - toleranceMs)
    throw new Error('the answer is out of date')
  if (nextUpdateMs === undefined && thisUpdateMs < nowMs - toleranceMs - maxAgeMs)
    throw new Error('the answer is old, and does not say until when it counts')
  return { status: statusOf(single), thisUpdateMs, nextUpdateMs }
}

/** CertStatus: good [0], revoked [1], unknown [2]. */
function statusOf({ certStatus }: SingleResponse): OcspStatus {
  const { tagNumber } = (certStatus as { idBlock: { tagNumber: number } }).idBlock
  if (tagNumber === 0) return 'good'
  return tagNumber === 1 ? 'revoked' : 'unknown'
}

function sha1(bytes: Uint8Array): Buffer {
  return createHash('sha1').update(bytes).digest()
}

/** The library takes whole ArrayBuffers, and a Buffer may lie in a larger one. */
function bufferOf(bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer
}
