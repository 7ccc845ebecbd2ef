import type { PodId } from '../../cluster/contract.ts'
import type { TunnelConfig } from '../../config/tunnel-schema.ts'
import { FrameType, HEADER_BYTES, MAX_DATA_BYTES } from '../protocol/frame.ts'
import { parseFrameTopic } from '../protocol/names.ts'
import type { TunnelCounters } from './counters.ts'
import { EarlyFrames } from './early-frames.ts'
import type { TunnelEnd } from './end.ts'
import { Relays } from './relays.ts'
import type { RemoteEnd } from './remote-end.ts'
import type { Namespaces, TunnelRole, Way } from './seats.ts'

export interface PodFramesContext {
  readonly config: TunnelConfig
  readonly namespaces: Namespaces
  readonly counters: TunnelCounters
  readonly now: () => number
  /** It may be given this frame; else it is counted. */
  readonly hasRoom: (end: TunnelEnd, frame: Buffer) => boolean
  /** A frame of a stream that is at home here. */
  readonly receive: (end: TunnelEnd, topic: string, frame: Buffer) => void
}

/** Of DATA, the largest (docs/tunnel-protocol.md 10). */
const MAX_FRAME_BYTES = HEADER_BYTES + MAX_DATA_BYTES

/**
 * Frames from and to other pods. At the pod of the agent a frame is passed on as it is, from one whose place it is to
 * one that is there, without a look at what it says: that is for the home of its stream.
 */
export class PodFrames {
  readonly #context: PodFramesContext
  readonly #relays: Relays
  readonly #early: EarlyFrames

  constructor(context: PodFramesContext) {
    this.#context = context
    this.#relays = new Relays(context.namespaces, context.config.maxStreamsPerAgent)
    this.#early = new EarlyFrames(context.now)
  }

  /** Every second. */
  sweep(): void {
    this.#relays.sweep()
    this.#early.sweep()
  }

  /** It has its place at its pod, and not before. */
  seated({ pod, mountpoint, name }: RemoteEnd, role: TunnelRole): void {
    for (const { topic, frame } of this.#early.take({ mountpoint, name, role }, pod))
      this.receive(pod, mountpoint, topic, frame)
  }

  /** Another pod has looked whose place the sender has; here it is seen that it has it there. */
  receive(pod: PodId, mountpoint: string, topic: string, frame: Buffer): void {
    const { namespaces, counters } = this.#context
    const known = namespaces.get(mountpoint)?.ways.get(topic)
    if (known !== undefined) {
      this.#take(pod, known, frame)
      return
    }
    const parts = parseFrameTopic(topic)
    if (parts === undefined) {
      counters.dropped.malformed++
      return
    }
    const namespace = namespaces.at(mountpoint)
    const lane = namespace.lane(parts.agent, parts.service, parts.client)
    this.#take(pod, lane[parts.direction], frame)
    namespace.tidy(lane)
  }

  #take(pod: PodId, way: Way, frame: Buffer): void {
    const { counters, receive } = this.#context
    const { from, lane, topic, direction } = way
    const isUp = direction === 'up'
    if (!from.isElsewhere || from.remote?.pod !== pod) {
      // The home of a stream has the last word, also when its client has left.
      if (isUp && frame[0] === FrameType.reset) this.#toAgent(way, frame)
      else this.#keep(pod, way, frame)
    } else if (isUp) this.#toAgent(way, frame)
    else if (lane.client.isElsewhere) counters.dropped.away++
    else receive(from.remote, topic, frame)
  }

  #keep(pod: PodId, { from, topic, direction }: Way, frame: Buffer): void {
    const { mountpoint, name } = from
    const sender = { mountpoint, name, role: direction === 'up' ? 'answers' : 'serve' } as const
    if (!this.#early.keep(sender, pod, topic, frame)) this.#context.counters.dropped.slow++
  }

  #toAgent({ lane, topic, to }: Way, frame: Buffer): void {
    const { counters, hasRoom } = this.#context
    const end = to.local ?? (frame[0] === FrameType.reset ? to.dismissed : undefined)
    if (end === undefined || frame.length < HEADER_BYTES) {
      counters.dropped.away++
      return
    }
    if (!hasRoom(end, frame)) return
    this.#relays.used(lane)
    end.deliver(topic, undefined, frame)
  }

  /** From an agent to a client at another pod, where its stream is at home. */
  relay({ lane, topic, from, to }: Way, frame: Buffer): void {
    const { counters, hasRoom } = this.#context
    const { remote } = to
    // Not from pod to pod to pod; and what is not announced has no streams elsewhere.
    if (remote === undefined || from.local === undefined || from.local.isBroker) {
      counters.dropped.away++
      return
    }
    if (!hasRoom(remote, frame)) return
    this.#relays.used(lane)
    // The home answers what is too long; it need not see all of it for that.
    remote.send(topic, frame.length <= MAX_FRAME_BYTES ? frame : frame.subarray(0, MAX_FRAME_BYTES + 1))
  }
}
