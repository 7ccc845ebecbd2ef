import type { PodState, Seat } from '../../../../src/cluster/contract.ts'
import { tunnelSchema, type TunnelConfig } from '../../../../src/config/tunnel-schema.ts'
import type { DisconnectReason } from '../../../../src/hooks/types.ts'
import { createLog } from '../../../../src/log.ts'
import { TunnelRouter } from '../../../../src/tunnel/router/router.ts'
import { FakeEnd, type EndFacts } from './world.ts'

type Entry = (router: TunnelRouter) => void

/** What a pod has not heard yet. */
interface Mailbox {
  readonly log: Entry[]
  readonly frames: Entry[]
}

interface SaidStatus {
  readonly pod: string
  readonly agent: string
  readonly status: Record<string, unknown>
}

/**
 * Several pods in one process. What one tells the others waits until {@link PodsWorld.flow}: the log in its order,
 * frames in theirs, and none of it within a call, as the contract of the cluster has it.
 */
export class PodsWorld {
  nowMs = 1_000
  readonly routers = new Map<string, TunnelRouter>()
  readonly lines: Record<string, unknown>[] = []
  readonly said: SaidStatus[] = []
  /** By mountpoint and agent: the store, which all of them share. */
  readonly retained = new Map<string, Buffer>()
  /** Pods that do not read the log now. */
  readonly lagging = new Set<string>()
  /** Frames between pods that are lost. */
  lose: () => boolean = () => false
  frameCount = 0
  pendingBytes = 0
  drainListeners: (() => void)[] = []
  readonly #mail = new Map<string, Mailbox>()
  readonly #seats = new Map<string, { readonly pod: string; readonly seat: Seat }>()
  readonly #config: TunnelConfig

  constructor(pods: readonly string[], config: Partial<TunnelConfig> = {}) {
    this.#config = { ...tunnelSchema.parse({}), ...config }
    for (const pod of pods) this.join(pod)
  }

  /** A pod starts: it is told who sits where. */
  join(pod: string): TunnelRouter {
    const router = new TunnelRouter({
      config: this.#config,
      log: createLog(
        { level: 'debug', format: 'json' },
        {
          write: (line: string) =>
            void this.lines.push({ pod, ...(JSON.parse(line) as Record<string, unknown>) }),
        },
      ),
      publishStatus: (mountpoint, agent, status) => {
        this.retained.set(`${mountpoint}${agent}`, status)
        this.said.push({ pod, agent, status: JSON.parse(status.toString()) as Record<string, unknown> })
      },
      statusOf: (mountpoint, agent) => this.retained.get(`${mountpoint}${agent}`),
      graceMs: 10_000,
      pods: this.#podsOf(pod),
      now: () => this.nowMs,
    })
    this.routers.set(pod, router)
    const log = [...this.#seats.values()].map(
      ({ pod: from, seat }): Entry =>
        (joined) =>
          joined.seatTaken(from, seat),
    )
    this.#mail.set(pod, { log, frames: [] })
    return router
  }

  /** It says nothing any more, and the others are told, after a while. */
  kill(pod: string): void {
    this.routers.delete(pod)
    this.#mail.delete(pod)
    for (const [key, { pod: of }] of this.#seats) if (of === pod) this.#seats.delete(key)
  }

  bury(pod: string): void {
    for (const { log } of this.#mail.values()) log.push((router) => router.podGone(pod))
    this.flow()
  }

  router(pod: string): TunnelRouter {
    return this.routers.get(pod)!
  }

  end(pod: string, name: string, facts: EndFacts = {}): PodEnd {
    return new PodEnd(this, pod, name, facts)
  }

  /** Until nobody has anything to say. */
  flow(): void {
    for (let busy = true; busy;) {
      busy = false
      for (const [pod, { log, frames }] of this.#mail) {
        const router = this.router(pod)
        const due = this.lagging.has(pod) ? [] : log.splice(0)
        for (const entry of [...due, ...frames.splice(0)]) {
          busy = true
          entry(router)
        }
      }
    }
  }

  advance(ms: number, stepMs = 1_000): void {
    for (let passedMs = 0; passedMs < ms; passedMs += stepMs) {
      this.nowMs += stepMs
      for (const router of this.routers.values()) router.sweep()
      this.flow()
    }
  }

  #podsOf(pod: string) {
    const tell = (entry: Entry): void => {
      if (!this.routers.has(pod)) return
      for (const [other, { log }] of this.#mail) if (other !== pod) log.push(entry)
    }
    const keyOf = ({ mountpoint, name, role }: Seat): string => `${pod} ${mountpoint} ${name} ${role}`
    const pending = (): number => this.pendingBytes
    return {
      pod,
      pods: (): readonly PodState[] =>
        [...this.routers.keys()].map((id) => ({
          id,
          isSelf: id === pod,
          silentMs: 0,
          figures: undefined,
        })),
      announceSeat: (seat: Seat) => {
        this.#seats.set(keyOf(seat), { pod, seat })
        tell((router) => router.seatTaken(pod, seat))
      },
      withdrawSeat: (seat: Seat, reason: DisconnectReason['kind']) => {
        this.#seats.delete(keyOf(seat))
        tell((router) => router.seatLeft(pod, seat, reason))
      },
      sendFrame: (to: string, mountpoint: string, topic: string, frame: Buffer) => {
        this.frameCount++
        // Redis keeps no reference to our memory.
        const copy = Buffer.from(frame)
        if (this.routers.has(pod) && !this.lose())
          this.#mail.get(to)?.frames.push((router) => router.frameFromPod(pod, mountpoint, topic, copy))
      },
      get pendingBytes() {
        return pending()
      },
      onceDrained: (listener: () => void) => void this.drainListeners.push(listener),
    }
  }
}

/** A connection to one of the pods. What it does has reached everybody when the call returns. */
export class PodEnd extends FakeEnd {
  readonly pod: string
  readonly #world: PodsWorld

  constructor(world: PodsWorld, pod: string, name: string, facts: EndFacts) {
    super(world.router(pod), name, facts)
    this.pod = pod
    this.#world = world
  }

  override serve(): this {
    super.serve()
    this.#world.flow()
    return this
  }

  override listen(): this {
    super.listen()
    this.#world.flow()
    return this
  }

  override send(topic: string, ...frames: readonly Buffer[]): void {
    super.send(topic, ...frames)
    this.#world.flow()
  }

  override leave(reason: DisconnectReason['kind'] = 'lost'): void {
    super.leave(reason)
    this.#world.flow()
  }

  /** As an agent: what it offers is retained. */
  online(): this {
    const status = Buffer.from(JSON.stringify({ online: true, services: ['ssh'] }))
    if (this.#world.router(this.pod).takeStatus(this, this.name, status) === undefined)
      this.#world.retained.set(`${this.mountpoint}${this.name}`, status)
    return this
  }
}
