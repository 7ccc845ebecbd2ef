import { z } from '@hono/zod-openapi'
import type { Cluster } from '../cluster/contract.ts'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import { operationArguments } from './operation-arguments.ts'
import type { OperationName, PodOperations, PodCalls } from './operations.ts'

export interface PodCallsOptions {
  readonly cluster: Pick<Cluster, 'pod' | 'pods' | 'ask'>
  /** Of this pod. */
  readonly operations: PodOperations
  /** `admin.podTimeoutMs` */
  readonly timeoutMs: number
}

export interface AnsweringPodCalls extends PodCalls {
  /** A question of another pod (ClusterEvents.asked). Rejects with what the operation rejects with, or TMQ_USAGE. */
  answer(pod: string, question: Buffer): Promise<Buffer>
}

const Question = z.object({ operation: z.string(), args: z.array(z.unknown()).max(8) })

/** PodOperations at any pod: this one is called, others are asked, in JSON. */
export function createPodCalls({ cluster, operations, timeoutMs }: PodCallsOptions): AnsweringPodCalls {
  async function ask(pod: string, operation: OperationName, args: readonly unknown[]): Promise<unknown> {
    // A trace is waited for there.
    const waitMs = operation === 'readTrace' ? Number(args[2]) : 0
    const question = Buffer.from(JSON.stringify({ operation, args }))
    const answer = await cluster.ask(pod, question, timeoutMs + waitMs)
    return (JSON.parse(answer.toString()) as { result?: unknown }).result
  }

  return {
    get self() {
      return cluster.pod
    },
    pods: () => cluster.pods().map(({ id }) => id),
    known: () =>
      cluster.pods().map(({ id, silentMs, figures }) => ({
        id,
        name: figures?.name ?? id,
        silentMs: Math.round(silentMs),
        connected: figures?.connected ?? 0,
      })),
    call<Name extends OperationName>(pod: string, operation: Name, ...args: Parameters<PodOperations[Name]>) {
      const result = pod === cluster.pod ? run(operations, operation, args) : ask(pod, operation, args)
      // Typed by the name; between pods it is JSON of any kind.
      return result as Promise<Awaited<ReturnType<PodOperations[Name]>>>
    },
    async answer(_pod, bytes) {
      const { operation, args } = decodeQuestion(bytes)
      return Buffer.from(JSON.stringify({ result: await run(operations, operation, args) }))
    },
  }
}

async function run(
  operations: PodOperations,
  name: OperationName,
  args: readonly unknown[],
): Promise<unknown> {
  return (await Reflect.apply(operations[name], operations, args)) as unknown
}

/** Throws TMQ_USAGE for what is not an operation of ours with its arguments. */
function decodeQuestion(bytes: Buffer): { operation: OperationName; args: readonly unknown[] } {
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
