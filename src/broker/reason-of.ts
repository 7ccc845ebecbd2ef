import type { Decision } from '../hooks/decision.ts'
import { RefuseReason, type DisconnectReason } from '../hooks/types.ts'
import { ConnackCode, type ProtocolVersion } from './packets/types.ts'
import { ReasonCode } from './packets/reason.ts'

/** What the broker says in a DISCONNECT (MQTT 5, 3.14.2.1); undefined: nothing, as the client has ended it, or is not there. */
export function disconnectCode({ kind, reasonCode }: DisconnectReason): ReasonCode | undefined {
  if (kind === 'client' || kind === 'lost') return undefined
  if (reasonCode === undefined) return CODES[kind]
  // [MQTT-3.14.2-1]
  return REFUSALS.disconnect.has(reasonCode) ? (reasonCode as ReasonCode) : ReasonCode.unspecifiedError
}

/** The reason string with it: our own words about what the client does, and nothing of what is only for the log. */
export function disconnectText({ kind, detail, clientText }: DisconnectReason): string | undefined {
  return clientText ?? (IS_TOLD.has(kind) ? detail : undefined)
}

/** Its own doing, in words that are ours. Others name errors, addresses, and what handlers have said for the log. */
const IS_TOLD: ReadonlySet<DisconnectReason['kind']> = new Set(['protocol', 'limit', 'keepalive'])

const CODES: Readonly<Record<Exclude<DisconnectReason['kind'], 'client' | 'lost'>, ReasonCode>> = {
  refused: ReasonCode.notAuthorized,
  keepalive: ReasonCode.keepAliveTimeout,
  protocol: ReasonCode.protocolError,
  'taken-over': ReasonCode.sessionTakenOver,
  revoked: ReasonCode.notAuthorized,
  limit: ReasonCode.quotaExceeded,
  kicked: ReasonCode.administrativeAction,
  shutdown: ReasonCode.serverShuttingDown,
  // The store, a handler, other pods: it has done nothing wrong, and may come again.
  error: ReasonCode.serverBusy,
}

/** A refusal of a CONNECT, as clients before MQTT 5 know it (MQTT 3.1.1, 3.2.2.3). */
export function connackCodeOf(code: ReasonCode): ConnackCode {
  switch (code) {
    case ReasonCode.success:
      return ConnackCode.accepted
    case ReasonCode.unsupportedProtocolVersion:
      return ConnackCode.unacceptableProtocol
    case ReasonCode.clientIdentifierNotValid:
      return ConnackCode.identifierRejected
    case ReasonCode.badUserNameOrPassword:
      return ConnackCode.badCredentials
    case ReasonCode.serverUnavailable:
    case ReasonCode.serverBusy:
    case ReasonCode.quotaExceeded:
    case ReasonCode.connectionRateExceeded:
    case ReasonCode.useAnotherServer:
    case ReasonCode.serverMoved:
    case ReasonCode.unspecifiedError:
    case ReasonCode.implementationSpecificError:
      return ConnackCode.unavailable
    default:
      return ConnackCode.notAuthorized
  }
}

/** In a SUBACK: the granted QoS, or a failure, of which MQTT 3.1.1 knows one (3.9.3). */
export function subackCodeOf(code: number, version: ProtocolVersion): number {
  return version < 5 && code > 0x80 ? 0x80 : code
}

const CODE_OF: Record<RefuseReason, ReasonCode> = {
  [RefuseReason.identifierRejected]: ReasonCode.clientIdentifierNotValid,
  [RefuseReason.unavailable]: ReasonCode.serverUnavailable,
  [RefuseReason.badCredentials]: ReasonCode.badUserNameOrPassword,
  [RefuseReason.notAuthorized]: ReasonCode.notAuthorized,
}

/** Reason codes that each packet of ours can refuse with (MQTT 5, table 2-6). */
const REFUSALS = {
  connack: new Set([...range(0x80, 0x8a), 0x8c, 0x90, 0x95, 0x97, ...range(0x99, 0x9d), 0x9f]),
  puback: new Set([0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]),
  suback: new Set([0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2]),
  disconnect: new Set<number>([
    ...range(0x80, 0x83),
    0x87,
    0x89,
    0x8b,
    0x8d,
    0x8e,
    0x8f,
    0x90,
    ...range(0x93, 0xa2),
  ]),
} as const satisfies Record<string, ReadonlySet<number>>

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index)
}

/**
 * What a handler's refusal is in this packet of MQTT 5 (`puback` is PUBREC as well): its own code where the packet can have
 * that; else its reason; else, as most packets know no more: not authorized, or unspecified if it may help to come again.
 */
export function refusalCode(
  packet: keyof typeof REFUSALS,
  { refuse, reasonCode }: Pick<Decision, 'refuse' | 'reasonCode'>,
): ReasonCode {
  const codes: ReadonlySet<number> = REFUSALS[packet]
  if (reasonCode !== undefined && codes.has(reasonCode)) return reasonCode as ReasonCode
  const code = reasonCodeOf(refuse)
  if (codes.has(code)) return code
  return refuse === RefuseReason.unavailable ? ReasonCode.unspecifiedError : ReasonCode.notAuthorized
}

/** Of a refusal; for devices, what is not said is that they may not. */
export function reasonCodeOf(reason: RefuseReason = RefuseReason.notAuthorized): ReasonCode {
  return CODE_OF[reason]
}
