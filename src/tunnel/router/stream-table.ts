import type { TunnelConfig } from '../../config/tunnel-schema.ts'
import { FrameFlag, FrameType, type FrameHeader } from '../protocol/frame.ts'
import type { Direction } from '../protocol/names.ts'
import { encodeReset, resetName, ResetCode } from '../protocol/reset-code.ts'
import type { Audit } from './audit.ts'
import type { TunnelEnd } from './end.ts'
import { EndedStreams } from './ended-streams.ts'
import { encodeFramePacket } from './packet.ts'
import type { RoutedStream } from './routed-stream.ts'
import { opposite, type Namespaces, type Way } from './seats.ts'
import type { Shaper } from './shaper.ts'

export interface StreamTableContext {
  readonly config: TunnelConfig
  readonly namespaces: Namespaces
  readonly audit: Audit
  readonly shaper: Shaper
  readonly now: () => number
}

/**
 * All streams, from their beginning to the moment when nobody speaks of them any more, and what the broker itself
 * tells their ends.
 */
export class StreamTable {
  readonly #context: StreamTableContext
  readonly #streams = new Set<RoutedStream>()
  readonly #ended: EndedStreams

  constructor(context: StreamTableContext) {
    this.#context = context
    this.#ended = new EndedStreams(context.config.resumeTimeoutMs, (stream) => this.#forget(stream))
  }

  get count(): number {
    return this.#streams.size
  }

  /** Those that have ended, and are still known. */
  get endedCount(): number {
    return this.#ended.count
  }

  /** Those that have not ended. */
  all(): IterableIterator<RoutedStream> {
    return this.#streams.values()
  }

  begin(stream: RoutedStream): void {
    const { agent, client, streams } = stream.lane
    const nowMs = this.#context.now()
    streams.set(stream.id, stream)
    this.#streams.add(stream)
    agent.streams.add(stream)
    // Of a stream that begins, the other end may not have been seen yet.
    if (agent.end === undefined && agent.awaySinceMs === 0) agent.awaySinceMs = nowMs
    // What only an agent says takes nothing from the client's limit.
    if (stream.phase === 'provisional') return
    client.streams.add(stream)
    this.#context.shaper.begin(stream, nowMs)
  }

  /** Ends it, and tells both ends; one that is away, when it comes back. */
  end(stream: RoutedStream, code: ResetCode, detail: string): void {
    const { lane, id } = stream
    if (stream.phase === 'closed') return
    this.tell(lane.down, id, code, detail)
    this.tell(lane.up, id, code, detail)
    this.remove(stream, code, detail)
  }

  endAll(streams: Iterable<RoutedStream>, code: ResetCode, detail: string): void {
    for (const stream of [...streams]) this.end(stream, code, detail)
  }

  /** 5.5: its client opens it anew, and has forgotten the old one; of one that only its agent knows, it speaks now. */
  replace(stream: RoutedStream): void {
    if (stream.phase === 'closed') {
      this.#ended.drop(stream)
      return
    }
    const detail = 'opened anew'
    if (stream.phase !== 'provisional') this.tell(stream.lane.up, stream.id, ResetCode.reset, detail)
    this.remove(stream, ResetCode.reset, detail, false)
  }

  /** Its client is connected to another pod, where it goes on: the agent is not told, and what is known here is old. */
  moved(stream: RoutedStream): void {
    const { lane, id, phase } = stream
    const { local } = lane.agent
    // Each pod has services of its own: the client does not reach this one from there.
    if (local?.isBroker === true) this.tell(lane.up, id, ResetCode.reset, 'the client is at another pod')
    if (phase === 'open') this.#context.audit.ended(stream, 'moved', '', this.#context.now())
    this.#detach(stream)
    this.#forget(stream)
  }

  /**
   * `isMissed`: an end may not know, and is to be told when it speaks of it. Default: when one is away; and what is
   * said to another pod can be lost.
   */
  remove(stream: RoutedStream, how: ResetCode | 'closed', detail: string, isMissed?: boolean): void {
    const { audit, now } = this.#context
    const { agent, client } = stream.lane
    const { phase } = stream
    if (phase === 'closed') return
    const reason = how === 'closed' ? how : resetName(how)
    const nowMs = now()
    if (phase === 'opening' && reason !== 'closed') audit.refused(stream, reason, detail)
    else if (phase !== 'provisional') audit.ended(stream, reason, detail, nowMs)
    this.#detach(stream)
    const isAway = agent.end === undefined || client.end === undefined || agent.isElsewhere
    if (how === 'closed') this.#ended.add(stream, nowMs)
    else if (phase !== 'provisional' && stream.isKnownToAgent && (isMissed ?? isAway)) {
      stream.verdict = { code: how, reason: detail }
      this.#ended.add(stream, nowMs)
    } else this.#forget(stream)
  }

