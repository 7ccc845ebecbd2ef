import type { QoS } from '../../hooks/types.ts'
import type { Peer } from '../../peer.ts'
import type { EndIdentity, TunnelEnd } from '../../tunnel/router/end.ts'
import type { ListenerProfile } from '../listener-profile.ts'
import type { MessageDescription } from './packet-properties.ts'

export type { MessageDescription } from './packet-properties.ts'

/** Who comes through a door that does not speak MQTT: what its CONNECT is made of. */
export interface DoorCredentials {
  /** Default: the door's name and random letters. */
  readonly clientId?: string
  /**
   * With a password alone, such as a token, the handlers see an empty name.
   */
  readonly username?: string
  /** Wiped when authConnect has answered, but for copies that are not ours. */
  readonly password?: Buffer
}

export interface DoorClientOptions extends DoorCredentials {
  /** For client ids: `http`, `coap`, `proxy`. */
  readonly door: string
  /** Of the door's listener. */
  readonly profile: ListenerProfile
  /** Address, listener and certificate, as its socket has them. */
  readonly peer: Peer
  /** The address may be somebody else's, who is not to be banned for what is guessed in his name. */
  readonly mayBeForged?: boolean
}

export interface DoorPublish extends MessageDescription {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
}

export interface DoorMessage extends MessageDescription {
  /** Without the mountpoint. */
  readonly topic: string
  readonly payload: Buffer
  readonly qos: QoS
  /** It was retained when the subscription came. */
  readonly retain: boolean
}

export interface DoorSubscription {
  readonly filter: string
  readonly qos: QoS
}

/**
 * Why the broker does not do what was asked. `bad-credentials`: they are wrong (CONNACK 4); `forbidden`: a handler or a
 * rule of ours says no; at connect CONNACK 5, which over HTTP is 401 as well; `limited`: rates, bans and bounds (429);
 * `unavailable`: store or handler away, or we stop (503); `malformed`: an illegal topic, filter or client id (400);
 * `too-large`: the packet (413); `gone`: the connection was ended (revoked, kicked, taken over).
 */
export type DoorFailure =
  | 'bad-credentials'
  | 'forbidden'
  | 'limited'
  | 'unavailable'
  | 'malformed'
  | 'too-large'
  | 'gone'

/** The message is for people, and tells nothing that the client may not know. */
export class DoorError extends Error {
  readonly failure: DoorFailure
  override name = 'DoorError'

  constructor(failure: DoorFailure, message: string) {
    super(message)
    this.failure = failure
  }
}

export interface DoorEvents {
  /**
   * A message of a subscription. `taken` is called when the other side has it: at QoS 1 and 2 it is acknowledged then, and
   * the number that is under way at once is bounded as for any client (`limits.maxInflight`). The first may come before
   * `subscribe` has resolved.
   */
  message(message: DoorMessage, taken: () => void): void
  /** Rights have changed: of these filters nothing is heard any more. Not within a call of yours. */
  revoked(filters: readonly string[], reason: DoorError): void
  /** Once, also after `close()`; nothing follows. Not within a call of yours. */
  closed(reason: DoorError): void
}

/** One client of the broker without a socket of its own. Every failure is a {@link DoorError}. */
export interface DoorClient {
  /** As a handler has rewritten it. */
  readonly clientId: string
  readonly isOpen: boolean
  /**
   * Resolves when the promise of its QoS holds: at QoS 1 and 2 it is stored or delivered as they ask; at QoS 0 the
   * handlers have allowed it and it was handed on. Frames of tunnels are `forbidden`, as for {@link subscribe}: they
   * are for who speaks the protocol of tunnels.
   */
  publish(message: DoorPublish): Promise<void>
  /** The retained message of one topic, when authSubscribe and authDeliver allow it; undefined: there is none. */
  read(topic: string): Promise<DoorMessage | undefined>
  /** Rejects with `forbidden` when one of them is refused; nothing of it is subscribed then. */
  subscribe(subscriptions: readonly DoorSubscription[]): Promise<void>
  unsubscribe(filters: readonly string[]): Promise<void>
  /**
   * The client as an end of tunnels, for a door that carries streams: its names, and what its handlers say. What `make`
   * returns is that end from now on, in place of frames in packets: rights are asked again for it, and with the client it
   * is gone.
   */
  joinTunnels<E extends TunnelEnd & { drained(): void }>(make: (identity: EndIdentity) => E): E
  /** While the other side reads slowly: QoS 0 is dropped beyond its bound, QoS 1 waits. */
  hold(): void
  flow(): void
  /** DISCONNECT. Idempotent. What is under way is rejected with `gone`. */
  close(): void
}

/** CONNECT: resolves when it is accepted; rejects with why not. Its deadlines are those of the broker. */
export type OpenDoorClient = (options: DoorClientOptions, events: DoorEvents) => Promise<DoorClient>
