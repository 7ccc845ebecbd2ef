import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type { Op, RedisLink, RedisStore, ScriptArgument, ScriptReply } from './contract.ts'
import { unavailable } from './refusal.ts'
import { listIn, numberIn } from './reply.ts'

/** Begins the reply of a write that was refused because another holds the claim; or because nobody does. */
const TAKEN = 2
const UNCLAIMED = 4
/** A change is in Redis, and the log that tells of it has not come: something is stuck. */
const APPLIED_WITHIN_MS = 5_000
/** Names, numbers and the rest of an op. */
const OP_BYTES = 128

export interface OpOptions {
  readonly patience: Op['patience']
  readonly frees?: boolean
  /** Beside {@link OP_BYTES}. */
  readonly bytes?: number
}

type OnFenced = Parameters<RedisStore['onFenced']>[0]
type Settle = (error: Error | undefined, reply: readonly ScriptReply[]) => void

/** How the parts of the store ask Redis for changes. */
export class Requests {
  readonly #link: RedisLink
  readonly #fencedListeners: OnFenced[] = []
  #closed = true
  fencedWrites = 0

  constructor(link: RedisLink) {
    this.#link = link
  }

  opened(): void {
    this.#closed = false
  }

  closed(): void {
    this.#closed = true
  }

  /** Why nothing can be asked at all. */
  get refusal(): TunnelMQError | undefined {
    return this.#closed ? unavailable('The store is closed') : undefined
  }

  /** Why what does not wait would fail now. */
  get failureNow(): TunnelMQError | undefined {
    const { failure } = this.#link.writer
    return this.refusal ?? (failure === undefined ? undefined : unavailable(failure))
  }

  onFenced(listener: OnFenced): void {
    this.#fencedListeners.push(listener)
  }

  /** `settle` gets a list. Never called before this has returned. */
  submit(name: string, args: readonly ScriptArgument[], options: OpOptions, settle: Settle): void {
    const { refusal } = this
    if (refusal !== undefined) {
      setImmediate(() => settle(refusal, []))
      return
    }
    this.#link.writer.submit({
      name,
      args,
      bytes: OP_BYTES + (options.bytes ?? 0),
      patience: options.patience,
      ...(options.frees === true && { frees: true }),
      settle(error, reply) {
        if (error !== undefined) settle(error, [])
        else if (Array.isArray(reply)) settle(undefined, reply as readonly ScriptReply[])
        else settle(new TunnelMQError(ErrorCode.store, `Redis has answered ${name} with something else`), [])
      },
    })
  }

  ask(name: string, args: readonly ScriptArgument[], options: OpOptions): Promise<readonly ScriptReply[]> {
    return new Promise((resolve, reject) => {
      this.submit(name, args, options, (error, reply) =>
        error === undefined ? resolve(reply) : reject(error),
      )
    })
  }

  /** For writes of one session, whose claim is the second argument: rejects with TMQ_STOPPED when that is lost. */
  async askFenced(
    sessionId: string,
    name: string,
    args: readonly ScriptArgument[],
    options: OpOptions,
  ): Promise<readonly ScriptReply[]> {
    const reply = await this.ask(name, args, options)
    const error = this.fencedIn(sessionId, Number(args[1]), reply)
    if (error !== undefined) throw error
    return reply
  }

  /** Was this refused for its claim? Then that is told, with the number: it may be that of an earlier connection. */
  fencedIn(sessionId: string, claim: number, reply: readonly ScriptReply[]): TunnelMQError | undefined {
    const isTaken = reply[0] === TAKEN
    if (!isTaken && reply[0] !== UNCLAIMED) return undefined
    this.fencedWrites++
    this.lost(sessionId, claim, isTaken)
    const what = isTaken ? 'Another connection holds' : 'Redis does not know'
    return new TunnelMQError(ErrorCode.stopped, `${what} the claim of this session`)
  }

  /** Redis has said that this pod does not hold what it has claimed with this number; `isTaken`: another does. */
  lost(sessionId: string, claim: number, isTaken: boolean): void {
    for (const listener of this.#fencedListeners) listener(sessionId, claim, isTaken)
  }

  /** After all that was asked before. */
  barrier(settle: () => void): void {
    if (this.#closed) setImmediate(settle)
    else this.#link.writer.barrier(settle)
  }

  settled(): Promise<void> {
    return new Promise((resolve) => this.barrier(resolve))
  }

  /** The replica has what was the last entry of the log then. */
  async applied(position: ScriptReply | undefined): Promise<void> {
    const { follower } = this.#link
    const awaited = numberIn(position)
    if (follower.position >= awaited) return
    try {
      await follower.reached(awaited, APPLIED_WITHIN_MS)
    } catch (error) {
      throw unavailable('The change log of Redis is not followed', error)
    }
  }

  /** A script that only reads. */
  async read(name: string, ...args: ScriptArgument[]): Promise<readonly ScriptReply[]> {
    const { refusal } = this
    if (refusal !== undefined) throw refusal
    return listIn(await this.#link.script(name, this.#link.pod, ...args))
  }
}
