import type { PodId, Seat as PodSeat } from '../../cluster/contract.ts'
import { allowedBy, type Decision } from '../../hooks/decision.ts'
import type { TunnelEnd } from './end.ts'
import type { TunnelPods } from './pods.ts'

const allowed = allowedBy('the pod of the end')

/** An end that is connected to another pod. */
export class RemoteEnd implements TunnelEnd {
  readonly pod: PodId
  readonly name: string
  readonly mountpoint: string
  readonly username: string | undefined
  readonly address: string
  readonly port: number
  readonly isBroker: boolean
  readonly #pods: TunnelPods

  constructor(pods: TunnelPods, pod: PodId, seat: PodSeat) {
    this.#pods = pods
    this.pod = pod
    this.name = seat.name
    this.mountpoint = seat.mountpoint
    this.username = seat.username
    this.address = seat.address
    this.port = seat.port
    this.isBroker = seat.isBroker
  }

  /** Of all that go to other pods: they share one way. */
  get pendingBytes(): number {
    return this.#pods.pendingBytes
  }

  /** Its own pod has asked. */
  authTunnel(): Decision {
    return allowed
  }

  deliver(topic: string, _packet: Buffer | undefined, frame: Buffer): void {
    this.send(topic, frame)
  }

  /** The receiver's pod makes a PUBLISH of it. */
  send(topic: string, frame: Buffer): void {
    this.#pods.sendFrame(this.pod, this.mountpoint, topic, frame)
  }

  onceDrained(listener: () => void): void {
    this.#pods.onceDrained(listener)
  }

  // What it sends cannot wait here, and need not: `authTunnel` answers at once.
  hold(): void {}
  release(): void {}
}
