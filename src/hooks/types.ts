import type { Peer } from '../peer.ts'

export type Awaitable<T> = T | Promise<T>
export type QoS = 0 | 1 | 2

/**
 * What an auth method returns to leave the decision to the next handler of the chain.
 * Returning nothing allows; throwing {@link AuthError} refuses.
 */
export const noOpinion: unique symbol = Symbol.for('tunnelmq.noOpinion')
export type NoOpinion = typeof noOpinion
// `void` lets a handler be written without a return statement.
export type Verdict = Awaitable<void | NoOpinion>

/** User properties: pairs in their order; a name may come more than once (MQTT 5, 3.3.2.3.7). */
export type UserProperties = readonly (readonly [name: string, value: string])[]

/**
 * What MQTT 5 says about a message beside topic and payload (3.3.2.3): travels with it to clients that speak MQTT 5, and
 * waits with it in queues and as retained.
 */
export interface MessageProperties {
  /** 1: the payload is UTF-8 text. */
  readonly payloadFormatIndicator?: 0 | 1
  /** A MIME type, as a rule. */
  readonly contentType?: string
  readonly responseTopic?: string
  readonly correlationData?: Buffer
  readonly userProperties?: UserProperties
}

/** Why a connection is refused; decides the CONNACK code (MQTT 3.1.1, 3.2.2.3). */
export const RefuseReason = {
  identifierRejected: 'identifier-rejected',
  unavailable: 'unavailable',
  badCredentials: 'bad-credentials',
  notAuthorized: 'not-authorized',
} as const
export type RefuseReason = (typeof RefuseReason)[keyof typeof RefuseReason]

/** What a client of MQTT 5 is told about a refusal, beside what follows from its reason. Others are told nothing of it. */
export interface RefusalDetails {
  /**
   * A reason code of MQTT 5 (2.4), 0x80 to 0xa2, for example 0x97 (quota exceeded). Where the packet that refuses cannot
   * have it, the reason decides.
   */
  readonly reasonCode?: number
  /** For people: the client shows or logs it. Nothing that a stranger should not know. */
  readonly reasonString?: string
  /** In CONNACK and DISCONNECT. */
  readonly userProperties?: UserProperties
}

/** Thrown by an auth method to refuse. Any other error refuses as well (fail closed), and is logged as ours. */
export class AuthError extends Error implements RefusalDetails {
  readonly reason: RefuseReason
  declare readonly reasonCode?: number
  declare readonly reasonString?: string
  declare readonly userProperties?: UserProperties
  override name = 'AuthError'

  /** `message` is for the log; `details` are for clients of MQTT 5. */
  constructor(
    message = 'not authorized',
    reason: RefuseReason = RefuseReason.notAuthorized,
    details?: RefusalDetails,
  ) {
    super(message)
    this.reason = reason
    if (details !== undefined) Object.assign(this, details)
  }
}

export interface Will {
  topic: string
  payload: Buffer
  qos: QoS
  retain: boolean
  /** Of MQTT 5; as {@link PublishRequest.properties}. */
  properties?: MessageProperties | undefined
  /** Seconds for which the will is worth sending, from when it is due. */
  messageExpirySeconds?: number | undefined
  /** Seconds between the end of the connection and the will (MQTT 5, 3.1.3.2.2). */
  delaySeconds?: number | undefined
}

/** What a CONNECT of MQTT 5 says about the connection (3.1.2.11), as the client has sent it. */
export interface ConnectProperties {
  /** Seconds; 0xffffffff: never. */
  readonly sessionExpiryInterval?: number
  readonly receiveMaximum?: number
  /** Bytes. */
  readonly maximumPacketSize?: number
  readonly topicAliasMaximum?: number
  readonly requestResponseInformation?: 0 | 1
  readonly requestProblemInformation?: 0 | 1
  readonly userProperties?: UserProperties
  /** Set: it authenticates by {@link Handler.authenticate}, and authConnect is not asked. */
  readonly authenticationMethod?: string
}

/** One connection, the same object in every call from authConnect to disconnect. */
export interface Session {
  /** Client id, username, password and will may be rewritten in authConnect (or authenticate at CONNECT), and only there. */
  id: string
  username: string | undefined
  /** Wiped (filled with zeros, then undefined) when authConnect has returned. */
  password: Buffer | undefined
  will: Will | undefined
  readonly clean: boolean
  /** Seconds, as in CONNECT; 0: none. */
  readonly keepalive: number
  /** 3: MQTT 3.1, 4: MQTT 3.1.1, 5: MQTT 5. */
  readonly protocolVersion: number
  /** Undefined before MQTT 5. */
  readonly properties?: ConnectProperties | undefined
  /** User properties for the CONNACK that accepts (MQTT 5): what authConnect or authenticate add to it is sent. */
  readonly connackProperties?: [name: string, value: string][] | undefined
  /** Real address, listener, transport, certificate and TLS facts. */
  readonly peer: Peer
  readonly connectedAtMs: number
  /** For handlers' own facts: role, tenant, expiry. */
  readonly attributes: Map<string, unknown>
  /** Fires when the connection closes. */
  readonly signal: AbortSignal
}

