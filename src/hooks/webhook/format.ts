import type { GrantedRights } from '../granted-rights.ts'
import type {
  DisconnectReason,
  MessageProperties,
  PublishRequest,
  RefusalDetails,
  QoS,
  RefuseReason,
  Session,
  SubscribeRequest,
  TunnelRequest,
} from '../types.ts'
import type { ServiceRequest } from './service.ts'

/** What the service is asked. */
export type Question =
  | { readonly hook: 'authConnect' }
  | { readonly hook: 'authPublish'; readonly message: Readonly<PublishRequest> }
  | { readonly hook: 'authSubscribe'; readonly subscriptions: readonly Readonly<SubscribeRequest>[] }
  | { readonly hook: 'authTunnel'; readonly tunnel: TunnelRequest }

/** What it is told. */
export type Notice =
  | { readonly hook: 'connect' }
  | { readonly hook: 'publish'; readonly message: Readonly<PublishRequest> }
  | { readonly hook: 'subscribe'; readonly subscriptions: readonly Readonly<SubscribeRequest>[] }
  | { readonly hook: 'unsubscribe'; readonly topics: readonly string[] }
  | { readonly hook: 'disconnect'; readonly why: DisconnectReason }

export interface SubscriptionAnswer {
  readonly topic: string
  readonly qos: QoS
  /** Why this filter is refused. */
  readonly refused?: string
  /** As `refusedCode` of a SubscribeRequest. */
  readonly refusedCode?: number
}

/** A yes, with what the service has changed. */
export interface Allowed {
  readonly verdict: 'allow'
  readonly username?: string
  readonly clientId?: string
  readonly topic?: string
  readonly payload?: Buffer
  readonly qos?: QoS
  readonly retain?: boolean
  /** In the place of those that the message has. */
  readonly properties?: MessageProperties
  readonly messageExpirySeconds?: number
  /** One for each that was asked about, in their order. */
  readonly subscriptions?: readonly SubscriptionAnswer[]
  readonly rights?: GrantedRights
  /** Unix time at which the client's right to be here ends. */
  readonly endsAtMs?: number
}

export type Answer =
  | Allowed
  | {
      readonly verdict: 'deny'
      readonly reason: string
      readonly refuse: RefuseReason
      /** For a client of MQTT 5. */
      readonly details?: RefusalDetails
    }
  | { readonly verdict: 'ignore' }

/** How questions become HTTP requests, and answers come out of their bodies. */
export interface Format {
  request(session: Session, asked: Question | Notice): ServiceRequest
  /** Throws an Error that says what is wrong with the text. */
  answer(text: string, session: Session, question: Question): Answer
  /** Answers of these kinds follow `Cache-Control`. */
  readonly cachesByHeader: ReadonlySet<Answer['verdict']>
}

export interface FormatOptions {
  readonly payload: 'base64' | 'text' | 'none'
  readonly sendCertificatePem: boolean
  readonly headers: Readonly<Record<string, string>>
  readonly mountpoint: string
  /** Of VerneMQ's format: clients of MQTT 5 have hooks of their own. */
  readonly mqtt5Hooks?: readonly unknown[] | undefined
  /** Something in an answer has no effect here: said once for each. */
  readonly onIgnored: (what: string) => void
}

export function encodePayload(payload: Buffer, encoding: 'base64' | 'text'): string {
  return payload.toString(encoding === 'base64' ? 'base64' : 'utf8')
}

/** Throws: it is not what it should be. */
export function decodePayload(text: string, encoding: FormatOptions['payload']): Buffer {
  if (encoding === 'text') return Buffer.from(text)
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text)) throw new Error('the payload is not base64')
  return Buffer.from(text, 'base64')
}

/** JSON has texts alone; undefined: the bytes are none. */
export function passwordText(password: Buffer | undefined): string | null | undefined {
  if (password === undefined) return null
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(password)
  } catch {
    return undefined
  }
}

export function parseObject(text: string): Record<string, unknown> {
  const value: unknown = JSON.parse(text)
  if (!isRecord(value)) throw new Error('it is not an object')
  return value
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A key that may be missing, and has this type when it is there. Throws otherwise. */
export function optional<Type extends 'string' | 'boolean' | 'number'>(
  object: Record<string, unknown>,
  key: string,
  type: Type,
): { string: string; boolean: boolean; number: number }[Type] | undefined {
  const value = object[key]
  if (value === undefined || value === null) return undefined
  if (typeof value !== type) throw new Error(`${key} is not a ${type}`)
  return value as { string: string; boolean: boolean; number: number }[Type]
}

/** What a service has made of a message. `qos`: as it stands there. Throws: it is not what it should be. */
export function readRewritten(
  answer: Record<string, unknown>,
  qos: unknown,
  encoding: FormatOptions['payload'],
): Pick<Allowed, 'topic' | 'payload' | 'retain' | 'qos'> {
  const topic = optional(answer, 'topic', 'string')
  const payload = optional(answer, 'payload', 'string')
  const retain = optional(answer, 'retain', 'boolean')
  if (qos !== undefined && !isQoS(qos)) throw new Error('qos is none of 0, 1 and 2')
  return {
    ...(topic !== undefined && { topic }),
    ...(payload !== undefined && { payload: decodePayload(payload, encoding) }),
    ...(retain !== undefined && { retain }),
    ...(qos !== undefined && { qos }),
  }
}

export function isQoS(value: unknown): value is QoS {
  return value === 0 || value === 1 || value === 2
}

/** A request in JSON with these headers. */
export function jsonRequest(body: object, headers: Readonly<Record<string, string>>): ServiceRequest {
  return { headers: { ...headers, 'content-type': 'application/json' }, body: JSON.stringify(body) }
}
