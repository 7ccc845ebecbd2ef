import type { Decision } from '../../hooks/decision.ts'
import type { TunnelRequest } from '../../hooks/types.ts'

/** Who an end is, and what its handlers say. */
export type EndIdentity = Pick<
  TunnelEnd,
  'name' | 'mountpoint' | 'username' | 'address' | 'port' | 'authTunnel'
>

/** A connection, or the broker itself, as the router of tunnels sees it. */
export interface TunnelEnd {
  /** Its client id: the name of an agent, or of a client. */
  readonly name: string
  /** Names live within it. */
  readonly mountpoint: string
  readonly username: string | undefined
  /** The real one. */
  readonly address: string
  readonly port: number
  /** The broker's own ports and services: what they say of their clients is true, and they need no right. */
  readonly isBroker: boolean
  /** It does not come back to its streams: they end with it. */
  readonly isFleeting?: boolean
  /** Bytes on their way to it that the operating system has not taken. */
  readonly pendingBytes: number
  authTunnel(request: TunnelRequest): Decision | Promise<Decision>
  /** A frame for it. `packet`: a PUBLISH of MQTT 3.1.1 at QoS 0 to `topic` with this payload, if there is one. May be kept. */
  deliver(topic: string, packet: Buffer | undefined, frame: Buffer): void
  /** Calls it, once, when some of what waited has been taken, or the connection has ended; not within this call. */
  onceDrained(listener: () => void): void
  /** What it sends waits, until {@link release}: its frames are handled in their order. */
  hold(): void
  release(): void
}
