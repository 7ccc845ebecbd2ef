import type { Cluster } from '../cluster/contract.ts'
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
      // With the first question: until somebody asks, the checks of the API are not in memory.
      const { decodeQuestion } = await import('./pod-question.ts')
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
