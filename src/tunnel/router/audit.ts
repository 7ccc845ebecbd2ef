import type { Log } from '../../log.ts'
import type { ResetName } from '../protocol/reset-code.ts'
import type { StreamEnd, TunnelCounters } from './counters.ts'
import type { TunnelEnd } from './end.ts'
import type { RoutedStream, StreamClient } from './routed-stream.ts'

/** Who wants what: of a stream that was refused. */
export interface AskedStream {
  readonly agent: string
  readonly service: string
  readonly client: string
  readonly stream: number
}

/** A line and a count for each stream that opens, is refused, and ends. */
export class Audit {
  readonly counters: TunnelCounters
  readonly #log: Log
  readonly #intruders = new WeakSet<TunnelEnd>()

  constructor(counters: TunnelCounters, log: Log) {
    this.counters = counters
    this.#log = log
  }

  opened(stream: RoutedStream): void {
    this.counters.opened++
    this.#log.info({ ...described(stream) }, 'stream opened')
  }

  refused(asked: AskedStream, who: StreamClient, reason: ResetName, detail: string): void {
    this.counters.refused[reason]++
    const { username, address, port } = who
    this.#log.info({ ...asked, username, address, port, reason, detail }, 'stream refused')
  }

  ended(stream: RoutedStream, reason: StreamEnd, detail: string, nowMs: number): void {
    this.counters.ended[reason]++
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

function described({ lane, id, client }: RoutedStream): Record<string, unknown> {
  return {
    agent: lane.agent.name,
    service: lane.service,
    client: lane.client.name,
    stream: id,
    username: client.username,
    address: client.address,
    port: client.port,
  }
}
