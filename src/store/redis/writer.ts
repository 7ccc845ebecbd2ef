import type { Log } from '../../log.ts'
import { answersOf, createBatch, isWanted, type Batch, type OpAnswer } from './batch.ts'
import type { Op, ScriptReply, Writer } from './contract.ts'
import { Refusal, unavailable } from './refusal.ts'
import { WriteQueue, type WriteEntry } from './write-queue.ts'

/** How soon a refused batch is tried again, and how often the age of what waits is looked at. */
const AGAIN_MS = 250

export interface BatchSender {
  /**
   * Runs apply.lua. Rejects with {@link Refusal} when nothing was executed, and with TMQ_STORE_UNAVAILABLE when that is
   * not known.
   */
  apply(batch: Batch): Promise<{ readonly reply: ScriptReply; readonly isReplicated: boolean }>
  /** Runs cancel.lua: the reply of this batch; or null, and it is never executed. */
  cancel(batch: Batch): Promise<ScriptReply>
}

export interface WriterOptions {
  readonly sender: BatchSender
  readonly holdMs: number
  readonly maxPendingBytes: number
  readonly log: Log
  /** Redis does not know this pod: nothing goes on until `resume`, or `renamed` and `resume`. */
  readonly onUnknownPod: () => void
  /** This Redis takes no writes: look for the primary. */
  readonly onReadOnly: () => void
}

/**
 * The one write path: ops that come together in a turn of the event loop go as one batch, one batch at a time.
 *
 *   idle ──submit──▶ gathering ──end of the turn──▶ sending ──answer──▶ idle, or sending what came meanwhile
 *                                                     ├──no answer──▶ paused ──resume──▶ sending the same
 *                                                     └──refused──▶ refused ──a moment later──▶ sending the same
 *
 * Out of memory is a refusal of another kind: the batch is taken apart, and ops that free memory go ahead.
 */
export class BatchWriter implements Writer {
  readonly #options: WriterOptions
  readonly #queue = new WriteQueue()
  #batch: Batch | undefined
  #isSending = false
  #isScheduled = false
  #isClosed = false
  #number = 0
  #commits = 0
  /** Why nothing can be sent: no connection, or not joined. */
  #paused: string | undefined = 'Redis is not connected yet'
  /** Redis is there, and refuses writes. */
  #refused: Refusal | undefined
  #isProbeDue = false
  #againTimer: NodeJS.Timeout | undefined
  #ageTimer: NodeJS.Timeout | undefined
  #onIdle: (() => void) | undefined

  constructor(options: WriterOptions) {
    this.#options = options
  }

  get pendingWrites(): number {
    return this.#queue.length + (this.#batch?.entries.length ?? 0)
  }

  get pendingBytes(): number {
    return this.#queue.bytes + (this.#batch?.bytes ?? 0)
  }

  get commits(): number {
    return this.#commits
  }

  get failure(): string | undefined {
    return this.#paused ?? this.#refused?.reason
  }

