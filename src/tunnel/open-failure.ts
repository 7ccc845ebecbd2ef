import type { Destination } from './endpoint/checked-name.ts'
import { ResetCode } from './protocol/reset-code.ts'
import type { AgentInfo } from './status.ts'
import { TunnelError } from './tunnel-error.ts'

export interface OpenFailure {
  readonly to: Destination
  readonly code: ResetCode
  readonly reason: string
  /** Who said so; we, after a time-out or by the status of the agent. */
  readonly by: 'peer' | 'us'
  /** What the agent's status said last. */
  readonly agent: AgentInfo | undefined
  /** That its status was read, and there is none. */
  readonly isAbsent: boolean
  readonly isConnected: boolean
}

/** Why a stream was not opened, in words that say where to look: the broker, the agent, or the target behind it. */
export function openError(failure: OpenFailure): TunnelError {
  const isUnknownAgent = failure.code === ResetCode.agentOffline && failure.isAbsent
  return new TunnelError(failure.code, messageOf(failure), { isUnknownAgent })
}

function messageOf(failure: OpenFailure): string {
  const { to, code, reason, agent } = failure
  const name = `${to.agent}/${to.service}`
  switch (code) {
    case ResetCode.agentOffline:
      return offlineMessage(failure)
    case ResetCode.forbidden:
      return `no right to ${name}${because(reason)}`
    case ResetCode.unknownService: {
      const offers = agent?.services.length ? agent.services.join(', ') : undefined
      return `agent ${to.agent} does not offer '${to.service}'${offers === undefined ? '' : `; it offers: ${offers}`}`
    }
    case ResetCode.refused:
      return `${name}: agent ${to.agent} was refused by the target${because(reason)}`
    case ResetCode.unreachable:
      return `${name}: agent ${to.agent} cannot reach the target${because(reason)}`
    case ResetCode.timeout:
      return timeoutMessage(failure)
    case ResetCode.limit:
      return `${name}: at a limit of streams${because(reason)}`
    case ResetCode.shutdown:
      return `${name}: the agent or the broker is stopping${because(reason)}`
    default:
      return `${name}: not opened${because(reason)}`
  }
}

function offlineMessage({ to, agent, isAbsent }: OpenFailure): string {
  if (isAbsent) return `there is no agent ${to.agent}: it has no status at this broker`
  if (agent === undefined || agent.online) return `agent ${to.agent} is offline`
  const since = agent.since === undefined ? '' : ` since ${agent.since.toISOString()}`
  return `agent ${to.agent} is offline${since}`
}

function timeoutMessage({ to, reason, by, isConnected }: OpenFailure): string {
  const name = `${to.agent}/${to.service}`
  if (by === 'peer') return `${name}: the target did not answer agent ${to.agent} in time${because(reason)}`
  if (!isConnected) return `${name}: not connected to the broker${because(reason)}`
  return `${name}: no answer from agent ${to.agent}${because(reason)}`
}

const because = (reason: string): string => (reason === '' ? '' : ` (${reason})`)
