import { X509Certificate } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { RevocationConfig } from '../../config/certificate-schema.ts'
import type { RevocationCounters, RevocationRefusal } from '../../counters.ts'
import type { PeerCertificate } from '../../peer.ts'
import { createHttpClient } from '../http-client.ts'
import type { HandlerLog } from '../log.ts'
import { openRightsFile, type RightsFileOptions } from '../rights-file.ts'
import type { Awaitable } from '../types.ts'
import { Authorities, parseCertificates, type Link } from './authorities.ts'
import { CrlFetcher } from './crl-fetcher.ts'
import { openCrlFiles } from './crl-files.ts'
import { CrlStore } from './crl-store.ts'
import { askingBy, isAllowedUrl } from './http.ts'
import { OcspClient, type OcspVerdict } from './ocsp.ts'

/** `unavailable`: nobody could tell, which may be otherwise in a moment; the others are final. */
export type RevocationVerdict =
  | { readonly allowed: true; readonly reason: string }
  | { readonly allowed: false; readonly kind: RevocationRefusal; readonly reason: string }

export interface Revocation {
  /** At once when all is in memory. Never rejects. */
  check(certificate: PeerCertificate): Awaitable<RevocationVerdict>
  /** From memory alone; undefined: somebody has to be asked. */
  known(certificate: PeerCertificate): RevocationVerdict | undefined
  reload(): Promise<void>
  close(): void
}

export interface RevocationOptions {
  readonly config: RevocationConfig
  /** PEM file with the CAs. */
  readonly ca: string
  readonly counters: RevocationCounters
  readonly log: HandlerLog
  /** Somebody who was let in may not be any more. */
  readonly changed: () => void
  readonly watch?: RightsFileOptions<unknown>['watch']
}

/** Chains of certificates that were seen, with what is needed of them; about 500 bytes each. */
const MAX_CHAINS = 4_096
/** OCSP answers are a few kilobytes, with the responder's certificates. */
const MAX_OCSP_BYTES = 65_536
const KEEP_ALIVE_MS = 15_000

/**
 * Looks certificates up in revocation lists and asks OCSP responders.
 * @throws {TunnelMQError} TMQ_FILE when a file is not usable.
 */
