import { tunnelSchema, type TunnelConfig } from '../../../../src/config/tunnel-schema.ts'
import { allowedBy, type Decision } from '../../../../src/hooks/decision.ts'
import type { DisconnectReason, TunnelRequest } from '../../../../src/hooks/types.ts'
import { createLog } from '../../../../src/log.ts'
import type { TunnelEnd } from '../../../../src/tunnel/router/end.ts'
import { TunnelRouter } from '../../../../src/tunnel/router/router.ts'
import { brief, seen, type SeenFrame } from '../../../support/tunnel-frames.ts'

type Answer = Decision | Promise<Decision>

export const refused: Decision = { allowed: false, handler: 'test', reason: 'not in the list' }
export const allowed: Decision = allowedBy('test')

export interface EndFacts {
  readonly mountpoint?: string
  readonly username?: string | undefined
}

/** One connection, without a socket: what the router hands over is kept. */
export class FakeEnd implements TunnelEnd {
  readonly name: string
  readonly mountpoint: string
  readonly username: string | undefined
  readonly address = '192.0.2.7'
  readonly port = 40_001
  readonly isBroker = false
  pendingBytes = 0
  /** What its handlers say. */
  answer: (request: TunnelRequest) => Answer = () => allowed
  readonly asked: TunnelRequest[] = []
  holdCount = 0
  #delivered: { topic: string; frame: Buffer }[] = []
  readonly #router: TunnelRouter

  constructor(router: TunnelRouter, name: string, { mountpoint = '', username = 'ann' }: EndFacts) {
    this.#router = router
    this.name = name
    this.mountpoint = mountpoint
    this.username = username
  }

  authTunnel(request: TunnelRequest): Answer {
    this.asked.push(request)
    return this.answer(request)
  }

  deliver(topic: string, packet: Buffer | undefined, frame: Buffer): void {
    // The frame lies at the end of its packet, if it came in one.
    if (packet !== undefined && !packet.subarray(packet.length - frame.length).equals(frame))
      throw new Error('packet without its frame')
    this.#delivered.push({ topic, frame: Buffer.from(frame) })
  }

  onceDrained(): void {}

  hold(): void {
    this.holdCount++
  }

  release(): void {
    this.holdCount--
  }

  // --- the peer's side

  serve(): this {
    this.#router.attach(this, 'serve')
    return this
  }

  listen(): this {
    this.#router.attach(this, 'answers')
    return this
  }

  send(topic: string, ...frames: readonly Buffer[]): void {
    for (const frame of frames) this.#router.receive(this, topic, Buffer.from(frame), undefined)
  }

  leave(reason: DisconnectReason['kind'] = 'lost'): void {
    this.#router.gone(this, reason)
  }

  /** What came since the last look, a line each. */
  got(): string[] {
    return this.#delivered.splice(0).map(({ frame }) => brief(frame))
  }

  gotFrames(): SeenFrame[] {
    return this.#delivered.splice(0).map(({ frame }) => seen(frame))
  }

  gotTopics(): string[] {
    return this.#delivered.splice(0).map(({ topic, frame }) => `${topic} ${brief(frame)}`)
  }
}

export interface RouterWorld {
  readonly router: TunnelRouter
  readonly lines: Record<string, unknown>[]
  readonly statuses: { mountpoint: string; agent: string; status: Record<string, unknown> }[]
  readonly end: (name: string, facts?: EndFacts) => FakeEnd
  /** Time passes, in steps of `stepMs`, with what the timers of the router would do. */
  readonly advance: (ms: number, stepMs?: number) => void
}

export function createRouterWorld(config: Partial<TunnelConfig> = {}): RouterWorld {
  let nowMs = 1_000
  const lines: Record<string, unknown>[] = []
  const statuses: RouterWorld['statuses'] = []
  const router = new TunnelRouter({
    config: { ...tunnelSchema.parse({}), ...config },
    log: createLog(
      { level: 'debug', format: 'json' },
      { write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>) },
    ),
    publishStatus: (mountpoint, agent, status) =>
      void statuses.push({
        mountpoint,
        agent,
        status: JSON.parse(status.toString()) as Record<string, unknown>,
      }),
    statusOf: () => undefined,
    graceMs: 10_000,
    now: () => nowMs,
  })
  return {
    router,
    lines,
    statuses,
    end: (name, facts = {}) => new FakeEnd(router, name, facts),
    advance(ms, stepMs = 50) {
      for (let passedMs = 0; passedMs < ms; passedMs += stepMs) {
        const lastMs = nowMs
        nowMs += stepMs
        router.shape()
        if (Math.floor(nowMs / 1_000) > Math.floor(lastMs / 1_000)) router.sweep()
      }
    },
  }
}

export const UP = '$tunnel/pi7/ssh/laptop/up'
export const DOWN = '$tunnel/pi7/ssh/laptop/down'

/** Promises that are settled have been heard. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 10; i++) await Promise.resolve()
}

/** A question whose answer the test gives. */
export function pendingAnswer(): { promise: Promise<Decision>; give: (decision: Decision) => void } {
  let give!: (decision: Decision) => void
  const promise = new Promise<Decision>((resolve) => (give = resolve))
  return { promise, give }
}
