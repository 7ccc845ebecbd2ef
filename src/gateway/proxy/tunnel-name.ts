import { isTunnelName } from '../../tunnel/protocol/names.ts'
import type { Destination } from '../../tunnel/endpoint/checked-name.ts'

/**
 * `web.pi7.tunnel` as service and agent: the first label is the service, what is before the suffix the agent, which may
 * have dots. Undefined: it is no name of a tunnel. Addresses never are one, as no suffix is a number.
 */
export function destinationOf(host: string, suffix: string): Destination | undefined {
  const name = host.endsWith('.') ? host.slice(0, -1) : host
  const end = name.length - suffix.length - 1
  if (end <= 0 || name[end] !== '.' || name.slice(end + 1).toLowerCase() !== suffix) return undefined
  const dot = name.indexOf('.')
  if (dot >= end) return undefined
  const service = name.slice(0, dot)
  const agent = name.slice(dot + 1, end)
  return isTunnelName(service) && isTunnelName(agent) ? { agent, service } : undefined
}
