import type { ResetCode } from './reset-code.ts'

/** What is remembered of a stream that has ended: enough to answer whoever still asks for it. */
export type Tombstone = { readonly token: string } & (
  | { readonly kind: 'closed'; readonly offset: number; readonly acked: number; readonly limit: number }
  | { readonly kind: 'reset'; readonly code: ResetCode; readonly reason: string }
)

/** 8.4 */
const MAX_COUNT = 65_536

/** Streams that have ended, for `resumeTimeout`. docs/tunnel-protocol.md 8.4 */
export class Tombstones {
  readonly #byName = new Map<string, { readonly stone: Tombstone; readonly untilMs: number }>()
  readonly #keepMs: number

  constructor(keepMs: number) {
    this.#keepMs = keepMs
  }

  add(topic: string, id: number, stone: Tombstone, nowMs: number): void {
    const name = nameOf(topic, id)
    this.#byName.delete(name)
    this.#byName.set(name, { stone, untilMs: nowMs + this.#keepMs })
    for (const [oldest, { untilMs }] of this.#byName) {
      if (untilMs > nowMs && this.#byName.size <= MAX_COUNT) break
      this.#byName.delete(oldest)
    }
  }

  get(topic: string, id: number, nowMs: number): Tombstone | undefined {
    const found = this.#byName.get(nameOf(topic, id))
    return found !== undefined && found.untilMs > nowMs ? found.stone : undefined
  }

  delete(topic: string, id: number): void {
    this.#byName.delete(nameOf(topic, id))
  }
}

const nameOf = (topic: string, id: number): string => `${topic} ${id}`
