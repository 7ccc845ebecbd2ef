import { randomBytes } from 'node:crypto'
import type { TraceBatch, TraceRequest } from '../../admin/api/resources.ts'
import type { Config } from '../../config/schema.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import { topicFilterFault, type TopicLimits } from '../topics.ts'
import { TapHub, type TappedBroker } from './tap-hub.ts'
import { Trace } from './trace.ts'

export interface TracesOptions {
  readonly broker: TappedBroker
  readonly limits: Pick<Config['admin'], 'maxTraces' | 'traceKept' | 'tracePacketsPerSecond' | 'traceIdleMs'>
  readonly topics: TopicLimits
  /** Name of this pod, now. */
  readonly pod: () => string
  readonly log: Log
  /** Monotonic milliseconds. */
  readonly now?: () => number
}

/** Live packets of one client, or on some topics: a part of Operations (admin/operations.ts). */
export interface Traces {
  /** Throws TMQ_LIMIT: there are too many; TMQ_USAGE: not a filter. */
  start(request: TraceRequest): { id: string }
  /** Packets after that number; waits up to `waitMs`, at most 10 s, for the first. Undefined: there is no such trace. */
  read(id: string, after: number, waitMs: number): Promise<TraceBatch | undefined>
  /** False: there is none. */
  stop(id: string): boolean
  /** Ends those that nobody reads; called every second while there are some. */
  sweep(): void
  /** Ends all. */
  close(): void
}

const MAX_WAIT_MS = 10_000
const SWEEP_MS = 1_000

export function createTraces(options: TracesOptions): Traces {
  const { broker, limits, topics, pod, log, now = () => performance.now() } = options
  const traces = new Map<string, Trace>()
  const hub = new TapHub(broker, log)
  let timer: NodeJS.Timeout | undefined

  function stop(id: string): boolean {
    const trace = traces.get(id)
    if (trace === undefined) return false
    traces.delete(id)
    hub.remove(trace)
    trace.end()
    if (traces.size === 0) {
      clearInterval(timer)
      timer = undefined
    }
    return true
  }

  function sweep(): void {
    const nowMs = now()
    for (const [id, trace] of traces) if (trace.idleMs(nowMs) >= limits.traceIdleMs) stop(id)
  }

  return {
    start({ client, mountpoint, topic, payload }) {
      const fault = topic === undefined ? undefined : topicFilterFault(topic, topics)
      if (fault !== undefined) throw new TunnelMQError(ErrorCode.usage, `topic: ${fault}`)
      if ((client === undefined) === (topic === undefined))
        throw new TunnelMQError(ErrorCode.usage, 'either client or topic')
      if (traces.size >= limits.maxTraces)
        throw new TunnelMQError(
          ErrorCode.limit,
          `${traces.size} traces are running (admin.maxTraces); one that nobody reads ends by itself`,
        )
      const id = randomBytes(8).toString('hex')
      const trace = new Trace(
        { client, mountpoint, filter: topic, payload },
        { keptCount: limits.traceKept, packetsPerSecond: limits.tracePacketsPerSecond },
        { pod, now },
      )
      traces.set(id, trace)
      hub.add(trace)
      timer ??= setInterval(sweep, SWEEP_MS).unref()
      return { id }
    },
    async read(id, after, waitMs) {
      return await traces.get(id)?.read(after, Math.min(waitMs, MAX_WAIT_MS))
    },
    stop,
    sweep,
    close() {
      for (const id of traces.keys()) stop(id)
    },
  }
}
