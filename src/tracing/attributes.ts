import type { Peer } from '../peer.ts'
import type { Attributes } from './contract.ts'

/**
 * Attributes by the names of OpenTelemetry: messaging.*, client.*, network.*, user.*, error.*. For what these have no
 * name for: tunnelmq.*.
 */

interface ConnectFacts {
  readonly clientId: string
  /** Such as `3.1.1`. */
  readonly protocolVersion: string
  readonly clean: boolean
  readonly keepaliveSeconds: number
}

const NETWORK_TRANSPORTS: Partial<Record<Peer['transport'], string>> = { unix: 'unix', coap: 'udp' }

/** Who is connected: the client's own address, and that of the socket's other end, which may be a proxy's. */
export function connectAttributes(peer: Peer, connect: ConnectFacts): Attributes {
  return {
    ...SYSTEM,
    'messaging.client.id': connect.clientId,
    'client.address': peer.address,
    'client.port': peer.port,
    'network.peer.address': peer.socketAddress,
    'network.transport': NETWORK_TRANSPORTS[peer.transport] ?? 'tcp',
    'network.protocol.name': 'mqtt',
    'network.protocol.version': connect.protocolVersion,
    'tunnelmq.listener': peer.listener,
    'tunnelmq.transport': peer.transport,
    'tunnelmq.clean_session': connect.clean,
    'tunnelmq.keep_alive_s': connect.keepaliveSeconds,
    ...(peer.tls && { 'tls.protocol.name': 'tls', 'tls.protocol.version': peer.tls.version }),
  }
}

/** Of a refusal: why, and by whom. */
export function refusalAttributes(reason: string, handler: string | undefined): Attributes {
  return {
    'tunnelmq.outcome': reason,
    'error.type': reason,
    ...(handler !== undefined && { 'tunnelmq.handler': handler }),
  }
}

interface PublishFacts {
  readonly clientId: string
  readonly listener: string
  readonly topic: string
  readonly qos: number
  readonly retain: boolean
  readonly dup: boolean
  readonly payloadBytes: number
}

export function publishAttributes(publish: PublishFacts): Attributes {
  return {
    ...SYSTEM,
    'messaging.operation.name': 'publish',
    'messaging.operation.type': 'send',
    'messaging.client.id': publish.clientId,
    'messaging.destination.name': publish.topic,
    'messaging.message.body.size': publish.payloadBytes,
    'tunnelmq.listener': publish.listener,
    'tunnelmq.qos': publish.qos,
    'tunnelmq.retain': publish.retain,
    'tunnelmq.dup': publish.dup,
  }
}

export function subscribeAttributes(
  clientId: string,
  listener: string,
  filters: readonly string[],
): Attributes {
  return {
    ...SYSTEM,
    'messaging.operation.name': 'subscribe',
    'messaging.client.id': clientId,
    'tunnelmq.listener': listener,
    'tunnelmq.filters': filters,
  }
}

interface StreamFacts {
  readonly agent: string
  /** Another pod, where the agent is connected. */
  readonly agentPod: string | undefined
  readonly service: string
  readonly client: string
  readonly username: string | undefined
  readonly address: string
  readonly port: number
}

export function streamAttributes(stream: StreamFacts): Attributes {
  const { agentPod, username } = stream
  return {
    'messaging.client.id': stream.client,
    'client.address': stream.address,
    'client.port': stream.port,
    'tunnelmq.agent': stream.agent,
    'tunnelmq.service': stream.service,
    ...(agentPod !== undefined && { 'tunnelmq.agent_pod': agentPod }),
    ...(username !== undefined && { 'user.name': username }),
  }
}

const SYSTEM = { 'messaging.system': 'mqtt' } as const
