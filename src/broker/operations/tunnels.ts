import type { Agent, Stream } from '../../admin/api/resources.ts'
import type { Store } from '../../store/contract.ts'
import type { AgentFacts } from '../../tunnel/router/inspection.ts'
import type { TunnelRouter } from '../../tunnel/router/router.ts'
import { parseStatus, type AgentInfo } from '../../tunnel/status.ts'
import { parseTunnelStatus, TUNNEL_ROOT } from '../topics.ts'

/** Statuses are small, and agents some thousands at most: all at once. */
const ALL_STATUSES = `${TUNNEL_ROOT}#`

/** Streams whose clients are connected to this pod. */
export function streamsOf(tunnels: TunnelRouter | undefined, pod: string): Stream[] {
  if (tunnels === undefined) return []
  const nowMs = Date.now()
  return [...tunnels.streams()].map((stream) => ({
    id: stream.handle,
    agent: stream.agent,
    service: stream.service,
    mountpoint: stream.mountpoint,
    client: stream.client,
    username: stream.username ?? null,
    address: stream.address,
    pod,
    state: stream.state,
    openedAt: new Date(nowMs - stream.ageMs).toISOString(),
    idleMs: Math.round(stream.idleMs),
    bytesUp: stream.bytesUp,
    bytesDown: stream.bytesDown,
  }))
}

/**
 * Agents that serve at any pod, and those that have a status. Streams and bytes are those of this pod's clients: of
 * several pods they are to be added up, and all else is best known to the agent's own pod.
 */
export function agentsOf(tunnels: TunnelRouter | undefined, store: Store, pod: string): Agent[] {
  if (tunnels === undefined) return []
  const agents = new Map<string, Agent>()
  for (const facts of tunnels.agents()) agents.set(keyOf(facts.mountpoint, facts.name), agentOf(facts, pod))
  for (const { topic, payload } of store.retainedMatching(ALL_STATUSES)) {
    const place = parseTunnelStatus(topic)
    const status = place && parseStatus(place.agent, payload)
    if (place === undefined || status === undefined) continue
    const key = keyOf(place.mountpoint, place.agent)
    const agent = agents.get(key) ?? absentAgent(place.mountpoint, place.agent)
    agents.set(key, withStatus(agent, status))
  }
  return [...agents.values()]
}

/** Names have no `/`. */
const keyOf = (mountpoint: string, name: string): string => `${name}/${mountpoint}`

function agentOf(facts: AgentFacts, pod: string): Agent {
  const { name, mountpoint, isOnline, username, address, streams, bytesUp, bytesDown } = facts
  return {
    name,
    mountpoint,
    isOnline,
    pod: isOnline ? (facts.pod ?? pod) : null,
    client: isOnline ? name : null,
    username: username ?? null,
    address: address ?? null,
    since: null,
    services: [],
    streams,
    bytesUp,
    bytesDown,
  }
}

function absentAgent(mountpoint: string, name: string): Agent {
  const none = { isOnline: false, pod: undefined, username: undefined, address: undefined }
  return agentOf({ name, mountpoint, ...none, streams: 0, bytesUp: 0, bytesDown: 0 }, '')
}

/** What it says of itself; whether it is there is known better here. */
function withStatus(agent: Agent, { services, since }: AgentInfo): Agent {
  return { ...agent, services: [...services], since: since?.toISOString() ?? null }
}
