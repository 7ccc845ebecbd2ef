import type { TunnelConfig } from '../../config/tunnel-schema.ts'
import {
  encodeFrame,
  FrameType,
  HEADER_BYTES,
  INITIAL_CREDIT_BYTES,
  writeUInt48,
  type FrameView,
} from '../protocol/frame.ts'
import { decodeOpen, encodeOpen, type OpenPayload, type OpenSource } from '../protocol/open-payload.ts'
import { resetName, ResetCode } from '../protocol/reset-code.ts'
import type { AskedStream, Audit } from './audit.ts'
import type { TunnelEnd } from './end.ts'
import type { ExpectedAgents } from './expected-agents.ts'
import { Flow, resumedFlows, RoutedStream, tolerateResumed, type StreamClient } from './routed-stream.ts'
import type { Rights } from './rights.ts'
import type { Lane, Way } from './seats.ts'
import type { Shaper } from './shaper.ts'
import type { StreamTable } from './stream-table.ts'

export interface OpeningContext {
  readonly config: TunnelConfig
  readonly streams: StreamTable
  readonly expected: ExpectedAgents
  readonly rights: Rights
  readonly audit: Audit
  readonly shaper: Shaper
  /** There are other brokers: a client that comes back may have been at one. */
  readonly hasPods: boolean
  readonly now: () => number
  readonly forward: (way: Way, frame: Buffer, packet: Buffer | undefined) => void
  /** Nobody gets this stream; `handler` has said so, or a limit. */
  readonly refused?: OnStreamRefused | undefined
}

export type OnStreamRefused = (asked: AskedStream, reason: string, handler: string | undefined) => void

const NO_RIGHT = 'no right to this service'
/** An address of 253 characters, the longest, has no escapes. */
const MAX_SOURCE_BYTES = 300
/** A client that knows the stream of an agent's RESUME has until then to say so. */
const PROVISIONAL_MS = 30_000

/** How a stream begins: OPEN, and RESUME after a restart of the broker or of a connection; both need the right to it. */
export class Opening {
  readonly #context: OpeningContext

  constructor(context: OpeningContext) {
    this.#context = context
  }

