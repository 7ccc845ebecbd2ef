export type SlotOutcome = 'taken' | 'timed-out' | 'full'

/** A bound on how many things run at once; the rest waits in order, with a deadline. */
export interface Slots {
  readonly takenCount: number
  readonly waitingCount: number
  readonly free: boolean
  /** Takes a slot even if none is free: for work that has already begun. */
  take(): void
  /** Waits for a slot. `full`: too many are waiting already. */
  wait(timeoutMs: number): Promise<SlotOutcome>
  /** Gives a slot back, to the first that waits. */
  release(): void
}

export function createSlots(limits: { readonly maxTaken: number; readonly maxWaiting: number }): Slots {
  let taken = 0
  // A Set keeps the order of arrival and forgets in O(1) who gave up.
  const waiting = new Set<() => void>()

  return {
    get takenCount() {
      return taken
    },
    get waitingCount() {
      return waiting.size
    },
    get free() {
      return taken < limits.maxTaken
    },
    take() {
      taken++
    },
    wait(timeoutMs) {
      if (taken < limits.maxTaken) {
        taken++
        return Promise.resolve('taken')
      }
      if (waiting.size >= limits.maxWaiting) return Promise.resolve('full')
      return new Promise((resolve) => {
        const enter = () => {
          clearTimeout(timer)
          resolve('taken')
        }
        const timer = setTimeout(() => {
          waiting.delete(enter)
          resolve('timed-out')
        }, timeoutMs)
        waiting.add(enter)
      })
    },
    release() {
      taken--
      if (taken >= limits.maxTaken) return
      const [first] = waiting
      if (first === undefined) return
      waiting.delete(first)
      taken++
      first()
    },
  }
}
