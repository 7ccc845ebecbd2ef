import type { Log } from '../log.ts'
import { countRecords, createBlobReader, type BlobSink } from './blob-reader.ts'

/** Records of other pods are delivered for so long; then whatever else waits has its turn. */
const TURN_MS = 2
const RECORDS_BETWEEN_LOOKS = 16

export interface ArrivalsOptions {
  readonly sink: BlobSink
  /** Bytes that have come and are not delivered yet; above it a blob is dropped. */
  readonly maxWaitingBytes: number
  readonly log: Log
  readonly garbage: () => void
  readonly dropped: (count: number) => void
}

/** What comes from other pods by pub/sub: in order, in turns of the event loop, and never more than fits. */
export interface Arrivals {
  take(blob: Buffer): void
  close(): void
}

export function createArrivals({ sink, maxWaitingBytes, log, garbage, dropped }: ArrivalsOptions): Arrivals {
  const reader = createBlobReader(sink)
  let waiting: Buffer[] = []
  /** Those before it are done. */
  let first = 0
  let waitingBytes = 0
  let isOpen = false
  let next: NodeJS.Immediate | undefined

  const endBlob = (blob: Buffer): void => {
    isOpen = false
    waitingBytes -= blob.length
    first++
    if (first < waiting.length) return
    waiting = []
    first = 0
  }

  /** One record of the first blob. */
  const step = (blob: Buffer): void => {
    try {
      const result = isOpen || reader.open(blob) ? reader.next() : 'garbage'
      isOpen = true
      if (result === 'garbage') garbage()
      if (result !== 'more') endBlob(blob)
    } catch (error) {
      // The reader has passed this record: the next ones are not harmed.
      isOpen = true
      log.error({ err: error }, 'a message of another pod was not delivered')
    }
  }

  const run = (): void => {
    next = undefined
    const untilMs = performance.now() + TURN_MS
    for (let count = 1; ; count++) {
      const blob = waiting[first]
      if (blob === undefined) return
      step(blob)
      if (count % RECORDS_BETWEEN_LOOKS === 0 && performance.now() > untilMs) break
    }
    next = setImmediate(run)
  }

  return {
    take(blob) {
      if (waitingBytes + blob.length > maxWaitingBytes) return dropped(countRecords(blob))
      waiting.push(blob)
      waitingBytes += blob.length
      if (next === undefined) run()
    },
    close() {
      if (next !== undefined) clearImmediate(next)
      next = undefined
      waiting = []
    },
  }
}
