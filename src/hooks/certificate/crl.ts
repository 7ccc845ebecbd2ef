import type { X509Certificate } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { AlgorithmIdentifier, Extensions, IssuingDistributionPoint, Time, type Extension } from 'pkijs'
import { BitString } from 'asn1js'
import { decode, DerWalk, serialKey, Universal, type Element } from './der.ts'
import { isSignedBy } from './signature.ts'
import { uriNames } from './general-names.ts'

/** Entries that are read before others of the process get their turn: some milliseconds. */
const ENTRIES_A_TURN = 500

const IssuingDistributionPointId = '2.5.29.28'
const DeltaIndicatorId = '2.5.29.27'

/** Which certificates of its issuer a list is about: RFC 5280, 5.2.5. */
export interface CrlScope {
  readonly onlyUsers: boolean
  readonly onlyCas: boolean
  /** Only certificates that name one of these distribution points; undefined: all. */
  readonly uris: readonly string[] | undefined
}

/** A revocation list of which the signature is yet to be checked: {@link isIssuedBy}. */
export interface Crl {
  /** DER of the name. */
  readonly issuer: Buffer
  readonly thisUpdateMs: number
  /** Undefined: it says nothing about the next one. */
  readonly nextUpdateMs: number | undefined
  readonly scope: CrlScope
  readonly serials: ReadonlySet<string>
  readonly isSignedBy: (issuer: X509Certificate) => boolean
}

/**
 * Reads a list; long ones in turns, so that others are served in between.
 * @throws {Error} when it is none, or one that must not be used (RFC 5280, 5.2): partial in a way that is not supported.
 */
export async function readCrl(der: Uint8Array): Promise<Crl> {
  const walk = new DerWalk(der)
  const list = walk.elementAt(0, der.byteLength)
  const [tbs, algorithm, signature, ...others] = walk.within(list)
  if (list.end !== der.byteLength || signature === undefined || others.length > 0)
    throw new Error('is no CRL')
  const parts = partsOf(walk, tbs!)
  const scope = scopeOf(parts.extensions === undefined ? [] : readExtensions(walk, parts.extensions))
  const serials = parts.revoked === undefined ? new Set<string>() : await readSerials(walk, parts.revoked)
  const signed = {
    tbs: walk.whole(tbs!),
    signature: bitsOf(walk.whole(signature)),
    algorithm: new AlgorithmIdentifier({ schema: decode(walk.whole(algorithm!)) }),
  }
  return {
    issuer: Buffer.from(walk.whole(parts.issuer)),
    thisUpdateMs: timeOf(walk.whole(parts.thisUpdate)),
    nextUpdateMs: parts.nextUpdate && timeOf(walk.whole(parts.nextUpdate)),
    scope,
    serials,
    isSignedBy: ({ publicKey }) => isSignedBy(signed, publicKey),
  }
}

/** TBSCertList: RFC 5280, 5.1. */
function partsOf(walk: DerWalk, tbs: Element) {
  const parts = [...walk.within(tbs)]
  const at = (index: number): Element => {
    const part = parts[index]
    if (part === undefined) throw new Error('is no CRL')
    return part
  }
  const isTime = (part: Element | undefined): part is Element =>
    part?.tagClass === 1 &&
    (part.tagNumber === Universal.utcTime || part.tagNumber === Universal.generalizedTime)
  // version and signature come first; version is missing in CRLs of version 1.
  let next = at(0).tagNumber === Universal.integer ? 2 : 1
  const issuer = at(next++)
  const thisUpdate = at(next++)
  if (!isTime(thisUpdate)) throw new Error('is no CRL')
  const nextUpdate = isTime(parts[next]) ? at(next++) : undefined
  const isList = parts[next]?.tagClass === 1 && parts[next]?.tagNumber === Universal.sequence
  const revoked = isList ? at(next++) : undefined
  const extensions = parts[next]
  if (parts.length > next + 1) throw new Error('is no CRL')
  return { issuer, thisUpdate, nextUpdate, revoked, extensions }
}

async function readSerials(walk: DerWalk, revoked: Element): Promise<Set<string>> {
  const serials = new Set<string>()
  let count = 0
  for (const entry of walk.within(revoked)) {
    const serial = walk.elementAt(entry.valueStart, entry.end)
    if (serial.tagNumber !== Universal.integer) throw new Error('is no CRL')
    serials.add(serialKey(walk.value(serial)))
    if (++count % ENTRIES_A_TURN === 0) await nextTurn()
  }
  return serials
}

function readExtensions(walk: DerWalk, tagged: Element): readonly Extension[] {
  const inner = walk.elementAt(tagged.valueStart, tagged.end)
  return new Extensions({ schema: decode(walk.whole(inner)) }).extensions
}

function scopeOf(extensions: readonly Extension[]): CrlScope {
  let scope: CrlScope = { onlyUsers: false, onlyCas: false, uris: undefined }
  for (const { extnID, critical, extnValue } of extensions) {
    if (extnID === DeltaIndicatorId)
      throw new Error('is a delta CRL, which is not supported: a full one is needed')
    if (extnID !== IssuingDistributionPointId) {
      if (critical) throw new Error(`has the critical extension ${extnID}, which is not supported`)
      continue
    }
    const point = new IssuingDistributionPoint({ schema: decode(extnValue.valueBlock.valueHexView) })
    if (point.indirectCRL || point.onlyContainsAttributeCerts || point.onlySomeReasons !== undefined)
      throw new Error(
        'is an indirect CRL, or for some reasons only, which is not supported: a full one is needed',
      )
    const { distributionPoint } = point
    scope = {
      onlyUsers: point.onlyContainsUserCerts,
      onlyCas: point.onlyContainsCACerts,
      uris: distributionPoint === undefined ? undefined : uriNames(distributionPoint),
    }
  }
  return scope
}

function timeOf(der: Uint8Array): number {
  return new Time({ schema: decode(der) }).value.getTime()
}

function bitsOf(der: Uint8Array): Uint8Array {
  const bits = decode(der)
  if (!(bits instanceof BitString)) throw new Error('is no CRL')
  return bits.valueBlock.valueHexView
}
