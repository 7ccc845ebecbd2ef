/** TunnelMQ as a library: the broker inside your program. See docs/library.md. */
import { defaultConfig, parseConfig } from './config/load.ts'
import type { ConfigInput } from './config/schema.ts'
import type { InterceptorEntry } from './hooks/interceptor.ts'
import type { Handler } from './hooks/types.ts'
import type { Log } from './log.ts'
import { startBroker as start, type RunningBroker } from './main.ts'

export { AuthError, noOpinion, RefuseReason } from './hooks/types.ts'
export type {
  AuthAnswer,
  AuthExchange,
  ConnectProperties,
  DisconnectReason,
  ExplainQuestion,
  Handler,
  MessageProperties,
  PublishRequest,
  QoS,
  RefusalDetails,
  RuleExplanation,
  Session,
  SubscribeRequest,
  TunnelRequest,
  UserProperties,
  Will,
} from './hooks/types.ts'
export type {
  Direction,
  InterceptedConnect,
  InterceptedControl,
  InterceptedPacket,
  InterceptedPublish,
  InterceptedSubscribe,
  InterceptedUnsubscribe,
  Interception,
  Interceptor,
  InterceptorEntry,
  InterceptorPlace,
} from './hooks/interceptor.ts'
export type { Peer } from './peer.ts'
export type { ConfigInput } from './config/schema.ts'
export type { Log } from './log.ts'
export type { RunningBroker } from './main.ts'
export { ErrorCode, TunnelMQError } from './errors.ts'

export interface BrokerOptions {
  /** As in the configuration file; every key with a default may be left out. Paths start at the working directory. */
  readonly config?: ConfigInput
  /** Asked first, in this order, on every listener; see docs/handlers.md. */
  readonly handlers?: readonly Handler[]
  /** They see, change or drop packets, before those of the configuration; see docs/interceptors.md. */
  readonly interceptors?: readonly InterceptorEntry[]
  /** A pino logger, or anything with its methods. Default: silent. */
  readonly log?: Log
}

/**
 * Starts a broker; without a configuration as `tunnelmq broker` does without one.
 * Rejects with a {@link TunnelMQError} that names what is wrong.
 */
export async function startBroker(options: BrokerOptions = {}): Promise<RunningBroker> {
  const config = options.config === undefined ? defaultConfig() : (await parseConfig(options.config)).config
  return start({
    config,
    ...(options.handlers && { handlers: options.handlers }),
    ...(options.interceptors && { interceptors: options.interceptors }),
    ...(options.log && { log: options.log }),
  })
}