  #detach(stream: RoutedStream): void {
    stream.phase = 'closed'
    this.#streams.delete(stream)
    stream.lane.agent.streams.delete(stream)
    stream.lane.client.streams.delete(stream)
    this.#context.shaper.end(stream)
  }

  #forget(stream: RoutedStream): void {
    const { lane, id } = stream
    if (lane.streams.get(id) === stream) lane.streams.delete(id)
    this.#context.namespaces.tidy(lane)
  }

  // --- what the broker says itself

  /** RESET, to the end of that way, if it is there. */
  tell({ to, topic }: Way, id: number, code: ResetCode, reason: string): void {
    if (to.end !== undefined) this.answer(to.end, topic, id, code, reason)
  }

  answer(end: TunnelEnd, topic: string, id: number, code: ResetCode, reason: string): void {
    if (end.pendingBytes > 2 * this.#context.config.maxPendingBytes) return
    const header = { type: FrameType.reset, flags: 0, stream: id, offset: 0, acked: 0, limit: 0 }
    say(end, topic, header, encodeReset(code, reason))
  }

  /** 9.5: does the end of that way know it? */
  probe(stream: RoutedStream, direction: Direction): void {
    const { lane, id } = stream
    const { to, topic } = lane[direction]
    // An agent may not have got the OPEN yet, which its client repeats.
    const isKnown = stream.phase === 'open' || direction === 'down'
    if (to.end === undefined || !isKnown) return
    // To a client that has had no ACCEPT nothing of this is true when its agent was restarted: it opens it anew.
    const { acked, granted: limit } = direction === 'up' ? stream.down : { acked: 0, granted: 0 }
    say(to.end, topic, { type: FrameType.ping, flags: 0, stream: id, offset: 0, acked, limit })
  }

  /** Where a rate is kept to: tells senders of the credit that time has brought. */
  shape(): void {
    const { shaper, now } = this.#context
    shaper.tick(now(), (stream, direction) => {
      const { to, topic } = opposite(stream.lane[direction])
      if (to.end === undefined) return
      const { acked, granted: limit } = stream[direction]
      const { endAt, sentTo } = direction === 'up' ? stream.down : stream.up
      const [flags, offset] = endAt >= 0 ? [FrameFlag.fin, endAt] : [0, sentTo]
      say(to.end, topic, { type: FrameType.ack, flags, stream: stream.id, offset, acked, limit })
    })
  }

  // --- time

  /** Every second: limits of time. */
  sweep(): void {
    const nowMs = this.#context.now()
    for (const stream of this.#streams) this.#look(stream, nowMs)
    this.#ended.sweep(nowMs)
  }

  #look(stream: RoutedStream, nowMs: number): void {
    const { idleTimeoutMs, maxDurationMs, resumeTimeoutMs } = this.#context.config
    const { agent, client } = stream.lane
    if (stream.active) {
      stream.active = false
      stream.activeAtMs = nowMs
    }
    if (stream.phase === 'provisional') {
      if (nowMs >= stream.forgetAtMs) this.remove(stream, ResetCode.timeout, '')
    } else if (agent.end === undefined && nowMs - agent.awaySinceMs > resumeTimeoutMs) {
      this.end(stream, ResetCode.agentOffline, 'the agent did not come back')
    } else if (client.end === undefined && nowMs - client.awaySinceMs > resumeTimeoutMs) {
      this.end(stream, ResetCode.timeout, 'the client did not come back')
    } else if (idleTimeoutMs > 0 && nowMs - stream.activeAtMs > idleTimeoutMs) {
      this.end(stream, ResetCode.idle, `no data for ${idleTimeoutMs} ms`)
    } else if (maxDurationMs > 0 && nowMs - stream.startedAtMs > maxDurationMs) {
      this.end(stream, ResetCode.idle, `open for ${maxDurationMs} ms`)
    }
  }
}

function say(end: TunnelEnd, topic: string, header: FrameHeader, payload?: Buffer): void {
  const { packet, frame } = encodeFramePacket(topic, header, payload)
  end.deliver(topic, packet, frame)
}
