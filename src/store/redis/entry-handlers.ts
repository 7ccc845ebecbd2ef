import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import type { InboxEntry, LogEntry } from './contract.ts'
import type { StreamEntry } from './stream-entries.ts'

export type LogHandler = (entry: LogEntry, position: number) => void | Promise<void>
export type InboxHandler = (entry: InboxEntry, message: Buffer | undefined) => void

/** Who wants which kind of entry. What nobody understands is counted, and nothing comes of it. */
export class EntryHandlers {
  readonly #log: Log
  readonly #logHandlers = new Map<string, LogHandler[]>()
  readonly #inboxHandlers = new Map<string, InboxHandler[]>()
  #garbage = 0

  constructor(log: Log) {
    this.#log = log
  }

  get garbage(): number {
    return this.#garbage
  }

  onLog(kind: string, handler: LogHandler): void {
    this.#logHandlers.set(kind, [...(this.#logHandlers.get(kind) ?? []), handler])
  }

  onInbox(kind: string, handler: InboxHandler): void {
    this.#inboxHandlers.set(kind, [...(this.#inboxHandlers.get(kind) ?? []), handler])
  }

  /**
   * All handlers are called, in order, before what takes its time is waited for: those that fetch something can do so
   * once for all entries of a read. False: one could not reach Redis, and all are to be called again.
   */
  async log(entries: readonly StreamEntry[]): Promise<boolean> {
    const fetches = new Set<Promise<void>>()
    const errors: unknown[] = []
    for (const { header, number } of entries) {
      const handlers = header === undefined ? undefined : this.#logHandlers.get(header[0])
      if (header === undefined || handlers === undefined || typeof header[1] !== 'string') {
        this.#garbage++
        continue
      }
      for (const handler of handlers) {
        try {
          const done = handler(header as LogEntry, number)
          if (done !== undefined) fetches.add(done)
        } catch (error) {
          errors.push(error)
        }
      }
    }
    for (const result of await Promise.allSettled(fetches))
      if (result.status === 'rejected') errors.push(result.reason)
    if (errors.some(isUnavailable)) return false
    for (const error of errors) this.#notUnderstood(error)
    return true
  }

  inbox({ header, message }: StreamEntry): void {
    const handlers = header === undefined ? undefined : this.#inboxHandlers.get(header[0])
    if (header === undefined || handlers === undefined) {
      this.#garbage++
      return
    }
    for (const handler of handlers) {
      try {
        handler(header, message)
      } catch (error) {
        this.#notUnderstood(error)
      }
    }
  }

  #notUnderstood(error: unknown): void {
    this.#garbage++
    this.#log.warn({ err: error }, 'an entry of a stream was not understood')
  }
}

function isUnavailable(error: unknown): boolean {
  return error instanceof TunnelMQError && error.code === ErrorCode.storeUnavailable
}
