import type { TunnelConfig } from '../../config/tunnel-schema.ts'
import type { Decision } from '../../hooks/decision.ts'
import {
  encodeFrame,
  FrameType,
  HEADER_BYTES,
  INITIAL_CREDIT_BYTES,
  writeUInt48,
  type FrameView,
} from '../protocol/frame.ts'
import { serveFilter, type Direction } from '../protocol/names.ts'
import { decodeOpen, encodeOpen, type OpenPayload, type OpenSource } from '../protocol/open-payload.ts'
import { resetName, ResetCode } from '../protocol/reset-code.ts'
import type { Audit } from './audit.ts'
import type { TunnelEnd } from './end.ts'
import { Flow, resumedFlows, RoutedStream, type StreamClient } from './routed-stream.ts'
import type { Lane } from './seats.ts'

export interface OpeningContext {
  readonly config: TunnelConfig
  readonly audit: Audit
  /** A rate is kept to. */
  readonly shaped: boolean
  readonly now: () => number
  readonly streamCount: () => number
  begin(stream: RoutedStream): void
  end(stream: RoutedStream, code: ResetCode, detail: string): void
  /** Makes room for another with its id. */
  replace(stream: RoutedStream): void
  /** Nothing may be left of it. */
  tidy(lane: Lane): void
  answer(end: TunnelEnd, topic: string, id: number, code: ResetCode, reason: string): void
  /** An OPEN that is none. */
  malformed(end: TunnelEnd, lane: Lane, frame: Buffer, fault: string): void
  forward(stream: RoutedStream, direction: Direction, frame: Buffer, packet: Buffer | undefined): void
}

/** An address of 253 characters, the longest, has no escapes. */
const MAX_SOURCE_BYTES = 300

/** How a stream begins: OPEN, and RESUME after a restart of the broker or of a connection; both need the right to it. */
export class Opening {
  readonly #context: OpeningContext

  constructor(context: OpeningContext) {
    this.#context = context
  }

  /** May it serve as the agent of its name? Never rejects. */
  async mayServe(end: TunnelEnd): Promise<boolean> {
    const topic = serveFilter(end.name)
    return (await end.authTunnel({ action: 'serve', agent: end.name, service: '+', topic })).allowed
  }

  /** Why it may not open this, or undefined. Never rejects. */
  async mayOpen(end: TunnelEnd, lane: Lane): Promise<string | undefined> {
    return refusalOf(await this.#ask(end, lane))
  }

  #ask(end: TunnelEnd, lane: Lane): ReturnType<TunnelEnd['authTunnel']> {
    return end.authTunnel({
      action: 'open',
      agent: lane.agent.name,
      service: lane.service,
      topic: lane.upTopic,
    })
  }

