export interface ExpectedAgent {
  readonly mountpoint: string
  readonly agent: string
  /** What it has said of itself last. */
  readonly status: Record<string, unknown>
}

/**
 * Agents that were connected when the broker ended: until they have had time to come back, nobody is told that they
 * are gone, and clients that want them are not refused.
 */
export class ExpectedAgents {
  readonly #agents = new Map<string, ExpectedAgent>()

  expect(expected: ExpectedAgent): void {
    this.#agents.set(keyOf(expected.mountpoint, expected.agent), expected)
  }

  isExpected(mountpoint: string, agent: string): boolean {
    return this.#agents.has(keyOf(mountpoint, agent))
  }

  arrived(mountpoint: string, agent: string): void {
    this.#agents.delete(keyOf(mountpoint, agent))
  }

  /** Their time is over. */
  takeMissing(): readonly ExpectedAgent[] {
    const missing = [...this.#agents.values()]
    this.#agents.clear()
    return missing
  }
}

/** Names have no `/`. */
const keyOf = (mountpoint: string, agent: string): string => `${agent}/${mountpoint}`