  /** @returns why it is no OPEN. */
  open(end: TunnelEnd, lane: Lane, view: FrameView, frame: Buffer): string | undefined {
    const { stream: id, limit } = view
    const payload = decodeOpen(frame.subarray(HEADER_BYTES))
    if (typeof payload === 'string') return payload
    const known = lane.streams.get(id)
    if (known?.token === payload.token && this.#repeated(end, known, payload)) return undefined
    const asked = { lane, id, client: clientOf(end, payload) }
    this.#context.rights.toOpen(end, lane, (refusal) => {
      const held = lane.streams.get(id)
      const isHeld = held?.token === payload.token
      if (held !== undefined && !isHeld) this.#context.streams.replace(held)
      if (refusal !== undefined) {
        this.#refuse(asked, ResetCode.forbidden, refusal.reason, refusal.handler)
        return
      }
      const stream = isHeld ? held : this.#begin(asked, limit, payload.token)
      if (stream === undefined) return
      // What its agent has said of it has gone on to the client.
      if (held?.token === undefined) stream.up.tolerated = held?.up.limit ?? 0
      stream.authorized = end
      this.#repeated(end, stream, payload)
    })
    return undefined
  }

  /** OPEN of a stream that is known. False: this connection was not asked about yet (9.3). */
  #repeated(end: TunnelEnd, stream: RoutedStream, payload: OpenPayload): boolean {
    const { lane, id, verdict } = stream
    // 8.4
    if (verdict !== undefined) this.#context.streams.tell(lane.down, id, verdict.code, verdict.reason)
    else if (stream.authorized === end) this.#forwardOpen(stream, payload)
    else return false
    return true
  }

  #begin(asked: AskedStream, limit: number, token: string): RoutedStream | undefined {
    const { streams, expected, shaper, now } = this.#context
    const { lane, id, client } = asked
    if (lane.agent.end === undefined) {
      // 9.4: the client repeats its OPEN, and the agent will be there.
      if (expected.isExpected(lane.agent.mountpoint, lane.agent.name)) return undefined
      this.#refuse(asked, ResetCode.agentOffline, `agent ${lane.agent.name} is not connected`)
      return undefined
    }
    if (this.#refuseFull(asked)) return undefined
    const up = new Flow(INITIAL_CREDIT_BYTES, shaper.isOn)
    const down = new Flow(0, shaper.isOn)
    down.learn(limit)
    const stream = new RoutedStream(lane, id, { phase: 'opening', token, client, nowMs: now(), up, down })
    streams.begin(stream)
    return stream
  }

  #refuseFull(asked: AskedStream): boolean {
    const { config, streams } = this.#context
    const { agent, client } = asked.lane
    const full = fullness(config, streams.count, client.streams.size, agent.streams.size)
    if (full === undefined) return false
    this.#refuse(asked, ResetCode.limit, full)
    return true
  }

  /** 5.1: with what the broker vouches for, and without what the client has put in its place. */
  #forwardOpen(stream: RoutedStream, { token, source }: OpenPayload): void {
    const { username, address, port } = stream.client
    const peer = { address, port, ...(username !== undefined && { username }) }
    const header = {
      type: FrameType.open,
      flags: 0,
      stream: stream.id,
      offset: 0,
      acked: 0,
      limit: stream.down.granted,
    }
    const named = isShort(source) ? { source } : {}
    const frame = encodeFrame(header, encodeOpen({ token, ...named, peer }))
    this.#context.forward(stream.lane.up, frame, undefined)
  }

  /** RESUME of a stream that the broker does not know: it was restarted. */
  resume(end: TunnelEnd, lane: Lane, view: FrameView, frame: Buffer): void {
    const { streams, rights, audit, shaper, now } = this.#context
    const asked = { lane, id: view.stream, client: clientOf(end) }
    const isAnswer = view.type === FrameType.ack
    const flows = resumedFlows(view, shaper.isOn)
    rights.toResume(end, lane, (refusal) => {
      if (refusal !== undefined) {
        this.#refuse(asked, ResetCode.forbidden, refusal.reason, refusal.handler)
        return
      }
      const held = lane.streams.get(asked.id)
      if (held !== undefined) streams.replace(held)
      if (this.#refuseFull(asked)) return
      const { id, client } = asked
      const stream = new RoutedStream(lane, id, { phase: 'open', client, nowMs: now(), ...flows })
      stream.authorized = end
      streams.begin(stream)
      audit.resumed(stream)
      if (shaper.isOn) writeUInt48(frame, 18, stream.down.granted)
      this.#context.forward(lane.up, frame, undefined)
      // With this word it may have ended, and only its agent can say so.
      if (isAnswer) streams.probe(stream, 'up')
    })
  }

  /** RESUME of a new connection of its client, on a stream that the broker knows: `pass` lets it go on. */
  resumeAgain(end: TunnelEnd, stream: RoutedStream, view: FrameView, frame: Buffer, pass: () => void): void {
    const { lane } = stream
    const { offset, limit } = view
    if (stream.phase === 'provisional') {
      // Only the agent has spoken of it so far.
      this.resume(end, lane, view, frame)
      return
    }
    this.#context.rights.toResume(end, lane, (refusal) => {
      if (lane.streams.get(stream.id) !== stream) return
      if (refusal !== undefined) {
        const { reason, handler } = refusal
        this.#context.refused?.(stream, `${resetName(ResetCode.forbidden)}: ${reason}`, handler)
        this.#context.streams.end(stream, ResetCode.forbidden, NO_RIGHT)
        return
      }
      stream.authorized = end
      if (this.#context.hasPods) tolerateResumed(stream, { offset, limit })
      pass()
    })
  }

  /** RESUME of an agent, of a stream that the broker does not know: its client may, and is given time to say so. */
  resumeOfAgent(client: TunnelEnd, lane: Lane, view: FrameView, frame: Buffer, packet?: Buffer): void {
    const { shaper, forward } = this.#context
    if (this.#beginProvisional(client, lane, view, frame) === undefined) return
    // Where a rate is kept to, credit waits for the answer.
    if (shaper.isOn) writeUInt48(frame, 18, 0)
    forward(lane.down, frame, packet)
  }

  /**
   * An agent that has not been away speaks of a stream to a client that has come from another pod. If that does not
   * resume it, it has ended, and its last word was lost on the way here: it is asked.
   */
  askClient(client: TunnelEnd, lane: Lane, view: FrameView, frame: Buffer): void {
    const stream = this.#beginProvisional(client, lane, view, frame)
    if (stream !== undefined) this.#context.streams.probe(stream, 'down')
  }

  #beginProvisional(client: TunnelEnd, lane: Lane, view: FrameView, frame: Buffer): RoutedStream | undefined {
    const { config, streams, now } = this.#context
    if (lane.agent.streams.size >= config.maxStreamsPerAgent || streams.count >= config.maxStreams)
      return undefined
    const stream = new RoutedStream(lane, view.stream, {
      phase: 'provisional',
      client,
      nowMs: now(),
      up: new Flow(0, false),
      down: new Flow(0, false),
    })
    stream.learnEnd(view, frame.length)
    stream.up.learn(view.limit)
    stream.forgetAtMs = stream.startedAtMs + PROVISIONAL_MS
    streams.begin(stream)
    return stream
  }

  /** What a handler says is for the log: the client is told that it has no right. */
  #refuse(asked: AskedStream, code: ResetCode, detail: string, handler?: string): void {
    const { audit, streams, refused } = this.#context
    audit.refused(asked, resetName(code), detail)
    refused?.(asked, `${resetName(code)}: ${detail}`, handler)
    streams.tell(asked.lane.down, asked.id, code, handler === undefined ? detail : NO_RIGHT)
  }
}

/** Why there is no room for one more stream; undefined: there is. */
export function fullness(
  config: TunnelConfig,
  allCount: number,
  clientCount: number,
  agentCount: number,
): string | undefined {
  if (allCount >= config.maxStreams) return 'too many streams'
  if (clientCount >= config.maxStreamsPerClient) return 'too many streams of this client'
  return agentCount >= config.maxStreamsPerAgent ? 'too many streams to this agent' : undefined
}

/** It fits into an OPEN beside everything that the broker may have to say. */
function isShort(source: OpenSource | undefined): source is OpenSource {
  return source !== undefined && Buffer.byteLength(JSON.stringify(source)) <= MAX_SOURCE_BYTES
}

/** Who opens: the connection; for a port of the broker, the one who has connected to it. */
function clientOf(end: TunnelEnd, payload?: OpenPayload): StreamClient {
  const { username, address, port, isBroker } = end
  return isBroker && payload?.source !== undefined
    ? { username, ...payload.source }
    : { username, address, port }
}