  /** Asks; synchronous answers cost no promise. What the client sends meanwhile waits. */
  #authorize(end: TunnelEnd, lane: Lane, decided: (refusal: string | undefined) => void): void {
    // The lane stays, though its last stream makes room for another meanwhile.
    lane.askingCount++
    const decision = this.#ask(end, lane)
    if (!(decision instanceof Promise)) {
      decided(refusalOf(decision))
      this.#leave(lane)
      return
    }
    end.hold()
    void decision
      .then((made) => {
        // It may have lost its place meanwhile.
        if (lane.client.clientEnd === end) decided(refusalOf(made))
      })
      .finally(() => {
        this.#leave(lane)
        end.release()
      })
  }

  /** A client with a thousand streams to a service comes back with a thousand RESUMEs: one answer is for all. */
  #authorizeResume(end: TunnelEnd, lane: Lane, decided: (refusal: string | undefined) => void): void {
    for (const { authorized, phase } of lane.streams.values())
      if (authorized === end && phase !== 'closed') return decided(undefined)
    this.#authorize(end, lane, decided)
  }

  #leave(lane: Lane): void {
    lane.askingCount--
    this.#context.tidy(lane)
  }

  open(end: TunnelEnd, lane: Lane, view: FrameView, frame: Buffer): void {
    const { stream: id, limit } = view
    const payload = decodeOpen(frame.subarray(HEADER_BYTES))
    if (typeof payload === 'string') {
      this.#context.malformed(end, lane, frame, payload)
      return
    }
    const known = lane.streams.get(id)
    if (known?.token === payload.token && this.#repeated(end, known, payload)) return
    const client = clientOf(end, payload)
    this.#authorize(end, lane, (refusal) => {
      const held = lane.streams.get(id)
      if (held !== undefined && held.token !== payload.token) this.#context.replace(held)
      if (refusal !== undefined) {
        this.#refuse(end, lane, id, client, ResetCode.forbidden, 'no right to this service', refusal)
        return
      }
      const stream = held?.token === payload.token ? held : this.#begin(end, lane, id, limit, payload, client)
      if (stream === undefined) return
      stream.authorized = end
      this.#repeated(end, stream, payload)
    })
  }

  /** OPEN of a stream that is known. False: this connection was not asked about yet (9.3). */
  #repeated(end: TunnelEnd, stream: RoutedStream, payload: OpenPayload): boolean {
    const { lane, id, verdict } = stream
    // 8.4
    if (verdict !== undefined) this.#context.answer(end, lane.downTopic, id, verdict.code, verdict.reason)
    else if (stream.authorized === end) this.#forwardOpen(stream, payload)
    else return false
    return true
  }

  #begin(
    end: TunnelEnd,
    lane: Lane,
    id: number,
    limit: number,
    payload: OpenPayload,
    client: StreamClient,
  ): RoutedStream | undefined {
    const { shaped, now } = this.#context
    if (lane.agent.agentEnd === undefined) {
      const detail = `agent ${lane.agent.name} is not connected`
      this.#refuse(end, lane, id, client, ResetCode.agentOffline, detail, detail)
      return undefined
    }
    const full = this.#isFull(lane)
    if (full !== undefined) {
      this.#refuse(end, lane, id, client, ResetCode.limit, full, full)
      return undefined
    }
    const down = new Flow(0, shaped)
    down.learn(limit)
    const stream = new RoutedStream(lane, id, {
      phase: 'opening',
      token: payload.token,
      client,
      nowMs: now(),
      up: new Flow(INITIAL_CREDIT_BYTES, shaped),
      down,
    })
    this.#context.begin(stream)
    return stream
  }

  #isFull(lane: Lane): string | undefined {
    const { config, streamCount } = this.#context
    if (streamCount() >= config.maxStreams) return 'too many streams'
    if (lane.client.asClient.size >= config.maxStreamsPerClient) return 'too many streams of this client'
    if (lane.agent.asAgent.size >= config.maxStreamsPerAgent) return 'too many streams to this agent'
    return undefined
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
    this.#context.forward(stream, 'up', frame, undefined)
  }

  /** A stream that the broker does not know: it was restarted. */
  resume(end: TunnelEnd, lane: Lane, view: FrameView, frame: Buffer): void {
    const { stream: id } = view
    const flows = resumedFlows(view, this.#context.shaped)
    this.#authorizeResume(end, lane, (refusal) => {
      if (refusal !== undefined) {
        this.#refuse(end, lane, id, end, ResetCode.forbidden, 'no right to this service', refusal)
        return
      }
      const held = lane.streams.get(id)
      if (held !== undefined) this.#context.replace(held)
      const full = this.#isFull(lane)
      if (full !== undefined) {
        this.#refuse(end, lane, id, end, ResetCode.limit, full, full)
        return
      }
      const { audit, shaped, now } = this.#context
      const stream = new RoutedStream(lane, id, {
        phase: 'open',
        client: clientOf(end),
        nowMs: now(),
        ...flows,
      })
      stream.authorized = end
      this.#context.begin(stream)
      audit.resumed(stream)
      if (shaped) writeUInt48(frame, 18, stream.down.granted)
      this.#context.forward(stream, 'up', frame, undefined)
    })
  }

  /** RESUME of a new connection of its client, on a stream that the broker knows: `pass` lets it go on. */
  resumeAgain(end: TunnelEnd, stream: RoutedStream, view: FrameView, frame: Buffer, pass: () => void): void {
    const { lane } = stream
    if (stream.phase === 'provisional') {
      // Only the agent has spoken of it so far.
      this.resume(end, lane, view, frame)
      return
    }
    this.#authorizeResume(end, lane, (refusal) => {
      if (lane.streams.get(stream.id) !== stream) return
      if (refusal !== undefined) {
        this.#context.end(stream, ResetCode.forbidden, 'no right to this service')
        return
      }
      stream.authorized = end
      pass()
    })
  }

  #refuse(
    end: TunnelEnd,
    lane: Lane,
    id: number,
    who: StreamClient,
    code: ResetCode,
    told: string,
    detail: string,
  ): void {
    const asked = { agent: lane.agent.name, service: lane.service, client: lane.client.name, stream: id }
    this.#context.audit.refused(asked, who, resetName(code), detail, lane.client)
    this.#context.answer(end, lane.downTopic, id, code, told)
  }
}

function refusalOf({ allowed, reason }: Decision): string | undefined {
  return allowed ? undefined : (reason ?? 'refused')
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
