import type { ClientDetail, ClientRef, ClientSummary } from '../../admin/api/resources.ts'
import type { Peer } from '../../peer.ts'
import type { Store } from '../../store/contract.ts'
import type { TunnelRouter } from '../../tunnel/router/router.ts'
import { stripMountpoint, type ClientSession } from '../client-session.ts'
import type { Connection } from '../connection.ts'
import { VERSION_NAMES } from '../packets/types.ts'
import { connectFacts, shownProperties } from './mqtt5-facts.ts'

/** Back from store/session-id.ts. */
export function refOf({ id }: ClientSession): ClientRef {
  const end = id.indexOf('\0')
  return end === -1 ? { id, mountpoint: '' } : { id: id.slice(end + 1), mountpoint: id.slice(0, end) }
}

/** 9999-12-31T23:59:59.999Z: later ones have no form in RFC 3339, and from 275760 on there is no Date. */
const LAST_MS = 253_402_300_799_999

/** In ISO 8601; 0: never. */
export function timeOf(ms: number): string | null {
  return ms === 0 ? null : new Date(Math.min(ms, LAST_MS)).toISOString()
}

export function summaryOf(session: ClientSession, pod: string): ClientSummary {
  const { connection, stored, outbox } = session
  const { id, mountpoint } = refOf(session)
  return {
    id,
    mountpoint,
    state: connection === undefined ? 'offline' : 'connected',
    ...connectionFacts(connection, pod),
    cleanSession: stored === undefined,
    expiresAt: connection === undefined ? timeOf(stored?.expiresAtMs ?? 0) : null,
    subscriptions: session.subscriptions.size,
    inflightMessages: outbox.inflightCount,
    queuedMessages: stored?.queuedCount ?? outbox.waitingCount,
    queuedBytes: stored?.queuedBytes ?? outbox.waitingBytes,
    messagesReceived: connection?.messagesIn ?? 0,
    messagesSent: connection?.messagesOut ?? 0,
    bytesReceived: connection?.bytesIn ?? 0,
    bytesSent: connection?.bytesOut ?? 0,
  }
}

type ConnectionFacts = Pick<
  ClientSummary,
  | 'pod'
  | 'username'
  | 'address'
  | 'port'
  | 'listener'
  | 'transport'
  | 'protocolVersion'
  | 'connectedAt'
  | 'keepaliveSeconds'
>

const OFFLINE: ConnectionFacts = {
  pod: null,
  username: null,
  address: null,
  port: null,
  listener: null,
  transport: null,
  protocolVersion: null,
  connectedAt: null,
  keepaliveSeconds: null,
}

function connectionFacts(connection: Connection | undefined, pod: string): ConnectionFacts {
  if (connection === undefined) return OFFLINE
  const { username, protocolVersion, keepalive, connectedAtMs } = connection.session!
  const { address, port, listener, transport } = connection.transport.peer
  return {
    pod,
    username: username ?? null,
    address,
    port: transport === 'unix' ? null : port,
    listener,
    transport,
    protocolVersion: VERSION_NAMES[protocolVersion]!,
    connectedAt: timeOf(connectedAtMs),
    keepaliveSeconds: keepalive,
  }
}

export function detailOf(
  session: ClientSession,
  context: { readonly pod: string; readonly store: Store; readonly tunnels: TunnelRouter | undefined },
): ClientDetail {
  const { connection, stored } = session
  const peer = connection?.transport.peer
  return {
    ...summaryOf(session, context.pod),
    subscriptionList: [...session.subscriptions.values()].map((subscription) => ({
      filter: subscription.filter,
      qos: subscription.qos,
      shareGroup: subscription.shareGroup ?? null,
      noLocal: subscription.noLocal ?? false,
      retainAsPublished: subscription.retainAsPublished ?? false,
      retainHandling: subscription.retainHandling ?? 0,
      subscriptionIdentifier: subscription.subscriptionIdentifier ?? null,
    })),
    mqtt5: connectFacts(connection),
    will: willOf(session, context.store),
    certificate: certificateOf(peer),
    tls: peer?.tls === undefined ? null : { version: peer.tls.version, cipher: peer.tls.cipher },
    proxiedBy: proxyOf(peer),
    awaitedReleases: (stored ?? session).incomingIds.size,
    serves: connection === undefined ? null : agentOf(connection, context.tunnels),
  }
}

/** Of a client that has gone, the one that waits for its time. */
function willOf(session: ClientSession, store: Store): ClientDetail['will'] {
  const will = session.connection?.authorizedWill
  if (will !== undefined) {
    const { topic, qos, retain, payload, delaySeconds = 0 } = will
    const properties = shownProperties(will.properties)
    return { topic, qos, retain, bytes: payload.length, delaySeconds, properties }
  }
  const stored = session.connection === undefined ? store.wills.get(session.id) : undefined
  const kept = stored?.message
  if (kept === undefined) return null
  const topic = stripMountpoint(kept.topic, refOf(session).mountpoint)
  const { qos, retain, payload } = kept
  const properties = shownProperties(kept.properties)
  return { topic, qos, retain, bytes: payload.length, delaySeconds: stored?.delaySeconds ?? 0, properties }
}

function certificateOf(peer: Peer | undefined): ClientDetail['certificate'] {
  if (peer?.certificate === undefined) return null
  const { subject, issuer, serialNumber, fingerprint256 } = peer.certificate
  return {
    subject: oneLine(subject),
    issuer: oneLine(issuer),
    serial: serialNumber,
    fingerprint: fingerprint256,
  }
}

/** Node writes one part of a name a line. */
function oneLine(name: string): string {
  return name.replaceAll('\n', ', ')
}

function proxyOf(peer: Peer | undefined): string | null {
  if (peer === undefined || peer.addressSource === 'socket') return null
  const name = peer.proxyCertificateName
  return `${peer.socketAddress} (${peer.addressSource}${name === undefined ? '' : `, certificate of ${name}`})`
}

function agentOf({ tunnelEnd }: Connection, tunnels: TunnelRouter | undefined): string | null {
  if (tunnelEnd === undefined) return null
  const { mountpoint, name } = tunnelEnd
  return tunnels?.endOf(mountpoint, name, 'serve') === tunnelEnd ? name : null
}
