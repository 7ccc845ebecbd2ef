import type { DrainState } from '../../admin/api/resources.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import type { Broker } from '../broker.ts'

/** A port of the broker: of MQTT, or one that leads into tunnels. */
export interface Door {
  stopAccepting(): unknown
  /** On the same address again. Rejects with TMQ_LISTEN. */
  acceptAgain(): Promise<void>
}

export interface DrainingParts {
  readonly broker: Pick<Broker, 'clientCount' | 'drain' | 'drained'>
  /** All that are open. */
  readonly doors: readonly Door[]
  /** Reasons of `/ready`. */
  readonly notReady: Set<string>
  readonly log: Log
}

const REASON = 'draining'

/**
 * Clients are sent away while the process goes on: before maintenance, or to move them to other pods.
 *
 *   accepting ──drain──▶ draining (no new connections; those that are here end one after the other) ──undrain──▶ accepting
 */
export class Draining {
  readonly #parts: DrainingParts
  #startedAtMs: number | undefined
  #sending:
    | { readonly abort: AbortController; readonly done: Promise<void>; readonly spreadMs: number }
    | undefined
  /** What was asked for comes in its order. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(parts: DrainingParts) {
    this.#parts = parts
  }

  get state(): DrainState {
    return {
      isDraining: this.#startedAtMs !== undefined,
      connections: this.#parts.broker.clientCount,
      startedAt: this.#startedAtMs === undefined ? null : new Date(this.#startedAtMs).toISOString(),
    }
  }

  /** Those that are left are spread anew, when it is asked for again. Resolves when nobody new can come. */
  drain(spreadMs: number): Promise<DrainState> {
    return this.#inTurn(() => this.#drain(spreadMs))
  }

  /** Rejects with TMQ_LISTEN when a port is somebody else's by now; then it is draining as before. */
  undrain(): Promise<DrainState> {
    return this.#inTurn(() => this.#undrain())
  }

  /** The broker stops, and sends the rest away itself. */
  stop(): void {
    this.#sending?.abort.abort()
  }

  async #drain(spreadMs: number): Promise<void> {
    const { broker, doors, notReady, log } = this.#parts
    this.#assertRunning()
    await this.#stopSending()
    this.#startedAtMs ??= Date.now()
    notReady.add(REASON)
    for (const door of doors) await door.stopAccepting()
    // It may have been told to stop meanwhile: what is begun now would go on behind that.
    this.#assertRunning()
    log.info({ connections: broker.clientCount, spreadMs }, 'draining')
    this.#send(spreadMs)
  }

  #send(spreadMs: number): void {
    const { broker, log } = this.#parts
    const abort = new AbortController()
    const done = broker
      .drain(spreadMs, abort.signal)
      .then(() => this.#sent(abort.signal))
      .catch((error: unknown) => log.error({ err: error }, 'draining failed'))
    this.#sending = { abort, done, spreadMs }
  }

  #sent(signal: AbortSignal): void {
    if (signal.aborted) return
    this.#parts.log.info('drained')
    this.#parts.broker.drained()
  }

  async #undrain(): Promise<void> {
    const { broker, doors, notReady, log } = this.#parts
    if (this.#startedAtMs === undefined) return
    this.#assertRunning()
    const spreadMs = this.#sending?.spreadMs ?? 0
    // Before the first that comes again: it would be sent away with the others.
    await this.#stopSending()
    const results = await Promise.allSettled(doors.map((door) => door.acceptAgain()))
    const failed = results.find((result) => result.status === 'rejected')
    if (failed !== undefined) {
      for (const door of doors) await door.stopAccepting()
      this.#send(spreadMs)
      throw failed.reason
    }
    this.#assertRunning()
    broker.drained()
    this.#startedAtMs = undefined
    notReady.delete(REASON)
    log.info('accepting again')
  }

  async #stopSending(): Promise<void> {
    this.#sending?.abort.abort()
    await this.#sending?.done
    this.#sending = undefined
  }

  #assertRunning(): void {
    const { notReady } = this.#parts
    if (notReady.has('starting'))
      throw new TunnelMQError(ErrorCode.storeUnavailable, 'The broker is still starting')
    if (notReady.has('stopping')) throw new TunnelMQError(ErrorCode.stopped, 'The broker is stopping')
  }

  async #inTurn(work: () => Promise<void>): Promise<DrainState> {
    const before = this.#last
    const done = before.then(work)
    this.#last = done.catch(() => {})
    await done
    return this.state
  }
}
