import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type { ScriptArgument, ScriptReply } from './contract.ts'
import type { WriteEntry } from './write-queue.ts'

/** What goes into one run of apply.lua, with a number of its own. It is sent until there is an answer. */
export interface Batch {
  readonly number: number
  readonly entries: readonly WriteEntry[]
  readonly bytes: number
  /** All of its ops free memory. */
  readonly frees: boolean
  readonly args: readonly ScriptArgument[]
  /** It may have been executed: an answer did not come. */
  isUncertain: boolean
}

export function createBatch(number: number, entries: readonly WriteEntry[]): Batch {
  const ops = entries.flatMap(({ op }) => (op === undefined ? [] : [op]))
  return {
    number,
    entries,
    bytes: ops.reduce((sum, op) => sum + op.bytes, 0),
    frees: ops.length > 0 && ops.every((op) => op.frees === true),
    args: ops.flatMap((op) => [op.args.length, op.name, ...op.args]),
    isUncertain: false,
  }
}

/** Somebody still waits for an answer to one of its ops. */
export function isWanted(batch: Batch): boolean {
  return batch.entries.some((entry) => !entry.isSettled && entry.op !== undefined)
}

export interface OpAnswer {
  readonly error: Error | undefined
  readonly reply: ScriptReply | undefined
}

/** One for each entry, in their order. Throws TMQ_STORE when it is not what apply.lua answers. */
export function answersOf(reply: ScriptReply, batch: Batch): readonly OpAnswer[] {
  const opCount = batch.entries.filter(({ op }) => op !== undefined).length
  if (!Array.isArray(reply) || reply.length !== opCount * 2)
    throw new TunnelMQError(ErrorCode.store, 'Redis has answered a batch with something else')
  const values = (reply as readonly ScriptReply[]).values()
  return batch.entries.map(({ op }) => {
    if (op === undefined) return { error: undefined, reply: undefined }
    const status = values.next().value
    const value = values.next().value ?? null
    if (status === 1) return { error: undefined, reply: value }
    const why = `Redis has not done a write: ${String(value)}`
    return { error: new TunnelMQError(ErrorCode.store, why), reply: undefined }
  })
}
