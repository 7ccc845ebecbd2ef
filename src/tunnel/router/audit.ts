import type { Log } from '../../log.ts'
import { refusalAttributes, streamAttributes } from '../../tracing/attributes.ts'
import type { Attributes, Tracing } from '../../tracing/contract.ts'
import type { ResetName } from '../protocol/reset-code.ts'
import type { StreamEnd, TunnelCounters } from './counters.ts'
import type { TunnelEnd } from './end.ts'
import { RoutedStream } from './routed-stream.ts'
import type { Seat } from './seats.ts'

/** One that runs, or that somebody wants. */
export type AskedStream = Pick<RoutedStream, 'lane' | 'id' | 'client'> & { readonly startedAtMs?: number }

/** Of one client. */
const REFUSAL_LINES_A_MINUTE = 60

/** A line and a count for each stream that opens, is refused, and ends. */
export class Audit {
  readonly counters: TunnelCounters
  readonly #log: Log
  readonly #intruders = new WeakSet<TunnelEnd>()
  /** Those that have no line yet. */
  readonly #opened: RoutedStream[] = []
  readonly #now: () => number
  readonly #tracing: Tracing | undefined
  /** When its target was reached; kept only for spans. */
  readonly #openedAtMs = new WeakMap<RoutedStream, number>()
  readonly #refusals = new WeakMap<Seat, { sinceMs: number; count: number }>()

  constructor(counters: TunnelCounters, log: Log, now: () => number, tracing?: Tracing) {
    this.counters = counters
    this.#log = log
    this.#now = now
    this.#tracing = tracing
  }

  opened(stream: RoutedStream): void {
    this.counters.opened++
    if (this.#tracing !== undefined) this.#openedAtMs.set(stream, this.#now())
    if (this.#opened.push(stream) === 1) setImmediate(() => this.#writeOpened())
  }

  /** Behind what goes to the two ends in this turn: a line costs as much as the rest of opening a stream. */
  #writeOpened(): void {
    for (const stream of this.#opened.splice(0)) this.#log.info(described(stream), 'stream opened')
  }

  /** A stream from before a restart of the broker goes on. */
  resumed(stream: RoutedStream): void {
    this.#log.info(described(stream), 'stream resumed')
  }

  refused(asked: AskedStream, reason: ResetName, detail: string): void {
    this.counters.refused[reason]++
    this.#trace(asked, refusalAttributes(reason, undefined), detail === '' ? reason : detail)
    const notLogged = this.#countRefusal(asked.lane.client)
    if (notLogged === undefined) return
    this.#log.info(
      { ...described(asked), reason, detail, ...(notLogged > 0 && { notLogged }) },
      'stream refused',
    )
  }

  /** Asking costs nothing, and must not fill the disk. @returns refusals without a line; undefined: one more of them. */
  #countRefusal(client: Seat): number | undefined {
    const nowMs = this.#now()
    const last = this.#refusals.get(client)
    if (last !== undefined && nowMs - last.sinceMs < 60_000) {
      last.count++
      return last.count > REFUSAL_LINES_A_MINUTE ? undefined : 0
    }
    this.#refusals.set(client, { sinceMs: nowMs, count: 1 })
    return Math.max(0, (last?.count ?? 0) - REFUSAL_LINES_A_MINUTE)
  }

  ended(stream: RoutedStream, reason: StreamEnd, detail: string, nowMs: number): void {
    this.counters.ended[reason]++
    this.#writeOpened()
    const { up, down } = stream
    this.#trace(
      stream,
      { 'tunnelmq.outcome': reason, 'tunnelmq.bytes_up': up.bytes, 'tunnelmq.bytes_down': down.bytes },
      reason === 'closed' || reason === 'moved' ? undefined : detail === '' ? reason : detail,
    )
    this.#log.info(
      {
        ...described(stream),
        bytesUp: stream.up.bytes,
        bytesDown: stream.down.bytes,
        durationMs: Math.round(nowMs - stream.startedAtMs),
        reason,
        ...(detail !== '' && { detail }),
      },
      'stream ended',
    )
  }

  /** All of a stream is known when it has ended, and so its span is made then. */
  #trace(asked: AskedStream, outcome: Attributes, failure: string | undefined): void {
    if (this.#tracing === undefined) return
    const { lane, client, startedAtMs } = asked
    const nowMs = this.#now()
    const span = this.#tracing.begin({
      name: 'tunnel stream',
      agoMs: nowMs - (startedAtMs ?? nowMs),
      attributes: {
        ...streamAttributes({
          ...client,
          agent: lane.agent.name,
          agentPod: lane.agent.isElsewhere ? lane.agent.remote?.pod : undefined,
          service: lane.service,
          client: lane.client.name,
        }),
        ...outcome,
      },
    })
    const openedAtMs = asked instanceof RoutedStream ? this.#openedAtMs.get(asked) : undefined
    if (openedAtMs !== undefined) span.event('opened', nowMs - openedAtMs)
    span.end(failure)
  }

  /** Somebody who may do that has ended it; `ended` follows. */
  cut(stream: RoutedStream): void {
    this.#log.info(described(stream), 'stream cut')
  }

  /** Somebody has used the place of another. One line for each connection. */
  forbidden(end: TunnelEnd, topic: string): void {
    this.counters.dropped.forbidden++
    if (this.#intruders.has(end)) return
    this.#intruders.add(end)
    const { name, username, address, port } = end
    this.#log.warn({ client: name, username, address, port, topic }, 'tunnel frame in the place of another')
  }

  revoked(end: TunnelEnd, what: string, count: number): void {
    this.#log.info({ client: end.name, username: end.username, what, count }, 'tunnel right revoked')
  }
}

function described({ lane, id, client }: AskedStream): Record<string, unknown> {
  return {
    agent: lane.agent.name,
    ...(lane.agent.isElsewhere && { agentPod: lane.agent.remote?.pod }),
    service: lane.service,
    client: lane.client.name,
    stream: id,
    username: client.username,
    address: client.address,
    port: client.port,
  }
}