  submit(op: Op): void {
    const why = this.#whyNot(op)
    const entry = { op, submittedAtMs: performance.now(), settle: op.settle, isSettled: false }
    if (why !== undefined) {
      setImmediate(() => this.#settle(entry, { error: unavailable(why), reply: undefined }))
      return
    }
    this.#queue.push(entry)
    this.#schedule()
    if (this.failure !== undefined) this.#watchAge()
  }

  barrier(settle: () => void): void {
    this.#queue.push({ op: undefined, submittedAtMs: performance.now(), settle, isSettled: false })
    this.#schedule()
  }

  /** Nothing can be sent any more; ops that do not wait fail. */
  pause(reason: string): void {
    this.#paused = reason
    this.#refused = undefined
    clearTimeout(this.#againTimer)
    this.#failOld()
  }

  /** From now on batches are sent, the one without an answer first. */
  resume(): void {
    this.#paused = undefined
    this.#schedule()
  }

  /**
   * This pod was declared dead, and has another name: batches begin anew. What was to be written under the old one
   * fails, beside what can be repeated.
   */
  renamed(): void {
    const entries = this.#takeAll()
    this.#number = 0
    const isKept = ({ op }: WriteEntry): boolean => op === undefined || op.patience === 'keep'
    this.#queue.putBack(entries.filter(isKept))
    this.#failAll(
      entries.filter((entry) => !isKept(entry)),
      'This pod was declared dead by another one',
    )
  }

  /** Resolves when nothing waits any more, or after `timeoutMs`; then everything else fails, `keep` too. */
  async close(timeoutMs: number): Promise<void> {
    if (this.pendingWrites > 0)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, timeoutMs)
        this.#onIdle = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    this.#isClosed = true
    clearTimeout(this.#againTimer)
    clearTimeout(this.#ageTimer)
    this.#failAll(this.#takeAll(), this.failure ?? 'The connection to Redis is closed')
  }

  #whyNot(op: Op): string | undefined {
    if (this.#isClosed) return 'The connection to Redis is closed'
    if (op.patience === 'keep') return undefined
    if (this.pendingBytes + op.bytes > this.#options.maxPendingBytes)
      return 'Too much waits for Redis (store.redis.maxPendingBytes)'
    return op.patience === 'now' || this.#options.holdMs === 0 ? this.#whyStuck(op) : undefined
  }

  /** Undefined: this op would be executed now. */
  #whyStuck(op: Op): string | undefined {
    if (this.#paused === undefined && this.#refused?.kind === 'OOM' && op.frees === true) return undefined
    return this.failure
  }

  #schedule(): void {
    if (this.#isScheduled || this.#isSending || this.#isClosed) return
    this.#isScheduled = true
    // Not a microtask: what other sockets have sent in this turn of the loop is to come along.
    setImmediate(() => {
      this.#isScheduled = false
      this.#sendNext()
    })
  }

  #sendNext(): void {
    if (this.#isSending || this.#isClosed) return
    if (this.#batch === undefined)
      for (const barrier of this.#queue.takeBarriers()) this.#settle(barrier, NOTHING)
    this.#sendBatch()
    if (this.pendingWrites === 0) this.#onIdle?.()
  }

  #sendBatch(): void {
    if (this.#isSending || this.#isClosed || this.#paused !== undefined) return
    if (this.#refused !== undefined && this.#refused.kind !== 'OOM') return
    this.#batch ??= this.#isProbeDue ? this.#probe() : this.#nextBatch()
    if (this.#batch !== undefined) this.#send(this.#batch)
  }

  /** A batch of nothing tells whether Redis takes writes again. */
  #probe(): Batch {
    this.#isProbeDue = false
    return createBatch(++this.#number, [])
  }

  #nextBatch(): Batch | undefined {
    const entries = this.#queue.takeBatch(this.#refused !== undefined)
    return entries.length === 0 ? undefined : createBatch(++this.#number, entries)
  }

  #send(batch: Batch): void {
    this.#isSending = true
    this.#options.sender.apply(batch).then(
      ({ reply, isReplicated }) => this.#answered(batch, reply, isReplicated),
      (error: unknown) => this.#failed(batch, error),
    )
  }

  #answered(batch: Batch, reply: ScriptReply, isReplicated: boolean): void {
    // Else it was given up meanwhile.
    if (this.#batch !== batch) return
    let answers: readonly OpAnswer[]
    try {
      answers = answersOf(reply, batch)
    } catch {
      return this.#failed(batch, new Refusal('ERR a batch was answered with something else'))
    }
    this.#isSending = false
    this.#batch = undefined
    this.#commits++
    if (!batch.frees) this.#refused = undefined
    // First the next batch, then the answers to this one: Redis works while we do.
    const barriers = this.#queue.takeBarriers()
    this.#sendBatch()
    for (const [index, entry] of batch.entries.entries()) {
      const answer = answers[index] ?? NOTHING
      const { patience } = entry.op ?? { patience: 'keep' }
      const isTrue = isReplicated || answer.error !== undefined || patience === 'keep'
      this.#settle(entry, isTrue ? answer : notReplicated())
    }
    for (const barrier of barriers) this.#settle(barrier, NOTHING)
    this.#schedule()
  }

  #failed(batch: Batch, error: unknown): void {
    if (this.#batch !== batch) return
    this.#isSending = false
    if (!(error instanceof Refusal)) {
      // No answer: it may have been executed. It is sent again as it is when there is a connection.
      batch.isUncertain = true
      if (this.#paused === undefined) this.#again()
      return
    }
    switch (error.kind) {
      case 'EXPELLED':
        this.pause('Redis does not know this pod')
        return this.#options.onUnknownPod()
      case 'STALE':
        // Somebody writes under our name; a number above theirs will do.
        this.#options.log.error({ reason: error.message }, 'redis has seen a later batch of this pod')
        this.#number = Number(/\d+$/.exec(error.message)?.[0] ?? this.#number)
        this.#takeApart(batch)
        return this.#again()
      case 'OOM':
        if (batch.isUncertain) return this.#cancel(batch)
        this.#takeApart(batch)
        return this.#refuse(error)
      default:
        this.#refuse(error)
        if (error.kind === 'READONLY') this.#options.onReadOnly()
    }
  }

  /** Out of memory, Redis does not look whether the batch was executed before; and a part of it must not be, twice. */
  #cancel(batch: Batch): void {
    this.#isSending = true
    this.#options.sender.cancel(batch).then(
      (reply) => {
        if (reply !== null) return this.#answered(batch, reply, false)
        if (this.#batch !== batch) return
        this.#isSending = false
        this.#takeApart(batch)
        this.#refuse(new Refusal('OOM'))
      },
      (error: unknown) => this.#failed(batch, error),
    )
  }

  /** What is wanted of it goes into another one, with a higher number: this one is not executed from then on. */
  #takeApart(batch: Batch): void {
    this.#batch = undefined
    this.#queue.putBack(batch.entries)
  }

  #refuse(refusal: Refusal): void {
    if (this.#refused?.kind !== refusal.kind)
      this.#options.log.warn({ reason: refusal.message }, 'redis takes no writes')
    this.#refused = refusal
    this.#failOld()
    this.#again()
    this.#schedule()
  }

  #again(): void {
    clearTimeout(this.#againTimer)
    this.#againTimer = setTimeout(() => {
      this.#againTimer = undefined
      if (this.#paused !== undefined || this.#isClosed) return
      if (this.#isSending) {
        this.#isProbeDue = this.#refused !== undefined
        return this.#again()
      }
      if (this.#batch === undefined && this.#refused !== undefined) this.#batch = this.#probe()
      if (this.#batch === undefined) this.#sendNext()
      else this.#send(this.#batch)
    }, AGAIN_MS)
  }

  /** While Redis is away: those that do not wait, or have waited for as long as they may. */
  #failOld(): void {
    if (this.failure === undefined) return
    const oldMs = performance.now() - this.#options.holdMs
    const failed: WriteEntry[] = []
    for (const entry of [...(this.#batch?.entries ?? []), ...this.#queue.entries]) {
      if (entry.isSettled || entry.op === undefined || entry.op.patience === 'keep') continue
      if (this.#whyStuck(entry.op) === undefined) continue
      if (entry.op.patience === 'now' || entry.submittedAtMs <= oldMs) failed.push(entry)
    }
    if (failed.length > 0) {
      const error = unavailable(this.failure)
      for (const entry of failed) this.#settle(entry, { error, reply: undefined })
      this.#forgetSettled()
    }
    if (this.pendingWrites > 0) this.#watchAge()
  }

  #watchAge(): void {
    if (this.#isClosed) return
    this.#ageTimer ??= setTimeout(() => {
      this.#ageTimer = undefined
      this.#failOld()
    }, AGAIN_MS)
  }

  /** Ops of the batch that are given up stay in it, as it must be the same when it is sent again. */
  #forgetSettled(): void {
    const batch = this.#batch
    if (batch !== undefined && batch.entries.length > 0 && !isWanted(batch)) {
      this.#isSending = false
      this.#takeApart(batch)
    } else this.#queue.putBack([])
    // The answer to what was given up is not listened to: somebody has to ask Redis again.
    if (this.#refused !== undefined && this.#againTimer === undefined) this.#again()
    this.#schedule()
  }

  #takeAll(): readonly WriteEntry[] {
    const entries = [...(this.#batch?.entries ?? []), ...this.#queue.takeAll()]
    this.#batch = undefined
    this.#isSending = false
    return entries
  }

  #failAll(entries: readonly WriteEntry[], why: string): void {
    const error = unavailable(why)
    for (const entry of entries)
      this.#settle(entry, entry.op === undefined ? NOTHING : { error, reply: undefined })
  }

  #settle(entry: WriteEntry, { error, reply }: OpAnswer): void {
    if (entry.isSettled) return
    entry.isSettled = true
    try {
      entry.settle(error, reply)
    } catch (fault) {
      this.#options.log.error({ err: fault }, 'settling a write failed')
    }
  }
}

const NOTHING: OpAnswer = { error: undefined, reply: undefined }

/** It is in the primary, and may be lost with it: the publisher is told that it was not taken. */
function notReplicated(): OpAnswer {
  return {
    error: unavailable('Too few replicas of Redis have it in time (store.redis.waitReplicas)'),
    reply: undefined,
  }
}
