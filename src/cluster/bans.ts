import { TunnelMQError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { RedisLink } from '../store/redis/contract.ts'
import { submitted } from './submitted.ts'

export interface BanSharingOptions {
  readonly link: RedisLink
  readonly limits: { readonly banFailures: number; readonly banWindowMs: number; readonly banMs: number }
  readonly log: Log
}

/** Bans of all pods, and refused credentials counted over all of them. */
export class BanSharing {
  readonly #options: BanSharingOptions
  /** Address → until, ms. */
  readonly #bans = new Map<string, number>()
  /** What is not in Redis then is to be there again, and was not lifted. */
  #wasEmptied = false
  #tell: ((address: string, untilMs: number) => void) | undefined

  constructor(options: BanSharingOptions) {
    this.#options = options
    options.link.onLoad(() => this.#load())
    options.link.onEmptied(() => {
      this.#wasEmptied = true
      for (const [address, untilMs] of this.#bans) this.#submit('ban', [address, untilMs])
    })
    options.link.follower.onLog('ban', ([, , address, untilMs]) => {
      if (typeof address !== 'string' || typeof untilMs !== 'number')
        throw new TunnelMQError('TMQ_STORE', 'not a ban')
      if (untilMs === 0) this.#lifted(address)
      else this.#banned(address, untilMs)
    })
  }

  start(tell: (address: string, untilMs: number) => void): void {
    this.#tell = tell
    const nowMs = Date.now()
    for (const [address, untilMs] of this.#bans) if (untilMs > nowMs) tell(address, untilMs)
  }

  ban(address: string, untilMs: number): void {
    if ((this.#bans.get(address) ?? 0) < untilMs) this.#submit('ban', [address, untilMs])
  }

  async unban(address: string): Promise<boolean> {
    return (await submitted(this.#options.link.writer, 'lift-ban', [address], { patience: 'now' })) === 1
  }

  credentialsRefused(address: string): void {
    const { banFailures, banWindowMs, banMs } = this.#options.limits
    if (banFailures === 0) return
    // One that is banned had its connection before, and cannot make another.
    if ((this.#bans.get(address) ?? 0) > Date.now()) return
    this.#submit('refused', [address, banFailures, banWindowMs, banMs])
  }

  /** Forgets those that are over, here and in Redis. */
  tick(): void {
    const nowMs = Date.now()
    for (const [address, untilMs] of this.#bans) {
      if (untilMs > nowMs) continue
      this.#bans.delete(address)
      this.#submit('unban', [address, untilMs])
    }
  }

  async #load(): Promise<void> {
    const { link } = this.#options
    const reply = await link.command('HGETALL', link.key('bans'))
    if (!Array.isArray(reply)) return
    const missing = new Set(this.#wasEmptied ? [] : this.#bans.keys())
    this.#wasEmptied = false
    for (let at = 0; at + 1 < reply.length; at += 2) {
      const address = reply[at]
      const untilMs = Number(reply[at + 1])
      if (!Buffer.isBuffer(address) || !Number.isFinite(untilMs)) continue
      missing.delete(address.toString())
      this.#banned(address.toString(), untilMs)
    }
    // Lifted at another pod, while this one did not hear of it.
    for (const address of missing) this.#lifted(address)
  }

  #banned(address: string, untilMs: number): void {
    if ((this.#bans.get(address) ?? 0) >= untilMs) return
    this.#bans.set(address, untilMs)
    if (untilMs > Date.now()) this.#tell?.(address, untilMs)
  }

  /** Always told: this pod may have banned it by itself, and not for as long as others. */
  #lifted(address: string): void {
    this.#bans.delete(address)
    this.#tell?.(address, 0)
  }

  /** Nobody waits for it: what is lost of it is a count, or a ban that the pod itself keeps. */
  #submit(name: string, args: readonly (string | number)[]): void {
    const { link, log } = this.#options
    submitted(link.writer, name, args, { patience: 'wait', frees: name === 'unban' }).catch(
      (error: unknown) => log.debug({ err: error, name }, 'ban not shared'),
    )
  }
}
