import type { RevocationCounters } from '../../counters.ts'
import type { RevocationConfig } from '../../config/certificate-schema.ts'
import type { HandlerLog } from '../log.ts'
import type { Authority } from './authorities.ts'
import { parseCrlFile } from './crl-files.ts'
import type { Crl } from './crl.ts'
import type { CrlStore } from './crl-store.ts'
import type { Ask } from './http.ts'

/** Distribution points that are known at once: a CA with many devices may have a list for each part of them. */
const MAX_POINTS = 256
/** A list is fetched again when this share of its time is over, so that a server that is away has time to come back. */
const REFRESH_AT = 0.8
const MIN_REFRESH_MS = 1_000

interface Point {
  readonly url: string
  /** Who has to have signed the list; undefined: any of the CAs, or an intermediate. */
  readonly authority: Authority | undefined
  underWay: Promise<void> | undefined
  timer: NodeJS.Timeout | undefined
  /** Nobody waits for another attempt before. */
  quietUntilMs: number
  /** A list of it is in the store. */
  isKnown: boolean
}

export interface CrlFetcherOptions {
  readonly config: RevocationConfig
  readonly ask: Ask
  readonly store: CrlStore
  readonly authorities: () => readonly Authority[]
  readonly counters: RevocationCounters
  readonly log: HandlerLog
  /** A list has come that says something new. */
  readonly changed: () => void
}

/** Revocation lists from the network: fetched once, and again before they end. */
export class CrlFetcher {
  readonly #options: CrlFetcherOptions
  readonly #points = new Map<string, Point>()
  #closed = false

  constructor(options: CrlFetcherOptions) {
    this.#options = options
  }

  /** A promise when the list is to be waited for; it never rejects. */
  obtain(url: string, authority?: Authority): Promise<void> | undefined {
    const point = this.#points.get(url) ?? this.#open(url, authority)
    if (point === undefined || point.isKnown) return undefined
    if (point.underWay === undefined && Date.now() < point.quietUntilMs) return undefined
    return this.#fetch(point)
  }

  /** Fetches all again. */
  async refresh(): Promise<void> {
    await Promise.all([...this.#points.values()].map((point) => this.#fetch(point)))
  }

  close(): void {
    this.#closed = true
    for (const { timer } of this.#points.values()) clearTimeout(timer)
  }

  #open(url: string, authority: Authority | undefined): Point | undefined {
    if (this.#points.size >= MAX_POINTS) {
      this.#options.log.error({ url, limit: MAX_POINTS }, 'too many distribution points: not fetched')
      return undefined
    }
    const point = { url, authority, underWay: undefined, timer: undefined, quietUntilMs: 0, isKnown: false }
    this.#points.set(url, point)
    return point
  }

  #fetch(point: Point): Promise<void> {
    point.underWay ??= this.#fetchOnce(point).finally(() => {
      point.underWay = undefined
    })
    return point.underWay
  }

  async #fetchOnce(point: Point): Promise<void> {
    const { config, counters, ask, log, store } = this.#options
    const { url } = point
    clearTimeout(point.timer)
    counters.crlFetches++
    try {
      const bytes = await ask(url)
      const crls = await parseCrlFile(bytes, url)
      for (const crl of crls) this.#checkSigner(crl, point)
      const before = store.thisUpdateMs(url) ?? 0
      const now = Math.max(...crls.map(({ thisUpdateMs }) => thisUpdateMs))
      // It is signed, and yet somebody on the way may play back one from before a revocation.
      if (now < before) throw new Error('is older than the list from before')
      if (this.#closed) return
      point.isKnown = true
      if (now > before) {
        store.set(url, crls)
        const entries = crls.reduce((sum, { serials }) => sum + serials.size, 0)
        log.info({ url, entries }, 'revocation list fetched')
        this.#options.changed()
      }
      this.#again(point, refreshAfterMs(crls, config.crl.refreshMs))
    } catch (error) {
      if (this.#closed) return
      counters.crlFetchFailures++
      log.error({ url, err: error }, 'revocation list cannot be fetched')
      point.quietUntilMs = Date.now() + config.retryMs
      // One that nobody asks for any more need not be tried for ever; those that connect ask again.
      if (point.isKnown || point.authority === undefined)
        this.#again(point, Math.max(config.retryMs, MIN_REFRESH_MS))
    }
  }

  #again(point: Point, afterMs: number): void {
    point.timer = setTimeout(() => void this.#fetch(point), afterMs).unref()
  }

  #checkSigner(crl: Crl, { authority }: Point): void {
    const named =
      authority === undefined
        ? this.#options.authorities().filter(({ name }) => name.equals(crl.issuer))
        : [authority]
    if (authority === undefined && named.length === 0) return
    if (!named.some(({ name, x509 }) => name.equals(crl.issuer) && crl.isSignedBy(x509)))
      throw new Error('the list is not signed by the issuer of the certificate')
  }
}

function refreshAfterMs(crls: readonly Crl[], maxMs: number): number {
  const nowMs = Date.now()
  const ends = crls.flatMap(({ nextUpdateMs }) =>
    nextUpdateMs === undefined ? [] : [(nextUpdateMs - nowMs) * REFRESH_AT],
  )
  return Math.max(MIN_REFRESH_MS, Math.min(maxMs, ...ends))
}
