import { isTunnelName, parseFrameTopic, parseStatusTopic, statusTopic } from '../../tunnel/protocol/names.ts'
import { RemoteEnd } from '../../tunnel/router/remote-end.ts'
import type { TunnelRouter } from '../../tunnel/router/router.ts'
import { step, type Step } from './step.ts'

export interface TunnelPlace {
  readonly tunnels: TunnelRouter | undefined
  readonly mountpoint: string
  /** Client id. */
  readonly client: string
  /** The retained status of an agent. */
  readonly statusOf: (mountpoint: string, agent: string) => Buffer | undefined
}

const OFF = step('protocol', 'refused', 'tunnels are switched off', 'tunnel.enabled: false')

/** A destination `<agent>/<service>` as the request that the handlers are asked; or why there is none. */
export function openRequest(
  destination: string,
  { tunnels, mountpoint, client }: TunnelPlace,
): { action: 'open'; agent: string; service: string; topic: string } | Step {
  if (tunnels === undefined) return OFF
  const [agent = '', service = '', ...rest] = destination.split('/')
  if (rest.length > 0 || !isTunnelName(agent) || !isTunnelName(service))
    return step('protocol', 'refused', 'not of the form <agent>/<service>')
  if (!isTunnelName(client))
    return step(
      'protocol',
      'refused',
      'its client id cannot be a name of tunnels (docs/tunnel-protocol.md 2.1)',
    )
  if (tunnels.isReserved(mountpoint, client))
    return step('protocol', 'refused', 'its name is taken by the broker itself')
  return { action: 'open', agent, service, topic: `$tunnel/${agent}/${service}/${client}/up` }
}

/** After the handlers: who would have to be there, and how many streams there are. */
export function openRules({ tunnels, mountpoint, client, statusOf }: TunnelPlace, agent: string): Step[] {
  const steps = [agentRule(tunnels!, mountpoint, agent, statusOf)]
  const full = tunnels!.fullFor(mountpoint, client, agent)
  steps.push(
    full === undefined
      ? step('limit', 'none', 'there is room for one more stream')
      : step('limit', 'refused', full),
  )
  return steps
}

function agentRule(
  tunnels: TunnelRouter,
  mountpoint: string,
  agent: string,
  statusOf: TunnelPlace['statusOf'],
): Step {
  const end = tunnels.endOf(mountpoint, agent, 'serve')
  if (end === undefined) {
    const known = statusOf(mountpoint, agent) !== undefined
    return step('agent', 'refused', `agent ${agent} is not connected${known ? '' : ', and never was'}`)
  }
  const place = end instanceof RemoteEnd ? ` to pod ${end.pod}` : ''
  return step('agent', 'none', `agent ${agent} is connected${place}`)
}

/** A PUBLISH under `$tunnel/`: a frame, whose right is that to open its stream, or a status. */
export function tunnelPublish(
  topic: string,
  place: TunnelPlace,
): { readonly open: string } | { readonly steps: Step[] } {
  const { tunnels, mountpoint, client } = place
  if (tunnels === undefined) return { steps: [OFF] }
  const agent = parseStatusTopic(topic)
  if (agent !== undefined) {
    const serves = agent === client && tunnels.endOf(mountpoint, client, 'serve') !== undefined
    const reason = 'the status of an agent is its own, while it serves'
    return { steps: [step('protocol', serves ? 'allowed' : 'refused', reason)] }
  }
  const frame = parseFrameTopic(topic)
  const own = frame?.direction === 'up' ? frame.client : frame?.agent
  if (frame === undefined || own !== client)
    return {
      steps: [step('protocol', 'refused', 'not a topic on which this client sends frames of tunnels')],
    }
  if (frame.direction === 'up') return { open: `${frame.agent}/${frame.service}` }
  return { steps: [step('protocol', 'allowed', 'an agent answers on the streams that were opened to it')] }
}

/** A filter under `$tunnel/`: the handlers are asked as for others, as for an agent, or not at all. */
export function tunnelSubscribe(filter: string, place: TunnelPlace): 'messages' | 'serve' | Step {
  const { tunnels, mountpoint, client } = place
  if (tunnels === undefined) return OFF
  if (tunnels.isReserved(mountpoint, client))
    return step('protocol', 'refused', 'its name is taken by the broker itself')
  if (filter === statusTopic('+') || parseStatusTopic(filter) !== undefined) return 'messages'
  const role = tunnels.roleOf(client, filter)
  if (role === 'serve') return 'serve'
  return role === 'answers'
    ? step(
        'protocol',
        'allowed',
        'a client hears the answers that are for it; the right is asked for each stream',
      )
    : step('protocol', 'refused', 'not a filter of tunnels for this client')
}
