import type { BridgeConfig } from '../config/bridge-schema.ts'
import type { RemoteFailure } from './failure.ts'

/** `3.1.1+bridge`: with the bridge bit, by which the other broker knows not to send back what came from here. */
export type RemoteProtocol = '5' | '3.1.1+bridge' | '3.1.1'

/** A connection that stood for this long was a good one: the next wait is a short one again. */
const STABLE_MS = 10_000

const AUTO: readonly RemoteProtocol[] = ['5', '3.1.1+bridge', '3.1.1']

/** When to try the other broker again, and in which version of MQTT. Pure. */
export class Attempts {
  readonly #minMs: number
  readonly #maxMs: number
  readonly #protocols: readonly RemoteProtocol[]
  #place = 0
  /** It was connected in the present version. */
  #isProven = false
  /** Versions in a row that it has refused. */
  #refusedCount = 0
  #failureCount = 0

  constructor({
    protocol,
    reconnectMinMs,
    reconnectMaxMs,
  }: Pick<BridgeConfig, 'protocol' | 'reconnectMinMs' | 'reconnectMaxMs'>) {
    this.#minMs = reconnectMinMs
    this.#maxMs = Math.max(reconnectMinMs, reconnectMaxMs)
    const versions = { auto: AUTO, '5': AUTO.slice(0, 1), '3.1.1': AUTO.slice(1) }
    this.#protocols = versions[protocol]
  }

  get protocol(): RemoteProtocol {
    return this.#protocols[this.#place]!
  }

  /** It has taken us, in this version: which is where the next attempt begins, unless it is a makeshift. */
  connected(): void {
    this.#refusedCount = 0
    this.#isProven = this.protocol !== '3.1.1'
  }

  /** A connection has ended that was up for so long; `hasWorked`: messages were acknowledged on it. */
  stood(forMs: number, hasWorked = false): void {
    if (forMs >= STABLE_MS || hasWorked) this.#failureCount = 0
    if (!this.#isProven) this.#place = 0
  }

  /** Milliseconds until the next attempt; `random` is at least 0 and below 1. */
  failed({ kind, isSilent }: Pick<RemoteFailure, 'kind' | 'isSilent'>, random: number): number {
    if (kind === 'version') {
      this.#next()
      // The next version at once; all of them again only after a wait.
      if (++this.#refusedCount < this.#protocols.length) return 0
      this.#refusedCount = 0
      return this.#spread(this.#maxMs, random)
    }
    // Wrong passwords are not hammered: others count them, and ban.
    if (kind === 'credentials' || kind === 'file') return this.#spread(this.#maxMs, random)
    if (isSilent === true && !this.#isProven) this.#next()
    const boundMs = Math.min(this.#maxMs, this.#minMs * 2 ** Math.min(this.#failureCount++, 30))
    return this.#spread(boundMs, random)
  }

  #next(): void {
    this.#isProven = false
    this.#place = (this.#place + 1) % this.#protocols.length
  }

  /** At random between half of it and all of it, so that many do not come back in one instant. */
  #spread(boundMs: number, random: number): number {
    return Math.max(this.#minMs, Math.round(boundMs * (0.5 + random / 2)))
  }
}
