import { randomBytes } from 'node:crypto'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import { MAX_TIMER_MS } from '../timer.ts'
import { AgentEndpoint, type Agent, type AgentSettings } from './agent.ts'
import { ClientEndpoint, type ClientSettings, type TunnelClient } from './client.ts'
import { checkedName } from './endpoint/checked-name.ts'
import type { Link } from './link/link.ts'
import { createMqttLink } from './link/mqtt-link.ts'
import type { AttemptFailure, MqttLinkOptions } from './link/options.ts'
import { silentLog, type TunnelLog } from './log.ts'
import { createStreams } from './protocol/create-streams.ts'
import type { Streams, StreamsLimits } from './protocol/streams.ts'

/** How a broker is reached. */
export type BrokerOptions = Pick<
  MqttLinkOptions,
  | 'url'
  | 'username'
  | 'password'
  | 'tls'
  | 'topicPrefix'
  | 'keepaliveSeconds'
  | 'connectTimeoutMs'
  | 'maxPendingBytes'
>

/** What agents and clients have in common. */
export interface EndOptions extends BrokerOptions {
  /** What streams may take; each has a default. */
  readonly limits?: Partial<StreamsLimits>
  /** An attempt to connect has failed; the next one follows, until this end is closed. */
  onConnectFailed?(failure: AttemptFailure): void
}

export interface AgentOptions extends AgentSettings, EndOptions {
  /** Name of the agent, and its MQTT client id: 1 to 64 of `A-Z a-z 0-9 . _ -`. */
  readonly id: string
}

export interface TunnelClientOptions extends ClientSettings, EndOptions {
  /** MQTT client id. Default `tunnelmq-` and 8 random hex digits. */
  readonly id?: string
}

const RANDOM_ID_BYTES = 4

/**
 * Begins to offer services over a broker, and goes on until it is closed.
 * @throws {TunnelMQError} TMQ_USAGE or TMQ_FILE for options that cannot be right.
 */
export function createAgent(options: AgentOptions): Agent {
  const name = checkedName('agent', options.id)
  const link = connect('agent', name, options)
  return new AgentEndpoint(options, { link, streams: streamsOf('agent', options) })
}

/**
 * Connects to a broker, to open streams to the services of its agents.
 * @throws {TunnelMQError} TMQ_USAGE or TMQ_FILE for options that cannot be right.
 */
export function createTunnelClient(options: TunnelClientOptions): TunnelClient {
  const name = checkedName('client', options.id ?? randomId())
  const link = connect('client', name, options)
  return new ClientEndpoint(options, { link, streams: streamsOf('client', options) })
}

function streamsOf(role: 'agent' | 'client', { limits = {} }: EndOptions): Streams {
  for (const [name, value] of Object.entries(limits)) {
    const most = name.endsWith('Ms') ? MAX_TIMER_MS : Number.MAX_SAFE_INTEGER
    if (Number.isInteger(value) && value >= 1 && value <= most) continue
    const message = `limits.${name} is ${value}, and not a whole number from 1 to ${most}`
    throw new TunnelMQError(ErrorCode.usage, message)
  }
  // docs/tunnel-protocol.md 4.2
  return createStreams({ role, limits, firstStreamId: randomBytes(4).readUInt32BE(0) })
}

/** Two clients that were given no name must not end each other. */
function randomId(): string {
  return `tunnelmq-${randomBytes(RANDOM_ID_BYTES).toString('hex')}`
}

function connect(role: 'agent' | 'client', name: string, options: EndOptions & { log?: TunnelLog }): Link {
  const { url, username, password, tls, topicPrefix, keepaliveSeconds, connectTimeoutMs } = options
  const { maxPendingBytes, log = silentLog } = options
  return createMqttLink({
    role,
    name,
    url,
    username,
    password,
    tls,
    topicPrefix,
    keepaliveSeconds,
    connectTimeoutMs,
    maxPendingBytes,
    onAttemptFailed: (failure) => {
      const { error, attempts, retryInMs } = failure
      log.warn({ reason: error.message, attempts, retryInMs }, 'tunnel cannot connect to the broker')
      options.onConnectFailed?.(failure)
    },
  })
}
