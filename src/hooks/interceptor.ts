import type {
  Awaitable,
  ConnectProperties,
  MessageProperties,
  QoS,
  Session,
  SubscriptionOptions,
  Will,
} from './types.ts'

/** `up`: from the client. `down`: to it. */
export type Direction = 'up' | 'down'

/** Password and user name are here before authConnect has been asked, and in no packet after it. */
export interface InterceptedConnect {
  readonly cmd: 'connect'
  readonly clientId: string
  readonly username: string | undefined
  readonly password: Buffer | undefined
  readonly will: Readonly<Will> | undefined
  readonly clean: boolean
  /** Seconds. */
  readonly keepalive: number
  /** 3: MQTT 3.1, 4: MQTT 3.1.1, 5: MQTT 5. */
  readonly protocolVersion: number
  /** Of MQTT 5; they cannot be changed. What authenticates is for the handler alone. */
  readonly properties?: ConnectProperties | undefined
}

export interface InterceptedPublish {
  readonly cmd: 'publish'
  /** As the client names it: without the mountpoint. */
  readonly topic: string
  /** Others may hold the same bytes: never change them in place. */
  readonly payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
  readonly dup: boolean
  /** 0 at QoS 0. */
  readonly messageId: number
  /** Of MQTT 5, also where the client speaks 3.1.1 and is not told; undefined: it has none. */
  readonly properties?: MessageProperties | undefined
  /** Seconds for which the message is worth having; down: those that are left. Undefined: no bound of its own. */
  readonly messageExpirySeconds?: number | undefined
}

export interface InterceptedSubscribe {
  readonly cmd: 'subscribe'
  readonly messageId: number
  /** Each with the options of MQTT 5, which are shown and stay as they are. */
  readonly subscriptions: readonly ({ readonly topic: string; readonly qos: QoS } & SubscriptionOptions)[]
}

export interface InterceptedUnsubscribe {
  readonly cmd: 'unsubscribe'
  readonly messageId: number
  readonly unsubscriptions: readonly string[]
}

/** To be looked at: these can be neither changed nor dropped. Reason codes are those of MQTT 5, and not there before it. */
export type InterceptedControl =
  /** Of MQTT 5 the return code is a reason code. */
  | { readonly cmd: 'connack'; readonly sessionPresent: boolean; readonly returnCode: number }
  | { readonly cmd: 'suback'; readonly messageId: number; readonly granted: readonly number[] }
  | { readonly cmd: 'unsuback'; readonly messageId: number; readonly reasonCodes?: readonly number[] }
  | {
      readonly cmd: 'puback' | 'pubrec' | 'pubrel' | 'pubcomp'
      readonly messageId: number
      readonly reasonCode?: number
    }
  /** MQTT 5. What is exchanged is for the handler alone. */
  | { readonly cmd: 'auth'; readonly reasonCode: number; readonly method: string }
  | { readonly cmd: 'disconnect'; readonly reasonCode?: number }
  | { readonly cmd: 'pingreq' | 'pingresp' }

export type InterceptedPacket =
  | InterceptedConnect
  | InterceptedPublish
  | InterceptedSubscribe
  | InterceptedUnsubscribe
  | InterceptedControl

/** Nothing, or the same packet: it goes on. Another one: that takes its place. Null: it is dropped. */
export type Interception = void | InterceptedPacket | null

/**
 * Sees the packets of a listener's clients, and may change, drop or end: docs/interceptors.md. As mGate's `Interceptor`.
 *
 * Packets of one direction of a connection are shown in their order; an answer may be a promise, with the deadline of
 * the handlers (`auth.timeoutMs`), and the packets behind it wait. A throw ends the connection: an AuthError on purpose,
 * anything else (and an answer that is not allowed, and none in time) as a failure that is reported.
 */
export interface Interceptor {
  readonly name?: string
  intercept(session: Session, packet: InterceptedPacket, direction: Direction): Awaitable<Interception>
}

/** An interceptor with a life of its own, as a handler has it. */
export interface ManagedInterceptor extends Interceptor {
  readonly name: string
  /** SIGHUP. Rejects with what is wrong; the old state then stays in force. */
  reload?(): Promise<void>
  close?(): Promise<void>
}

/** Before the handlers are asked about a packet, or after them: what they allowed, as they have rewritten it. */
export type InterceptorPlace = 'before' | 'after'

/** For programs that embed the broker. */
export interface InterceptorEntry {
  readonly interceptor: Interceptor
  /** Default: `before`. */
  readonly at?: InterceptorPlace
  /** Name of a listener; default: all. */
  readonly listener?: string
}
