import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { ResetName } from '../tunnel/protocol/reset-code.ts'
import { TunnelError } from '../tunnel/tunnel-error.ts'

/** How the commands of tunnels end: the closed list of docs/tunnels.md, and a test compares the two. */
export const TunnelExit = {
  ok: 0,
  failed: 1,
  /** Called or configured wrongly; nothing was tried. */
  usage: 2,
  noSuchAgent: 3,
  agentOffline: 4,
  forbidden: 5,
  unknownService: 6,
  targetRefused: 7,
  targetUnreachable: 8,
  brokerUnreachable: 9,
  badCredentials: 10,
  portInUse: 11,
} as const
export type TunnelExit = (typeof TunnelExit)[keyof typeof TunnelExit]

/** A command has failed, with what is to be said and the code to end with. */
export class CommandFailure extends Error {
  override name = 'CommandFailure'
  readonly exitCode: TunnelExit

  constructor(exitCode: TunnelExit, message: string, options?: ErrorOptions) {
    super(message, options)
    this.exitCode = exitCode
  }
}

const ofErrorCode: Partial<Record<ErrorCode, TunnelExit>> = {
  [ErrorCode.config]: TunnelExit.usage,
  [ErrorCode.usage]: TunnelExit.usage,
  [ErrorCode.file]: TunnelExit.usage,
  [ErrorCode.unreachable]: TunnelExit.brokerUnreachable,
  [ErrorCode.credentials]: TunnelExit.badCredentials,
  [ErrorCode.listen]: TunnelExit.portInUse,
}

const ofReset: Partial<Record<ResetName, TunnelExit>> = {
  refused: TunnelExit.targetRefused,
  unreachable: TunnelExit.targetUnreachable,
  timeout: TunnelExit.targetUnreachable,
  'unknown-service': TunnelExit.unknownService,
  forbidden: TunnelExit.forbidden,
  revoked: TunnelExit.forbidden,
  'agent-offline': TunnelExit.agentOffline,
}

/** Runs the action of a command; what it rejects with becomes a CommandFailure. */
export async function withTunnelExit(action: () => Promise<void>): Promise<void> {
  try {
    await action()
  } catch (error) {
    if (error instanceof CommandFailure) throw error
    const message = error instanceof Error ? error.message : String(error)
    throw new CommandFailure(exitOf(error), message, { cause: error })
  }
}

function exitOf(error: unknown): TunnelExit {
  if (error instanceof TunnelError && error.isUnknownAgent) return TunnelExit.noSuchAgent
  if (error instanceof TunnelError) return ofReset[error.reset] ?? TunnelExit.failed
  if (error instanceof TunnelMQError) return ofErrorCode[error.code] ?? TunnelExit.failed
  return TunnelExit.failed
}