export async function openRevocation(options: RevocationOptions): Promise<Revocation> {
  const { config, ca, counters, log, changed, watch } = options
  const chains = new LRUCache<string, readonly Link[]>({ max: MAX_CHAINS })
  const authoritiesFile = await openRightsFile({
    file: ca,
    log,
    parse: (text) => new Authorities(parseCertificates(text, ca)),
    ...(watch === undefined ? {} : { watch }),
  })
  authoritiesFile.onChange(() => {
    chains.clear()
    changed()
  })
  const authorities = () => authoritiesFile.current.ofFile
  const store = new CrlStore()
  const limits = { maxSockets: config.maxConcurrent, keepAliveMs: KEEP_ALIVE_MS, timeoutMs: config.timeoutMs }
  const crlClient = await createHttpClient({ ...limits, maxResponseBytes: config.crl.maxBytes })
  const ocspClient = await createHttpClient({ ...limits, maxResponseBytes: MAX_OCSP_BYTES })
  const usesCrl = config.crl.files.length > 0 || config.crl.urls.length > 0 || config.crl.distributionPoints
  const fetcher = new CrlFetcher({
    config,
    ask: askingBy(crlClient),
    store,
    authorities,
    counters,
    log,
    changed,
  })
  const ocsp =
    config.ocsp.mode === 'off'
      ? undefined
      : new OcspClient({ config, ask: askingBy(ocspClient), counters, log, revoked: changed })
  const files = await openCrlFiles({
    files: config.crl.files,
    authorities,
    log,
    loaded: (file, crls) => store.set(file, crls),
    changed,
    watch,
  }).catch((error: unknown) => {
    authoritiesFile.close()
    crlClient.close()
    ocspClient.close()
    throw error
  })
  const figures = () => store.figures()
  counters.lists.add(figures)
  if (!tellsIntermediates(process.versions.node))
    log.warn({ node: process.versions.node, key: 'ca' }, INTERMEDIATES_UNTOLD)
  // The broker starts without them: `onMissing` says what holds until they are there.
  for (const url of config.crl.urls) void fetcher.obtain(url)

  function chainOf(certificate: PeerCertificate): readonly Link[] | string {
    const known = chains.get(certificate.fingerprint256)
    if (known !== undefined) return known
    try {
      const sent = () => (certificate.issuers?.() ?? []).map((pem) => new X509Certificate(pem))
      const chain = authoritiesFile.current.chainOf(new X509Certificate(certificate.pem), sent)
      if (typeof chain === 'string') return chain
      const looked = config.depth === 'leaf' ? chain.slice(0, 1) : chain
      chains.set(certificate.fingerprint256, looked)
      return looked
    } catch (error) {
      return `it cannot be read: ${error instanceof Error ? error.message : String(error)}`
    }
  }

  /** What has to be waited for; empty: nothing. */
  function listsToFetch(link: Link): Promise<void>[] {
    const urls = config.crl.distributionPoints
      ? link.crlUrls.filter((url) => isAllowedUrl(url, config.allowedHosts))
      : []
    const points = [
      ...urls.map((url) => fetcher.obtain(url, link.authority)),
      ...config.crl.urls.map((url) => fetcher.obtain(url)),
    ]
    return points.filter((point) => point !== undefined)
  }

  function judgeLists(link: Link): RevocationVerdict | undefined {
    if (!usesCrl) return undefined
    const status = store.statusOf(link, Date.now())
    const { onMissing, onStale } = config.crl
    if (status === 'revoked')
      return refusal('revoked', `${link.subject} is on the revocation list of its issuer`)
    if (status === 'missing' && onMissing === 'refuse')
      return refusal('unavailable', `there is no revocation list for ${link.subject}`)
    if (status === 'stale' && onStale === 'refuse')
      return refusal('unavailable', `the revocation list for ${link.subject} is out of date`)
    return undefined
  }

  function judgeOcsp(link: Link, verdict: OcspVerdict): RevocationVerdict | undefined {
    switch (verdict.status) {
      case 'good':
        return undefined
      case 'revoked':
        return refusal('revoked', `OCSP: ${link.subject} is revoked`)
      case 'unknown':
        return refusal('unknown', `OCSP: the responder does not know ${link.subject}`)
      case 'failed':
        return config.ocsp.mode === 'hard' ? refusal('unavailable', `OCSP: ${verdict.reason}`) : undefined
      default:
        return verdict satisfies never
    }
  }

  /** All at once: those that do not answer cost one `timeoutMs`, and not one each. */
  async function ask(links: readonly Link[]): Promise<RevocationVerdict> {
    const answers = await Promise.all(
      links.map(async (link) => {
        const lists = usesCrl ? listsToFetch(link) : []
        const [verdict] = await Promise.all([ocsp?.known(link) ?? ocsp?.ask(link), ...lists])
        return { link, verdict }
      }),
    )
    for (const { link, verdict } of answers) {
      const refused = judgeLists(link) ?? (verdict && judgeOcsp(link, verdict))
      if (refused !== undefined) return refused
    }
    return good
  }

  function fromMemory(links: readonly Link[]): RevocationVerdict | undefined {
    let isOpen = false
    for (const link of links) {
      const listed = judgeLists(link)
      // A list that is missing may yet be fetched.
      if (listed !== undefined && !listed.allowed && listed.kind !== 'unavailable') return listed
      const verdict = ocsp?.known(link)
      const answered = verdict && judgeOcsp(link, verdict)
      if (answered !== undefined) return answered
      if (listed !== undefined) return listed
      if (ocsp !== undefined && verdict === undefined) isOpen = true
    }
    return isOpen ? undefined : good
  }

  /** With what is in memory, if nothing is to be fetched. */
  function quick(links: readonly Link[]): RevocationVerdict | undefined {
    if (usesCrl && links.some((link) => listsToFetch(link).length > 0)) return undefined
    const verdict = fromMemory(links)
    if (verdict !== undefined && ocsp !== undefined) counters.ocspCacheHits++
    return verdict
  }

  return {
    check(certificate) {
      const links = chainOf(certificate)
      if (typeof links === 'string') return counted(counters, refusal('untrusted', links))
      const verdict = quick(links)
      return verdict === undefined
        ? ask(links).then((answer) => counted(counters, answer))
        : counted(counters, verdict)
    },
    known(certificate) {
      const links = chainOf(certificate)
      return typeof links === 'string' ? refusal('untrusted', links) : fromMemory(links)
    },
    async reload() {
      await authoritiesFile.reload()
      await files.reload()
      await fetcher.refresh()
    },
    close() {
      counters.lists.delete(figures)
      authoritiesFile.close()
      files.close()
      fetcher.close()
      crlClient.close()
      ocspClient.close()
    },
  }
}

const good: RevocationVerdict = { allowed: true, reason: 'it is not revoked' }

function refusal(kind: RevocationRefusal, reason: string): RevocationVerdict {
  return { allowed: false, kind, reason }
}

function counted(counters: RevocationCounters, verdict: RevocationVerdict): RevocationVerdict {
  if (!verdict.allowed) counters.refused[verdict.kind]++
  return verdict
}

const INTERMEDIATES_UNTOLD =
  'this version of Node does not tell which intermediate CAs clients send: they have to be in the file of `ca`'

/** A fault of Node 24.21 and of 26.8 and 26.9: nodejs/node#65579. Exported for its test. */
export function tellsIntermediates(version: string): boolean {
  return !/^(24\.21|26\.[89])\./.test(version)
}