export interface PublishRequest {
  /** May be rewritten in authPublish: what is rewritten is what is stored, matched and delivered. */
  topic: string
  payload: Buffer
  retain: boolean
  /** May be lowered in authPublish, for those who receive it; the packet is acknowledged as it asks. */
  qos: QoS
  readonly dup: boolean
  readonly isWill: boolean
  /**
   * Of MQTT 5: a new object may be put here in authPublish, also for clients of 3.1.1; the old one is never changed.
   * Undefined: it has none.
   */
  properties?: MessageProperties | undefined
  /** Seconds for which the message is worth having, from now; may be rewritten. Undefined: as the configuration says. */
  messageExpirySeconds?: number | undefined
}

/** What a SUBSCRIBE of MQTT 5 says beside filter and QoS (3.8.2.1, 3.8.3.1). To be read: changes to it are ignored. */
export interface SubscriptionOptions {
  /** What the client itself publishes is not sent to it. */
  readonly noLocal?: boolean
  /** RETAIN of what is published later is delivered as it was set. */
  readonly retainAsPublished?: boolean
  /** Retained messages are sent: 0: yes, 1: if the subscription is new, 2: no. */
  readonly retainHandling?: 0 | 1 | 2
  /** Comes back with each message: 1 to 268,435,455. */
  readonly subscriptionIdentifier?: number
  /** Of the SUBSCRIBE; they are not kept, so not there when a subscription is asked about again. */
  readonly userProperties?: UserProperties
}

/** Options are undefined for clients before MQTT 5. */
export interface SubscribeRequest extends SubscriptionOptions {
  /** The filter; may be rewritten in authSubscribe. UNSUBSCRIBE of the original goes on working. */
  topic: string
  /** May be lowered in authSubscribe. */
  qos: QoS
  /** Group of `$share/<group>/<filter>`; `topic` is then the filter alone. */
  readonly shareGroup?: string
  /** Set to refuse this filter alone: SUBACK 0x80; MQTT 5: 0x87, or `refusedCode`. */
  refused?: boolean | string
  /** With `refused`: a reason code that a SUBACK can have (MQTT 5, 3.9.3). */
  refusedCode?: number
}

/** A request to serve or open a tunnel (docs/handlers.md). */
export interface TunnelRequest {
  readonly action: 'serve' | 'open'
  readonly agent: string
  readonly service: string
  readonly topic: string
}

/** What `why` would like to have explained: the request of an auth method, without what nobody knows (passwords, payloads). */
export type ExplainQuestion =
  | { readonly action: 'connect' }
  | { readonly action: 'publish'; readonly topic: string; readonly qos: QoS; readonly retain: boolean }
  | { readonly action: 'subscribe'; readonly topic: string; readonly qos: QoS; readonly shareGroup?: string }
  | ({ readonly action: 'serve' | 'open' } & TunnelRequest)

/** Which rule of a handler decides, for people: never a secret. */
export interface RuleExplanation {
  /** For example file, line and text of the rule. */
  readonly rule?: string
  readonly reason?: string
  /** The answer is remembered from an earlier time. */
  readonly isCached?: boolean
  /** Of `connect`, which is explained without a password and without a question to authConnect: what it will say. */
  readonly opinion?: 'allowed' | 'refused' | 'none'
}

/**
 * One authentication by a method of MQTT 5 (4.12), from CONNECT, or AUTH with the reason "re-authenticate", to its end: the
 * same object in each of its rounds. A connection has one at a time.
 */
export interface AuthExchange {
  readonly method: string
  /** The client is connected, and goes on as it was if this succeeds. Its user name cannot become another one. */
  readonly isReAuthentication: boolean
  /** For what a handler has to know in the next round. */
  state: unknown
}

/** A further round, with data for the client; or the end, with the last data, if there is any. */
export type AuthAnswer = { readonly continue: Buffer } | { readonly success: Buffer | undefined } | NoOpinion

