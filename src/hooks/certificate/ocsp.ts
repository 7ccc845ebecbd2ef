import { randomBytes } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { RevocationConfig } from '../../config/certificate-schema.ts'
import type { RevocationCounters } from '../../counters.ts'
import { HttpFailure } from '../http-client.ts'
import type { HandlerLog } from '../log.ts'
import type { Link } from './authorities.ts'
import { isAllowedUrl, type Ask } from './http.ts'
import { encodeOcspRequest, readOcspResponse, type OcspStatus } from './ocsp-message.ts'

/** `failed`: nobody has told; `mode` decides. */
export type OcspVerdict =
  | { readonly status: OcspStatus }
  | { readonly status: 'failed'; readonly reason: string }

interface Remembered {
  readonly verdict: OcspVerdict
  readonly untilMs: number
}

/** Live sessions are looked at from memory once somebody has turned out to be revoked. */
const MIN_REVOKED_MS = 10_000
/** RFC 8954: up to 32 bytes. */
const NONCE_BYTES = 32

export interface OcspOptions {
  readonly config: RevocationConfig
  readonly ask: Ask
  readonly counters: RevocationCounters
  readonly log: HandlerLog
  /** A certificate that was not known to be revoked is. */
  readonly revoked: () => void
}

/** Asks responders, and remembers what they say. */
export class OcspClient {
  readonly #options: OcspOptions
  readonly #answers: LRUCache<string, Remembered>
  readonly #underWay = new Map<string, Promise<OcspVerdict>>()
  /** Responders that have just not answered, each until when. */
  readonly #away = new LRUCache<string, { readonly reason: string; readonly untilMs: number }>({ max: 100 })

  constructor(options: OcspOptions) {
    this.#options = options
    this.#answers = new LRUCache({ max: options.config.ocsp.maxCacheEntries })
  }

  /** From memory. */
  known(link: Link): OcspVerdict | undefined {
    const remembered = this.#answers.get(keyOf(link))
    return remembered !== undefined && Date.now() < remembered.untilMs ? remembered.verdict : undefined
  }

  /** Never rejects. The same question is asked once at a time. */
  ask(link: Link): Promise<OcspVerdict> {
    const key = keyOf(link)
    const pending = this.#underWay.get(key) ?? this.#askOnce(link).finally(() => this.#underWay.delete(key))
    this.#underWay.set(key, pending)
    return pending
  }

  async #askOnce(link: Link): Promise<OcspVerdict> {
    const { config, counters, log, revoked } = this.#options
    const { ocsp, retryMs, allowedHosts } = config
    const url = ocsp.responder ?? link.ocspUrls.find((named) => isAllowedUrl(named, allowedHosts))
    try {
      if (url === undefined)
        throw new Error(
          link.ocspUrls.length === 0
            ? 'the certificate names no OCSP responder'
            : 'the responder of the certificate is not one of allowedHosts',
        )
      const { status, untilMs } = await this.#exchange(url, link)
      const before = this.#answers.get(keyOf(link))?.verdict.status
      this.#remember(link, { verdict: { status }, untilMs })
      if (status === 'revoked' && before !== 'revoked') revoked()
      return { status }
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      counters.ocspFailures++
      log.error({ url, subject: link.subject, reason }, 'OCSP: no answer that counts')
      const verdict = { status: 'failed', reason } as const
      // Too many at once: the next attempt may find room.
      if (!isQueued(error)) this.#remember(link, { verdict, untilMs: Date.now() + retryMs })
      return verdict
    }
  }

  async #exchange(url: string, link: Link): Promise<{ status: OcspStatus; untilMs: number }> {
    const { config, counters, ask } = this.#options
    const { nonce: nonceUse, toleranceMs, maxCacheMs } = config.ocsp
    const away = this.#away.get(url)
    if (away !== undefined && Date.now() < away.untilMs) throw new Error(`${away.reason}, a moment ago`)
    const nonce = nonceUse === 'off' ? undefined : randomBytes(NONCE_BYTES)
    const bytes = encodeOcspRequest(link, nonce)
    counters.ocspRequests++
    let answered: Buffer
    try {
      answered = await ask(url, { bytes, contentType: 'application/ocsp-request' })
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      if (!isQueued(error)) this.#away.set(url, { reason, untilMs: Date.now() + config.retryMs })
      throw error
    }
    const nowMs = Date.now()
    const needsNonce = nonceUse === 'required'
    const reading = { nonce, needsNonce, toleranceMs, maxAgeMs: maxCacheMs, nowMs }
    const { status, nextUpdateMs } = readOcspResponse(answered, link, reading)
    const keepMs = status === 'revoked' ? Math.max(maxCacheMs, MIN_REVOKED_MS) : maxCacheMs
    return { status, untilMs: Math.min(nowMs + keepMs, nextUpdateMs ?? Infinity) }
  }

  #remember(link: Link, remembered: Remembered): void {
    if (remembered.untilMs > Date.now()) this.#answers.set(keyOf(link), remembered)
  }
}

function isQueued(error: unknown): boolean {
  return error instanceof HttpFailure && error.fault === 'queued'
}

function keyOf({ authority, serial }: Link): string {
  return `${authority.id}${serial}`
}
