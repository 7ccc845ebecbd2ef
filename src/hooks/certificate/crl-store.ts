import type { RevocationListFigures } from '../../counters.ts'
import type { Authority, Link } from './authorities.ts'
import type { Crl } from './crl.ts'

export type CrlStatus = 'good' | 'revoked' | 'missing' | 'stale'

/** How far the clock of a CA may be ahead. */
const CLOCK_TOLERANCE_MS = 300_000

interface Kept {
  crl: Omit<Crl, 'isSignedBy'>
  /** Until the signature was found to be good: the closure holds the whole list in memory. */
  check: Crl['isSignedBy'] | undefined
  /** Id of the authority that has signed it. */
  signer: string | undefined
  readonly notSigners: Set<string>
}

/** Revocation lists by their source (a file or URL), and what they say about a certificate. */
export class CrlStore {
  readonly #bySource = new Map<string, readonly Kept[]>()
  /** By the id of the authority: the newest list of each scope. */
  readonly #byAuthority = new Map<string, readonly Kept[]>()

  /** In place of those that came from there before. */
  set(source: string, crls: readonly Crl[]): void {
    this.#byAuthority.clear()
    this.#bySource.set(
      source,
      crls.map(({ isSignedBy: check, ...crl }) => ({ crl, check, signer: undefined, notSigners: new Set() })),
    )
  }

  /** The newest of the source. */
  thisUpdateMs(source: string): number | undefined {
    const times = this.#bySource.get(source)?.map(({ crl }) => crl.thisUpdateMs) ?? []
    return times.length === 0 ? undefined : Math.max(...times)
  }

  statusOf({ authority, serial, isCa, crlUrls }: Link, nowMs: number): CrlStatus {
    const inScope = this.#listsOf(authority).filter(
      ({ crl: { scope } }) =>
        !(isCa ? scope.onlyUsers : scope.onlyCas) &&
        (scope.uris === undefined || scope.uris.some((uri) => crlUrls.includes(uri))),
    )
    // Whatever the time: the clock may be wrong (a machine without one has just started), the signature is not.
    if (inScope.some(({ crl }) => crl.serials.has(serial))) return 'revoked'
    const begun = inScope.filter(({ crl }) => crl.thisUpdateMs <= nowMs + CLOCK_TOLERANCE_MS)
    if (begun.length === 0) return 'missing'
    const isStale = begun.some(({ crl }) => crl.nextUpdateMs !== undefined && crl.nextUpdateMs < nowMs)
    return isStale ? 'stale' : 'good'
  }

  figures(): RevocationListFigures[] {
    return [...this.#bySource.values()].flat().map(({ crl }) => ({
      entries: crl.serials.size,
      thisUpdateMs: crl.thisUpdateMs,
      nextUpdateMs: crl.nextUpdateMs,
    }))
  }

  #listsOf(authority: Authority): readonly Kept[] {
    const known = this.#byAuthority.get(authority.id)
    if (known !== undefined) return known
    const newest = new Map<string, Kept>()
    for (const kept of [...this.#bySource.values()].flat()) {
      if (!kept.crl.issuer.equals(authority.name) || !isSigned(kept, authority)) continue
      const scope = JSON.stringify(kept.crl.scope)
      const other = newest.get(scope)
      if (other === undefined || other.crl.thisUpdateMs < kept.crl.thisUpdateMs) newest.set(scope, kept)
    }
    const lists = [...newest.values()]
    this.#byAuthority.set(authority.id, lists)
    return lists
  }
}

function isSigned(kept: Kept, authority: Authority): boolean {
  if (kept.signer === authority.id) return true
  if (kept.check === undefined || kept.notSigners.has(authority.id)) return false
  if (!kept.check(authority.x509)) {
    kept.notSigners.add(authority.id)
    return false
  }
  kept.signer = authority.id
  kept.check = undefined
  return true
}
