import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { withinTimer } from '../../timer.ts'
import { statusTopic } from '../protocol/names.ts'
import { SUBACK_FAILURE } from './packets.ts'

/** What is needed of a connection that is up. */
export interface WatchConnection {
  /** Returns the packet identifier, by which the SUBACK is known. */
  subscribe(filter: string): number
  /** Sends a PINGREQ; returns how many were sent before and with it. */
  ping(): number
}

interface Waiter {
  resolve(): void
  reject(error: Error): void
  readonly timer: NodeJS.Timeout
}

/**
 * Whose status is watched, through reconnects, and who waits until all that is retained has come.
 * A broker sends what is retained behind the SUBACK; so when the answer to a PINGREQ comes that was sent
 * after all SUBACKs, it has come.
 *
 *   filter:  asked ──SUBACK──▶ granted | refused        (asked again on each connection)
 *   barrier: none ──all answered, somebody waits──▶ pinged ──PINGRESP──▶ told
 */
export class StatusWatch {
  readonly #prefix: string
  readonly #filters = new Map<string, 'asked' | 'granted' | 'refused'>()
  readonly #asked = new Map<number, string>()
  readonly #waiters = new Set<Waiter>()
  #connection: WatchConnection | undefined
  /** Number of the PINGREQ whose answer ends the waiting. */
  #barrier: number | undefined

  constructor(prefix: string) {
    this.#prefix = prefix
  }

  /** Of one agent, or `+`. */
  add(agent: string): void {
    const filter = statusTopic(agent, this.#prefix)
    if (this.#filters.has(filter)) return
    this.#filters.set(filter, 'asked')
    this.#barrier = undefined
    if (this.#connection !== undefined) this.#ask(this.#connection, filter)
  }

  connected(connection: WatchConnection): void {
    this.#connection = connection
    for (const filter of this.#filters.keys()) this.#ask(connection, filter)
    this.#look()
  }

  disconnected(): void {
    this.#connection = undefined
    this.#barrier = undefined
    this.#asked.clear()
    for (const filter of this.#filters.keys()) this.#filters.set(filter, 'asked')
  }

  suback(packetId: number, code: number): void {
    const filter = this.#asked.get(packetId)
    if (filter === undefined) return
    this.#asked.delete(packetId)
    this.#filters.set(filter, code === SUBACK_FAILURE ? 'refused' : 'granted')
    this.#look()
  }

  pingresp(count: number): void {
    if (this.#barrier === undefined || count < this.#barrier) return
    this.#barrier = undefined
    this.#settle((waiter) => waiter.resolve())
  }

  complete(timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters.delete(waiter)
        const message = `the status of the agents did not come within ${timeoutMs / 1_000} s`
        reject(new TunnelMQError(ErrorCode.timeout, message))
      }, withinTimer(timeoutMs))
      const waiter: Waiter = { resolve, reject, timer }
      this.#waiters.add(waiter)
      this.#look()
    })
  }

  close(): void {
    this.disconnected()
    this.#settle((waiter) => waiter.reject(new TunnelMQError(ErrorCode.stopped, 'the link was closed')))
  }

  #ask(connection: WatchConnection, filter: string): void {
    this.#filters.set(filter, 'asked')
    this.#asked.set(connection.subscribe(filter), filter)
  }

  #look(): void {
    if (this.#connection === undefined || this.#waiters.size === 0) return
    const states = [...this.#filters]
    if (states.some(([, state]) => state === 'asked')) return
    const refused = states.find(([, state]) => state === 'refused')
    if (refused !== undefined) {
      const message = `the broker refused to tell the status of the agents: no right to subscribe to '${refused[0]}'`
      this.#settle((waiter) => waiter.reject(new TunnelMQError(ErrorCode.credentials, message)))
    } else {
      this.#barrier ??= this.#connection.ping()
    }
  }

  #settle(tell: (waiter: Waiter) => void): void {
    const waiters = [...this.#waiters]
    this.#waiters.clear()
    for (const waiter of waiters) {
      clearTimeout(waiter.timer)
      tell(waiter)
    }
  }
}
