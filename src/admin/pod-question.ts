import { z } from '@hono/zod-openapi'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import { operationArguments } from './operation-arguments.ts'
import type { OperationName } from './operations.ts'

const Question = z.object({ operation: z.string(), args: z.array(z.unknown()).max(8) })

/** Throws TMQ_USAGE for what is not an operation of ours with its arguments. */
export function decodeQuestion(bytes: Buffer): { operation: OperationName; args: readonly unknown[] } {
  let json: unknown
  try {
    json = JSON.parse(bytes.toString())
  } catch {
    throw new TunnelMQError(ErrorCode.usage, 'the question is not JSON')
  }
  const question = Question.safeParse(json)
  if (!question.success) throw new TunnelMQError(ErrorCode.usage, 'the question names no operation')
  const { operation, args } = question.data
  if (!isOperation(operation))
    throw new TunnelMQError(
      ErrorCode.usage,
      `this pod has no operation ${JSON.stringify(operation.slice(0, 64))}`,
    )
  const checked = operationArguments[operation].safeParse(args)
  if (!checked.success)
    throw new TunnelMQError(ErrorCode.usage, `arguments of ${operation}: ${z.prettifyError(checked.error)}`)
  return { operation, args: checked.data }
}

// Own names only: `constructor` is on every object.
function isOperation(name: string): name is OperationName {
  return Object.hasOwn(operationArguments, name)
}
