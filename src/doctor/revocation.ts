import { readFile } from 'node:fs/promises'
import type { Config, HandlerConfig } from '../config/schema.ts'
import { findingsOf, messageOf, type Finding } from './finding.ts'

const { ok, warn, fail } = findingsOf('tls')

/** A list is renewed in time when this share of its life is left; so many hours at least. */
const WARN_SHARE = 0.1
const WARN_HOURS = 6
const HOUR_MS = 3_600_000

/** The revocation lists of certificate handlers: whether they can be used, and for how long. */
export async function checkRevocationLists(config: Config, nowMs = Date.now()): Promise<readonly Finding[]> {
  const handlers: HandlerConfig[] = [
    ...config.handlers,
    ...config.listeners.flatMap((listener) => listener.handlers ?? []),
  ]
  const lists = new Map<string, 'refuse' | 'accept'>()
  for (const handler of handlers) {
    if (handler.type !== 'certificate') continue
    const { files, onStale } = handler.revocation.crl
    for (const file of files) if (lists.get(file) !== 'refuse') lists.set(file, onStale)
  }
  const findings: Finding[] = []
  for (const [file, onStale] of lists) {
    try {
      // Only now: it brings the ASN.1 library with it.
      const { parseCrlFile } = await import('../hooks/certificate/crl-files.ts')
      for (const crl of await parseCrlFile(await readFile(file), file))
        findings.push(judgeList({ ...crl, file, onStale }, nowMs))
    } catch (error) {
      findings.push(
        fail(
          `revocation list ${file}: ${messageOf(error)}`,
          'have the CA make it again; it has to be readable',
        ),
      )
    }
  }
  return findings
}

export interface ListFacts {
  readonly file: string
  readonly thisUpdateMs: number
  readonly nextUpdateMs: number | undefined
  readonly onStale: 'refuse' | 'accept'
}

/** Pure. */
export function judgeList({ file, thisUpdateMs, nextUpdateMs, onStale }: ListFacts, nowMs: number): Finding {
  if (nextUpdateMs === undefined) return ok(`revocation list ${file}: does not go out of date`)
  const until = new Date(nextUpdateMs).toISOString()
  const renew = 'have the CA make a new list; the broker reads it when it changes'
  if (nextUpdateMs < nowMs)
    return onStale === 'refuse'
      ? fail(
          `revocation list ${file} is out of date since ${until}: certificates of its CA are refused`,
          renew,
        )
      : warn(
          `revocation list ${file} is out of date since ${until}: who was revoked since then is let in`,
          renew,
        )
  const leftMs = nextUpdateMs - nowMs
  if (leftMs < Math.max((nextUpdateMs - thisUpdateMs) * WARN_SHARE, WARN_HOURS * HOUR_MS))
    return warn(
      `revocation list ${file} goes out of date in ${Math.floor(leftMs / HOUR_MS)} h, at ${until}`,
      renew,
    )
  return ok(`revocation list ${file}: counts until ${until}`)
}
