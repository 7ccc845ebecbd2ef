import type { StoredWill } from '../contract.ts'
import { withOwnPayload } from '../pending-publish.ts'
import { encodeWill } from '../will-codec.ts'
import type { Requests } from './requests.ts'

/** The wills of this pod, each with the number of the claim that it was stored with (0: without one). */
export class Wills {
  readonly of = new Map<string, StoredWill>()
  readonly #numbers = new Map<string, number>()
  readonly #requests: Requests

  constructor(requests: Requests) {
    this.#requests = requests
  }

  /** Undefined: there is none. */
  numberOf(sessionId: string): number | undefined {
    return this.#numbers.get(sessionId)
  }

  /** Redis has it so, or was asked to. */
  keep(sessionId: string, will: StoredWill | undefined, number: number): void {
    if (will === undefined) {
      this.of.delete(sessionId)
      this.#numbers.delete(sessionId)
    } else {
      this.of.set(sessionId, will)
      this.#numbers.set(sessionId, number)
    }
  }

  /** The will of that claim was published, by whomever. */
  gone(sessionId: string, number: number): void {
    if (this.#numbers.get(sessionId) === number) this.keep(sessionId, undefined, 0)
  }

  clear(): void {
    this.of.clear()
    this.#numbers.clear()
  }

  /** Rejects with TMQ_STOPPED when another holds the claim. */
  async put(will: StoredWill, claim: number): Promise<void> {
    const { clientId } = will
    const before = this.of.get(clientId)
    const numberBefore = this.#numbers.get(clientId) ?? 0
    const kept = ownWill(will)
    this.keep(clientId, kept, claim)
    const value = encodeWill(will)
    const options = { patience: 'wait', bytes: value.length } as const
    try {
      await this.#requests.askFenced(clientId, 'claim-will', [clientId, claim, value], options)
    } catch (error) {
      if (this.of.get(clientId) === kept) this.keep(clientId, before, numberBefore)
      throw error
    }
  }

  async delete(clientId: string): Promise<void> {
    const before = this.of.get(clientId)
    const number = this.#numbers.get(clientId)
    if (before === undefined || number === undefined) {
      const { refusal } = this.#requests
      await this.#requests.settled()
      if (refusal !== undefined) throw refusal
      return
    }
    this.keep(clientId, undefined, 0)
    try {
      await this.#requests.ask('will-delete', [clientId, number], { patience: 'wait', frees: true })
    } catch (error) {
      if (!this.of.has(clientId)) this.keep(clientId, before, number)
      throw error
    }
  }
}

/** With a payload of its own. */
export function ownWill(will: StoredWill): StoredWill {
  return { ...will, message: withOwnPayload(will.message) }
}
