import type { Op, ScriptReply } from './contract.ts'

/**
 * Ops of one batch: a script keeps all of Redis waiting for about 10 us an op, so 200 are 2 ms; larger ones would
 * delay everybody, and gain nothing.
 */
const BATCH_MAX_OPS = 200
/** The same for payloads. One op may be larger, and is then alone. */
const BATCH_MAX_BYTES = 512 * 1024

/** An op on its way, or a barrier between ops. */
export interface WriteEntry {
  /** Undefined: a barrier. */
  readonly op: Op | undefined
  readonly submittedAtMs: number
  readonly settle: (error: Error | undefined, reply: ScriptReply | undefined) => void
  /** Answered; what comes of it is not told any more. */
  isSettled: boolean
}

/** Ops that are in no batch yet, and barriers between them, in the order of submitting. */
export class WriteQueue {
  #entries: WriteEntry[] = []
  #bytes = 0

  get length(): number {
    return this.#entries.length
  }

  get bytes(): number {
    return this.#bytes
  }

  get entries(): readonly WriteEntry[] {
    return this.#entries
  }

  push(entry: WriteEntry): void {
    this.#entries.push(entry)
    this.#bytes += entry.op?.bytes ?? 0
  }

  /** At the front again, beside what is settled. */
  putBack(entries: readonly WriteEntry[]): void {
    this.#replace([...entries, ...this.#entries].filter((entry) => !entry.isSettled))
  }

  takeAll(): readonly WriteEntry[] {
    const entries = this.#entries
    this.#replace([])
    return entries
  }

  /** Those at the front: they have nothing to wait for. */
  takeBarriers(): readonly WriteEntry[] {
    const first = this.#entries.findIndex(({ op }) => op !== undefined)
    return this.#entries.splice(0, first < 0 ? this.#entries.length : first)
  }

  /** As many as fit; one op at least, if there is one. `onlyFreeing`: the others, and barriers, keep their places. */
  takeBatch(onlyFreeing: boolean): readonly WriteEntry[] {
    const taken: WriteEntry[] = []
    const passedOver: WriteEntry[] = []
    let bytes = 0
    let opCount = 0
    let count = 0
    for (const entry of this.#entries) {
      if (opCount >= BATCH_MAX_OPS) break
      const opBytes = entry.op?.bytes ?? 0
      if (onlyFreeing && entry.op?.frees !== true) passedOver.push(entry)
      else if (opCount > 0 && bytes + opBytes > BATCH_MAX_BYTES) break
      else {
        taken.push(entry)
        bytes += opBytes
        if (entry.op !== undefined) opCount++
      }
      count++
    }
    if (opCount === 0) return []
    this.#entries.splice(0, count, ...passedOver)
    this.#bytes -= bytes
    return taken
  }

  #replace(entries: WriteEntry[]): void {
    this.#entries = entries
    this.#bytes = entries.reduce((sum, { op }) => sum + (op?.bytes ?? 0), 0)
  }
}
