import type { BridgeFailureKind } from './counters.ts'

/** Why there is no connection to the other broker, for the log and for what is done next. */
export interface RemoteFailure {
  readonly kind: BridgeFailureKind
  readonly text: string
  /** Closed before the CONNACK: so do some brokers that do not know a version of MQTT. */
  readonly isSilent?: boolean
  /** The other broker has closed a connection that stood: of MQTT 3.1.1 also its way to refuse a message. */
  readonly isClosed?: boolean
}

/** CONNACK codes of MQTT 3.1.1 (3.2.2.3) and reason codes of MQTT 5 (3.2.2.2). */
const KINDS: Readonly<Record<number, BridgeFailureKind>> = {
  1: 'version',
  2: 'credentials',
  4: 'credentials',
  5: 'credentials',
  132: 'version',
  133: 'credentials',
  134: 'credentials',
  135: 'credentials',
  138: 'credentials',
  140: 'credentials',
}

const SOCKET_TEXTS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused: is the other broker running, and is the port right?',
  ENOTFOUND: 'the name of the host is not known: compare the URL and the DNS',
  EAI_AGAIN: 'the DNS does not answer: is there a network?',
  EHOSTUNREACH: 'no way to the host: compare network and firewall',
  ENETUNREACH: 'no way to the network of the host: is there a network?',
  ETIMEDOUT: 'no answer: compare host, port and firewall',
}

/** Of a socket that the other side has closed with something of ours unread; and DISCONNECT of MQTT 5. */
const CLOSINGS: ReadonlySet<unknown> = new Set(['ECONNRESET', 'EPIPE', 'DISCONNECT'])

/** Of what MQTT.js says, and of what sockets say through it; `isConnecting`: there was no CONNACK yet. */
export function failureOf(error: Error | undefined, isConnecting: boolean): RemoteFailure {
  if (error === undefined) {
    return isConnecting
      ? { kind: 'unreachable', text: 'closed before its answer to CONNECT', isSilent: true }
      : { kind: 'lost', text: 'closed by the other broker', isClosed: true }
  }
  const code: unknown = 'code' in error ? error.code : undefined
  if (isConnecting && typeof code === 'number' && error.message.startsWith('Connection refused')) {
    return { kind: KINDS[code] ?? 'refused', text: `${error.message || 'refused'} (code ${code})` }
  }
  const text = (typeof code === 'string' ? SOCKET_TEXTS[code] : undefined) ?? error.message
  if (isConnecting) return { kind: 'unreachable', text }
  return { kind: 'lost', text, isClosed: CLOSINGS.has(code) }
}
