import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { Link, LinkEvents } from '../tunnel/link/link.ts'
import { FrameType, type FrameHeader } from '../tunnel/protocol/frame.ts'
import type { Route } from '../tunnel/protocol/names.ts'
import { encodeFramePacket } from '../tunnel/router/packet.ts'
import type { TunnelEnd } from '../tunnel/router/end.ts'
import type { LocalEnd } from './local-end.ts'

export interface LocalLinkOptions {
  readonly end: LocalEnd
  /** Client: the one agent that it leads to, for whose connection its DATA waits. */
  readonly agent?: string
  /** Makes this the retained status of the broker as an agent. */
  readonly publishStatus?: (status: Buffer, isOnline: boolean) => void
}

/** DATA beyond this waits with its streams, where the interactive ones come first; as in an MQTT link. */
const MAX_PENDING_BYTES = 262_144
/** Then sockets have their turn: four times as much has made a keystroke beside it wait four times as long. */
const MAX_TURN_BYTES = 65_536

/**
 * A link that is the broker's router: up from the start, and to the end.
 *
 * One for each agent that ports lead to, so that an agent with a slow connection stops its own streams only. Frames
 * that are not DATA are small, and always taken: the router bounds them.
 */
export class LocalLink implements Link {
  readonly name: string
  readonly isAnswered = true
  readonly #options: LocalLinkOptions
  #events: LinkEvents | undefined
  #phase: 'created' | 'up' | 'closed' = 'created'
  /** Since the last pause. */
  #sentBytes = 0
  /** `send` has said false: until the next turn, or until the agent has taken what is on its way to it. */
  #waitsFor: 'turn' | 'agent' | undefined
  #isHeld = false

  constructor(options: LocalLinkOptions) {
    this.name = options.end.name
    this.#options = options
  }

  get isUp(): boolean {
    return this.#phase === 'up'
  }

  attach(events: LinkEvents): void {
    const { end, agent } = this.#options
    this.#events = events
    end.join(agent, (route, frame) => events.frame(route, frame))
    // Not yet: whoever attaches is still being made.
    queueMicrotask(() => {
      if (this.#phase !== 'created') return
      this.#phase = 'up'
      events.up()
    })
  }

  route(agent: string, service: string, client: string): Route {
    return this.#options.end.routes.get(agent, service, client)
  }

  send(route: Route, header: FrameHeader, payload: Buffer | undefined): boolean {
    if (this.#phase !== 'up') return false
    if (this.#options.end.isHeld) {
      this.#awaitRelease()
      return false
    }
    if (header.type === FrameType.data && !this.#hasRoom) {
      this.#awaitRoom()
      return false
    }
    const { end } = this.#options
    const topic = end.role === 'serve' ? route.downTopic : route.upTopic
    const { packet, frame } = encodeFramePacket(topic, header, payload)
    this.#sentBytes += packet.length
    end.router.receive(end, topic, frame, packet)
    return true
  }

  publishStatus(status: string): void {
    const { end, publishStatus } = this.#options
    const payload = Buffer.from(status)
    if (end.router.takeStatus(end, end.name, payload) !== undefined) return
    publishStatus?.(payload, end.router.isOnline(end))
  }

  // No status is needed to know who is away.
  watchStatus(): void {}

  statusComplete(): Promise<void> {
    return Promise.reject(new TunnelMQError(ErrorCode.unreachable, 'statuses are not read inside the broker'))
  }

  close(): Promise<void> {
    if (this.#phase !== 'closed') {
      this.#phase = 'closed'
      this.#options.end.leave(this.#options.agent)
    }
    return Promise.resolve()
  }

  get #destination(): TunnelEnd | undefined {
    const { end, agent } = this.#options
    return agent === undefined ? undefined : end.router.endOf(end.mountpoint, agent, 'serve')
  }

  get #hasRoom(): boolean {
    return this.#sentBytes < MAX_TURN_BYTES && (this.#destination?.pendingBytes ?? 0) < MAX_PENDING_BYTES
  }

  #awaitRoom(): void {
    if (this.#waitsFor !== undefined) return
    this.#waitsFor = 'turn'
    // Behind the writes of this turn: then it is seen what the operating system has not taken.
    setImmediate(this.#look)
  }

  #awaitRelease(): void {
    if (this.#isHeld) return
    this.#isHeld = true
    this.#options.end.onceReleased(() => {
      this.#isHeld = false
      // Not within the router's own work.
      setImmediate(() => {
        if (this.#phase === 'up') this.#events?.room()
      })
    })
  }

  readonly #look = (): void => {
    if (this.#waitsFor === undefined || this.#phase !== 'up') return
    this.#sentBytes = 0
    const destination = this.#destination
    const mostBytes = this.#waitsFor === 'turn' ? MAX_PENDING_BYTES : MAX_PENDING_BYTES / 2
    if (destination !== undefined && destination.pendingBytes >= mostBytes) {
      this.#waitsFor = 'agent'
      // A connection that takes nothing is ended after `limits.drainTimeoutMs`.
      destination.onceDrained(this.#look)
      return
    }
    this.#waitsFor = undefined
    this.#events?.room()
  }
}
