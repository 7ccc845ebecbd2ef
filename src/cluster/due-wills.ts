import type { Log } from '../log.ts'
import type { StoredWill } from '../store/contract.ts'
import type { RedisLink, ScriptReply } from '../store/redis/contract.ts'
import { decodeWill } from '../store/will-codec.ts'
import { submitted } from './submitted.ts'

/** Wills that one run of the script lends. */
const PORTION = 200
/** For so long no other pod is given a will that was given to one: time to publish it, before that one may be dead. */
const LOAN_MS = 3_000

export interface DueWillsOptions {
  readonly link: RedisLink
  readonly log: Log
}

/**
 * Wills of clients that nobody owns and that have not come back in time. Each is lent to one pod at a time, and
 * comes up again until the write that publishes it has removed it.
 */
export class DueWills {
  readonly #link: RedisLink
  readonly #log: Log
  #publish: ((will: StoredWill, claim: number) => void) | undefined
  #asking: 'no' | 'yes' | 'again' = 'no'
  #count = 0
  #garbage = 0

  constructor(options: DueWillsOptions) {
    this.#link = options.link
    this.#log = options.log
  }

  start(publish: (will: StoredWill, claim: number) => void): void {
    this.#publish = publish
  }

  /** From now on this pod is given none. */
  stop(): void {
    this.#publish = undefined
  }

  /** Looks for some, now. */
  tick(): void {
    if (this.#publish === undefined) return
    if (this.#asking === 'no') void this.#ask()
    else this.#asking = 'again'
  }

  stats(): { willsDue: number; garbage: number } {
    return { willsDue: this.#count, garbage: this.#garbage }
  }

  async #ask(): Promise<void> {
    this.#asking = 'yes'
    try {
      let given = PORTION
      while (given >= PORTION && this.#publish !== undefined) {
        const reply = await submitted(this.#link.writer, 'due-wills', [PORTION, LOAN_MS], {
          patience: 'now',
          frees: true,
        })
        given = this.#take(reply)
      }
    } catch (error) {
      this.#log.debug({ err: error }, 'due wills not read')
    }
    const again = (this.#asking as string) === 'again'
    this.#asking = 'no'
    if (again) void this.#ask()
  }

  /** Session id (or a name of its own, lua/op-claim.lua) and `<claim>:<will>`, in turn. Gives how many there were. */
  #take(reply: ScriptReply): number {
    if (!Array.isArray(reply)) return 0
    for (let at = 0; at + 1 < reply.length; at += 2) {
      const sessionId = reply[at]
      const value = reply[at + 1]
      if (!Buffer.isBuffer(sessionId) || !Buffer.isBuffer(value)) continue
      const colon = value.indexOf(':')
      const claim = Number(value.toString('latin1', 0, colon))
      const isNumbered = colon > 0 && Number.isSafeInteger(claim)
      const will = isNumbered ? decodeWill(sessionId.toString(), value, colon + 1) : undefined
      if (will === undefined) this.#drop(sessionId, value)
      else {
        this.#count++
        this.#publish?.(will, claim)
      }
    }
    return reply.length / 2
  }

  /** It would come up for ever. */
  #drop(sessionId: Buffer, value: Buffer): void {
    this.#garbage++
    submitted(this.#link.writer, 'drop-will', [sessionId, value], { patience: 'now', frees: true }).catch(
      (error: unknown) => this.#log.debug({ err: error }, 'garbage in place of a will not removed'),
    )
  }
}
