/** The closed list of error codes; each has a line in docs/errors.md, and a test compares the two. */
export const ErrorCode = {
  config: 'TMQ_CONFIG',
  usage: 'TMQ_USAGE',
  listen: 'TMQ_LISTEN',
  store: 'TMQ_STORE',
  storeUnavailable: 'TMQ_STORE_UNAVAILABLE',
  handler: 'TMQ_HANDLER',
  file: 'TMQ_FILE',
  protocol: 'TMQ_PROTOCOL',
  proxyProtocol: 'TMQ_PROXY_PROTOCOL',
  limit: 'TMQ_LIMIT',
  timeout: 'TMQ_TIMEOUT',
  stopped: 'TMQ_STOPPED',
  unreachable: 'TMQ_UNREACHABLE',
  credentials: 'TMQ_CREDENTIALS',
  tunnel: 'TMQ_TUNNEL',
  exists: 'TMQ_EXISTS',
  changed: 'TMQ_CHANGED',
} as const
export type ErrorCode = (typeof ErrorCode)[keyof typeof ErrorCode]

/** An error of ours, with a code from {@link ErrorCode}: something here went wrong, or was asked for wrongly. */
export class TunnelMQError extends Error {
  readonly code: ErrorCode
  override name = 'TunnelMQError'

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** The peer broke a rule or a limit: ends its connection, is logged at info, and is nobody else's problem. */
export class PeerError extends TunnelMQError {
  override name = 'PeerError'
}
