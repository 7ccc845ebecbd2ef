import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { isTunnelName } from '../protocol/names.ts'

/** @throws {TunnelMQError} TMQ_USAGE for what is no name (docs/tunnel-protocol.md 2.1). */
export function checkedName(what: 'agent' | 'service' | 'client', name: string): string {
  if (isTunnelName(name)) return name
  const rule = '1 to 64 of A-Z a-z 0-9 . _ -'
  throw new TunnelMQError(ErrorCode.usage, `${what} ${JSON.stringify(name)}: a name is ${rule}`)
}

export interface Destination {
  readonly agent: string
  readonly service: string
}

/**
 * Reads `pi7/ssh`.
 * @throws {TunnelMQError} TMQ_USAGE
 */
export function parseDestination(text: string): Destination {
  const [agent = '', service, ...more] = text.split('/')
  if (service === undefined || more.length > 0)
    throw new TunnelMQError(ErrorCode.usage, `${JSON.stringify(text)} is no agent/service, as in pi7/ssh`)
  return { agent: checkedName('agent', agent), service: checkedName('service', service) }
}
