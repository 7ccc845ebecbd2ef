import type { ClaimLoss, ClaimRequest, PodId } from './contract.ts'

/**
 * One connection's hold on its client id, from the question to Redis until it is given up.
 *
 *   asking ──number──▶ waiting ──the former owner is gone──▶ held ──release──▶ ended
 *
 * It can be lost in any state before `ended`: the connection is told when it is `held`, else its claim is refused.
 */
export class Hold {
  readonly request: ClaimRequest
  state: 'asking' | 'waiting' | 'held' | 'ended' = 'asking'
  /** Of its claim; undefined while asking. */
  number: number | undefined
  lost: ClaimLoss | undefined
  /** Who is waiting for it to end: the first claim with a higher number. */
  takenBy: { readonly number: number; readonly pod: PodId } | undefined
  /** Former owners that have said that they are gone; they may say so before Redis' answer is here. */
  readonly released = new Set<number>()
  #kickedNumber = 0
  /** While waiting: looks again whether it still has to. */
  recheck: (() => void) | undefined

  constructor(request: ClaimRequest) {
    this.request = request
  }

  /** Redis has answered. True if it is known by then that this one is lost. */
  numbered(number: number): boolean {
    this.number = number
    this.state = 'waiting'
    // What was meant for an earlier claim of this pod is forgotten.
    if (this.takenBy !== undefined && this.takenBy.number < number) this.takenBy = undefined
    if (this.takenBy !== undefined) return this.lose('taken-over')
    return this.#kickedNumber >= number && this.lose('kicked')
  }

  /** Whoever had it with this number, or a lower one, is to go. True if that is news, and ends this one. */
  kicked(number: number): boolean {
    if (this.number !== undefined) return this.number <= number && this.lose('kicked')
    this.#kickedNumber = Math.max(this.#kickedNumber, number)
    return false
  }

  /**
   * The connection may go on. What was lost in this turn is told in the next, when whoever awaits the claim has it.
   */
  give(): void {
    setImmediate(() => {
      if (this.state !== 'waiting') return
      this.state = 'held'
      if (this.lost !== undefined) this.request.onLost(this.lost)
    })
  }

  /** Another claim of this client id has this number. True if that is news, and ends this one. */
  taken(number: number, pod: PodId): boolean {
    if (this.state === 'ended' || (this.number !== undefined && this.number >= number)) return false
    if (this.number === undefined) {
      // Of several, the last is the one that can be later than our own.
      if (this.takenBy === undefined || this.takenBy.number < number) this.takenBy = { number, pod }
      return false
    }
    this.takenBy ??= { number, pod }
    return this.lose('taken-over')
  }

  /** True if it was not lost before. */
  lose(loss: ClaimLoss): boolean {
    if (this.lost !== undefined || this.state === 'ended') return false
    this.lost = loss
    if (this.state === 'held') this.request.onLost(loss)
    return true
  }
}
