import type { Lane, Namespaces } from './seats.ts'

/** A lane on which nothing has come for one to two of these is forgotten, and found again by its next frame. */
const IDLE_SWEEPS = 60
/** About 1 KB each; then the oldest. */
const MAX_RELAYED = 65_536

/**
 * Lanes between an agent here and clients at other pods. Their streams are not known here: a lane is kept so that the
 * next frame on its topic is one look-up.
 */
export class Relays {
  readonly #namespaces: Namespaces
  readonly #maxOfAgent: number
  readonly #lanes = new Set<Lane>()
  #sweeps = 0

  /** Services can be made up, by an agent: above `maxOfAgent` lanes none of it is kept. */
  constructor(namespaces: Namespaces, maxOfAgent: number) {
    this.#namespaces = namespaces
    this.#maxOfAgent = maxOfAgent
  }

  get count(): number {
    return this.#lanes.size
  }

  used(lane: Lane): void {
    if (lane.relay === 'none') {
      if (lane.agent.laneCount > this.#maxOfAgent) return
      this.#lanes.add(lane)
    }
    lane.relay = 'used'
    if (this.#lanes.size > MAX_RELAYED) for (const oldest of this.#lanes) return this.#forget(oldest)
  }

  /** Every second. */
  sweep(): void {
    if (++this.#sweeps % IDLE_SWEEPS !== 0) return
    for (const lane of this.#lanes) {
      if (lane.relay === 'idle') this.#forget(lane)
      else lane.relay = 'idle'
    }
  }

  #forget(lane: Lane): void {
    lane.relay = 'none'
    this.#lanes.delete(lane)
    this.#namespaces.tidy(lane)
  }
}
