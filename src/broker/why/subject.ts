import type { Explanation, WhyRequest } from '../../admin/api/resources.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type { Session } from '../../hooks/types.ts'
import type { Peer } from '../../peer.ts'
import type { StoredSession } from '../../store/contract.ts'
import { sessionIdOf } from '../../store/session-id.ts'
import type { Connection } from '../connection.ts'
import type { ListenerProfile } from '../listener-profile.ts'

/** Whom a question is about. */
export interface Subject {
  readonly state: Explanation['client']['state']
  readonly session: Session
  /** Whose chain is asked. */
  readonly profile: ListenerProfile
  /** Undefined: not connected here; then `session` is made up. */
  readonly connection: Connection | undefined
  readonly stored: StoredSession | undefined
  /** Undefined: nobody knows. */
  readonly address: string | undefined
}

export interface Subjects {
  readonly profiles: readonly ListenerProfile[]
  connectionOf(sessionId: string): Connection | undefined
  storedOf(sessionId: string): StoredSession | undefined
}

/** The live session; else one that is made up from the request. Throws TMQ_USAGE: there is no such listener. */
export function findSubject(request: WhyRequest, subjects: Subjects): Subject {
  const sessionId = sessionIdOf(request.client, request.mountpoint)
  const connection = subjects.connectionOf(sessionId)
  const stored = subjects.storedOf(sessionId)
  const session = connection?.session
  if (connection !== undefined && session !== undefined && connection.phase === 'open') {
    const { profile } = connection
    return { state: 'connected', session, profile, connection, stored, address: session.peer.address }
  }
  const profile = profileFor(request, subjects.profiles)
  return {
    state: stored === undefined ? 'unknown' : 'offline',
    session: madeUp(request, profile),
    profile,
    connection: undefined,
    stored,
    address: request.address,
  }
}

export function describeSubject({
  state,
  session,
  connection,
  profile,
  address,
}: Subject): Explanation['client'] {
  return {
    id: session.id,
    state,
    username: session.username ?? null,
    address: address ?? null,
    addressFrom: connection === undefined ? null : session.peer.addressSource,
    listener: profile.name,
  }
}

function profileFor(request: WhyRequest, profiles: readonly ListenerProfile[]): ListenerProfile {
  const { listener, mountpoint } = request
  const fitting = profiles.filter((profile) => profile.mountpoint === mountpoint)
  const found = listener === undefined ? fitting[0] : fitting.find(({ name }) => name === listener)
  if (found !== undefined) return found
  const names = fitting.map(({ name }) => name).join(', ')
  throw new TunnelMQError(
    ErrorCode.usage,
    names === ''
      ? `no listener has the mountpoint ${JSON.stringify(mountpoint)}`
      : `listener: there is no ${JSON.stringify(listener)} with this mountpoint; there are: ${names}`,
  )
}

/** What handlers are shown of a client that is not connected. */
function madeUp(request: WhyRequest, profile: ListenerProfile): Session {
  const peer: Peer = {
    address: request.address ?? '0.0.0.0',
    port: 0,
    addressSource: 'socket',
    socketAddress: request.address ?? '0.0.0.0',
    listener: profile.name,
    transport: 'tcp',
  }
  return {
    id: request.client,
    username: request.username,
    password: undefined,
    will: undefined,
    clean: true,
    keepalive: 0,
    protocolVersion: 4,
    peer,
    connectedAtMs: Date.now(),
    attributes: new Map(),
    signal: new AbortController().signal,
  }
}
