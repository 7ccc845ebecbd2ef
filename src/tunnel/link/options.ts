import { X509Certificate } from 'node:crypto'
import { createSecureContext } from 'node:tls'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { MAX_TIMER_MS } from '../../timer.ts'
import { answersFilter, isTunnelName, serveFilter, statusTopic, TUNNEL_PREFIX } from '../protocol/names.ts'
import type { ConnectionOptions } from './connection.ts'
import type { WireTls } from './socket.ts'
import { type BrokerAddress, parseBrokerUrl } from './url.ts'

const DEFAULT_KEEPALIVE_SECONDS = 20
const DEFAULT_CONNECT_TIMEOUT_MS = 10_000
/** Frames beyond this wait with their streams, where the interactive ones come first. */
const DEFAULT_MAX_PENDING_BYTES = 262_144

/** MQTT 3.1.1, 1.5.3 */
const MAX_FIELD_BYTES = 65_535

/** docs/tunnel-protocol.md 3.2 */
export const OFFLINE_STATUS = '{"online":false}'

export interface MqttLinkOptions {
  /** Agents are sent what goes up, have a status and a will; clients are sent what comes down. */
  readonly role: 'agent' | 'client'
  /** Name of this end: its MQTT client id. */
  readonly name: string
  /** `mqtt://`, `mqtts://`, `ws://`, `wss://` or `unix:/path`; may hold user name and password. */
  readonly url: string
  /** Before those of the URL. */
  readonly username?: string | undefined
  readonly password?: string | Buffer | undefined
  readonly tls?: LinkTlsOptions | undefined
  /** Default `$tunnel`. docs/tunnel-protocol.md 2.2 */
  readonly topicPrefix?: string | undefined
  readonly keepaliveSeconds?: number | undefined
  /** From the first packet to the SUBACK. */
  readonly connectTimeoutMs?: number | undefined
  /** Bytes that may wait for the operating system to take them before `send` says false. */
  readonly maxPendingBytes?: number | undefined
  /** For the waits between attempts. */
  readonly random?: (() => number) | undefined
  onUp?(broker: string): void
  onDown?(down: LinkDown): void
  onAttemptFailed?(failure: AttemptFailure): void
}

export interface LinkTlsOptions {
  /** PEM, instead of the CAs that Node trusts. */
  readonly ca?: string | Buffer | undefined
  readonly cert?: string | Buffer | undefined
  readonly key?: string | Buffer | undefined
  readonly passphrase?: string | undefined
  /** Instead of the host of the URL. */
  readonly servername?: string | undefined
  readonly rejectUnauthorized?: boolean | undefined
  readonly minVersion?: 'TLSv1.2' | 'TLSv1.3' | undefined
}

export interface LinkDown {
  readonly reason: string
  readonly retryInMs: number
}

export interface AttemptFailure {
  /** `unreachable`, `credentials` or `protocol`; its message names the broker, without credentials, and what to do. */
  readonly error: TunnelMQError
  /** Attempts that have failed in a row. */
  readonly attempts: number
  readonly retryInMs: number
  /** Trying again will not help until somebody changes something. */
  readonly isFatal: boolean
  /** The link was up before. */
  readonly wasUp: boolean
}

/** Options with their defaults, checked, as each connection needs them. @throws TunnelMQError */
export function connectionOptions(options: MqttLinkOptions): ConnectionOptions {
  const { role, name, topicPrefix = TUNNEL_PREFIX, keepaliveSeconds = DEFAULT_KEEPALIVE_SECONDS } = options
  check(isTunnelName(name), `'${name}' cannot be the name of an end: 1 to 64 of A-Z a-z 0-9 . _ -`)
  check(/^[^+#\0]*[^+#/\0]$/.test(topicPrefix), `'${topicPrefix}' cannot be the prefix of topics`)
  const isKeepalive = Number.isInteger(keepaliveSeconds) && keepaliveSeconds > 0 && keepaliveSeconds <= 0xffff
  check(isKeepalive, 'the keep-alive is 1 to 65535 s')
  const { connectTimeoutMs = DEFAULT_CONNECT_TIMEOUT_MS, maxPendingBytes = DEFAULT_MAX_PENDING_BYTES } =
    options
  const isTimeout = connectTimeoutMs > 0 && connectTimeoutMs <= MAX_TIMER_MS
  check(isTimeout, `connectTimeoutMs is 1 to ${MAX_TIMER_MS} ms (24 days)`)
  check(maxPendingBytes > 0, 'maxPendingBytes is 1 or more')
  const address = parseBrokerUrl(options.url)
  const { username = address.credentials.username, password = address.credentials.password } = options
  // [MQTT-3.1.2-22]
  check(password === undefined || username !== undefined, 'a password needs a user name')
  for (const [what, value] of Object.entries({ 'user name': username, password })) {
    const isShort = value === undefined || Buffer.byteLength(value) <= MAX_FIELD_BYTES
    check(isShort, `the ${what} is longer than the ${MAX_FIELD_BYTES} bytes that MQTT can carry`)
  }
  const will = { topic: statusTopic(name, topicPrefix), payload: OFFLINE_STATUS }
  return {
    address,
    tls: wireTls(address, options.tls ?? {}),
    connect: {
      clientId: name,
      keepaliveSeconds,
      username,
      password,
      will: role === 'agent' ? will : undefined,
    },
    filter: role === 'agent' ? serveFilter(name, topicPrefix) : answersFilter(name, topicPrefix),
    connectTimeoutMs,
    maxPendingBytes,
  }
}

/** Certificates and keys are read once, so that mistakes in them are told at once. */
function wireTls(address: BrokerAddress, options: LinkTlsOptions): WireTls | undefined {
  if (address.transport !== 'tls' && address.transport !== 'wss') return undefined
  const { ca, cert, key, passphrase, servername, minVersion = 'TLSv1.2' } = options
  check((cert === undefined) === (key === undefined), 'a client certificate and its key go together')
  try {
    // What is no certificate is passed over by createSecureContext, and then nothing would be trusted.
    if (ca !== undefined) void new X509Certificate(ca)
    const secureContext = createSecureContext({ ca, cert, key, passphrase, minVersion })
    return { secureContext, servername, rejectUnauthorized: options.rejectUnauthorized ?? true }
  } catch (error) {
    const message = `the CA, certificate or key for the broker cannot be used: ${(error as Error).message}`
    throw new TunnelMQError(ErrorCode.file, message, { cause: error })
  }
}

function check(isRight: boolean, message: string): void {
  if (!isRight) throw new TunnelMQError(ErrorCode.usage, message)
}