export interface DisconnectReason {
  /** `client`: DISCONNECT; `refused`: authConnect said no; `lost`: the network; else we closed it. */
  readonly kind:
    | 'client'
    | 'refused'
    | 'lost'
    | 'keepalive'
    | 'protocol'
    | 'taken-over'
    | 'revoked'
    | 'limit'
    | 'kicked'
    | 'shutdown'
    | 'error'
  readonly detail?: string
  /** Of MQTT 5, where it says more than the kind: what the client has said, or is told (2.4). */
  readonly reasonCode?: number
  /** Of a refusal of a handler: for a client of MQTT 5. The detail is for the log. */
  readonly clientText?: string
  readonly userProperties?: UserProperties
}

/**
 * Authentication and authorization, mirroring mGate's `Handler`.
 *
 * An auth method may refuse; a notifying method is told afterwards and never affects the client.
 * A missing method has no opinion. In a chain the first opinion decides; if there is none, it is refused.
 * Auth methods have a deadline and fail closed. A synchronous handler costs no promise.
 */
export interface Handler {
  readonly name?: string
  /**
   * True: it knows who this client is by something else than username and password (a certificate). Then the chain is
   * asked where `allowAnonymous` would let a client without a username in. Synchronous; a throw counts as true.
   */
  recognizes?(session: Session): boolean
  /** Once for each CONNECT, before the CONNACK. May rewrite id, username and will. */
  authConnect?(session: Session): Verdict
  /** Methods of {@link authenticate}, as clients name them. Undefined: it is asked about every method. */
  readonly authMethods?: readonly string[]
  /**
   * A round of an authentication by a method of MQTT 5, in place of authConnect: at CONNECT, and when the client
   * authenticates again. The first that does not return noOpinion in the first round has the exchange to its end; an AuthError
   * refuses, also of one that would have no opinion on others. It sets `session.username` before it returns success. If all
   * have none, the method is refused as unknown. `data` is wiped when it has answered.
   */
  authenticate?(session: Session, exchange: AuthExchange, data: Buffer | undefined): Awaitable<AuthAnswer>
  /**
   * Asked last, when another handler or `allowAnonymous` has let the client in, maybe without a question to this one:
   * throws an AuthError if that may not be. Synchronous.
   */
  vetoConnect?(session: Session): void
  /** For each PUBLISH (QoS 2: each new one), and for the will at CONNECT and when it is sent. */
  authPublish?(session: Session, message: PublishRequest): Verdict
  /** Once for each SUBSCRIBE with all its filters; also when a stored session is restored or rights change. */
  authSubscribe?(session: Session, subscriptions: SubscribeRequest[]): Verdict
  /** For each delivery, synchronous: false is silently not delivered, undefined has no opinion. Default: allowed. */
  authDeliver?(session: Session, message: Readonly<PublishRequest>): boolean | undefined
  /**
   * Once when an agent subscribes (serve), once for each stream (open), and again when rights change.
   * Default: authSubscribe (serve) or authPublish (open) with the tunnel's topic.
   */
  authTunnel?(session: Session, tunnel: TunnelRequest): Verdict
  /** After the CONNACK that accepts. */
  connect?(session: Session): Awaitable<void>
  /** After the message was accepted (QoS 1 and 2: after it is safe). */
  publish?(session: Session, message: Readonly<PublishRequest>): Awaitable<void>
  /** After the SUBACK, with the filters that were granted. */
  subscribe?(session: Session, subscriptions: readonly SubscribeRequest[]): Awaitable<void>
  /** After the UNSUBACK, with the filters as the client named them. */
  unsubscribe?(session: Session, topics: readonly string[]): Awaitable<void>
  /** Exactly once for each authConnect (or authentication at CONNECT), also when it refused. */
  disconnect?(session: Session, why: DisconnectReason): Awaitable<void>
  /**
   * Asked for each live session after this handler's rights have changed (a reloaded file):
   * false closes the connection as revoked. Subscriptions are asked again through authSubscribe.
   */
  stillAllowed?(session: Session): Awaitable<boolean>
  /**
   * Says which rule decides, for `tunnelmq why`; synchronous and without effects. The auth method itself is asked right
   * after it (but for `connect`); the session may be one that is made up, of a client that is not connected. Undefined:
   * nothing to say. What it throws is ignored.
   */
  explain?(session: Session, question: ExplainQuestion): RuleExplanation | undefined
}

/** A handler with a life of its own: files to watch, connections to close. */
export interface ManagedHandler extends Handler {
  readonly name: string
  /** SIGHUP. Rejects with a TunnelMQError that names file and line; the old rights then stay in force. */
  reload?(): Promise<void>
  close?(): Promise<void>
  /**
   * Called with a listener that is to be run after each change of rights: those of one session, of those for which the
   * function says so (at once), or of all.
   */
  onChange?(listener: (concerned?: Session | ((session: Session) => boolean)) => void): void
}
