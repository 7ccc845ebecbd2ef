import type { Op, ScriptArgument, ScriptReply } from './contract.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'

/** An op on its way, or a barrier between ops. */
export interface WriteEntry {
  /** Undefined: a barrier. */
  readonly op: Op | undefined
  readonly submittedAtMs: number
  readonly settle: (error: Error | undefined, reply: ScriptReply | undefined) => void
  /** Answered; what comes of it is not told any more. */
  isSettled: boolean
}

/** What goes into one run of apply.lua, with a number of its own. It is sent until there is an answer. */
export interface Batch {
  readonly number: number
  readonly entries: readonly WriteEntry[]
  /** All of its ops free memory. */
  readonly frees: boolean
  readonly args: readonly ScriptArgument[]
  /** It may have been executed: an answer did not come. */
  isUncertain: boolean
}

export function createBatch(number: number, entries: readonly WriteEntry[]): Batch {
  const ops = entries.flatMap(({ op }) => (op === undefined ? [] : [op]))
  const args = ops.flatMap((op) => [op.args.length, op.name, ...op.args])
  const frees = ops.length > 0 && ops.every((op) => op.frees === true)
  return { number, entries, frees, args, isUncertain: false }
}

export interface OpAnswer {
  readonly error: Error | undefined
  readonly reply: ScriptReply | undefined
}

/** One for each op, in their order. Throws TMQ_STORE when it is not what apply.lua answers. */
export function answersOf(reply: ScriptReply, opCount: number): readonly OpAnswer[] {
  if (!Array.isArray(reply) || reply.length !== opCount * 2)
    throw new TunnelMQError(ErrorCode.store, 'Redis has answered a batch with something else')
  const values = reply as readonly ScriptReply[]
  return Array.from({ length: opCount }, (_, index) => {
    const value = values[index * 2 + 1] ?? null
    if (values[index * 2] === 1) return { error: undefined, reply: value }
    const why = `Redis has not done a write: ${String(value)}`
    return { error: new TunnelMQError(ErrorCode.store, why), reply: undefined }
  })
}
