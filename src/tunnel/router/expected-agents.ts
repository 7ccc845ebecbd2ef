import { offlineStatus, parseStatus } from './presence.ts'
import type { Namespaces } from './seats.ts'

export interface ExpectedAgent {
  readonly mountpoint: string
  readonly agent: string
}

interface Expectation extends ExpectedAgent {
  readonly untilMs: number
  /** It has been said that it is gone, and that is not stored yet. */
  isTold: boolean
}

export interface ExpectedAgentsContext {
  readonly namespaces: Namespaces
  readonly now: () => number
  /** Makes this the retained status of an agent. */
  readonly publishStatus: (mountpoint: string, agent: string, status: Buffer) => void
  /** `session.willGraceMs`. */
  readonly graceMs: number
  /** The retained status of an agent. */
  readonly statusOf: (mountpoint: string, agent: string) => Buffer | undefined
  /** It is for this broker to say that an agent has not come back. */
  readonly isSpokesman: () => boolean
  /** There are other brokers: an agent can be connected to one, which has not told yet. */
  readonly hasPods: boolean
}

/**
 * Agents whose last status says that they are there, and whose broker has gone, or does not have them any more: until
 * they have had time to come back, nobody is told that they are gone, and clients that want them are not refused.
 */
export class ExpectedAgents {
  readonly #context: ExpectedAgentsContext
  readonly #agents = new Map<string, Expectation>()

  constructor(context: ExpectedAgentsContext) {
    this.#context = context
  }

  get count(): number {
    return this.#agents.size
  }

  /** From now on, for the grace. */
  expect({ mountpoint, agent }: ExpectedAgent): void {
    const { now, graceMs } = this.#context
    const expected = { mountpoint, agent, untilMs: now() + graceMs, isTold: false }
    this.#agents.set(keyOf(mountpoint, agent), expected)
  }

  /** Of an agent that is not there, and that somebody wants. */
  isExpected(mountpoint: string, agent: string): boolean {
    const { now, hasPods } = this.#context
    const expected = this.#agents.get(keyOf(mountpoint, agent))
    if (expected === undefined ? !hasPods : expected.untilMs <= now()) return false
    if (this.#onlineStatus({ mountpoint, agent }) === undefined) return false
    if (expected === undefined) this.expect({ mountpoint, agent })
    return true
  }

  arrived(mountpoint: string, agent: string): void {
    this.#agents.delete(keyOf(mountpoint, agent))
  }

  /** Every second: says of those whose time is over that they are gone. */
  sweep(): void {
    if (this.#agents.size === 0) return
    const { now, isSpokesman, publishStatus } = this.#context
    const nowMs = now()
    for (const [key, expected] of this.#agents) {
      if (expected.untilMs > nowMs) continue
      const { mountpoint, agent } = expected
      const status = this.#onlineStatus(expected)
      if (status === undefined) this.#agents.delete(key)
      // Who is to say so may end before it does: it is known when it can be read.
      else if (isSpokesman() && !expected.isTold) {
        expected.isTold = true
        publishStatus(mountpoint, agent, offlineStatus(status, new Date()))
      }
    }
  }

  /** What it says of itself, when that is that it is there, and it is not. */
  #onlineStatus({ mountpoint, agent }: ExpectedAgent): Record<string, unknown> | undefined {
    const { namespaces, statusOf } = this.#context
    if (namespaces.seat(mountpoint, 'serve', agent)?.end !== undefined) return undefined
    const payload = statusOf(mountpoint, agent)
    const status = payload && parseStatus(payload)
    return typeof status === 'object' && status['online'] === true ? status : undefined
  }
}

/** Names have no `/`. */
const keyOf = (mountpoint: string, agent: string): string => `${agent}/${mountpoint}`
