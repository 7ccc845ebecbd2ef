import { RefuseReason, type DisconnectReason } from '../../hooks/types.ts'
import { DoorError, type DoorFailure } from './contract.ts'

/** Why a CONNECT was refused: from the reason in the log, of which the client is told no more than its kind. */
export function connectFailure(reason: string): DoorError {
  const [failure, message] = CONNECT_FAILURES[reason] ?? CONNECT_FAILURES['not-authorized']!
  return new DoorError(failure, message)
}

const CONNECT_FAILURES: Readonly<Record<string, readonly [DoorFailure, string]>> = {
  'bad-credentials': ['bad-credentials', 'wrong or missing credentials'],
  'not-authorized': ['forbidden', 'not authorized'],
  'identifier-rejected': ['malformed', 'the client id is not allowed'],
  protocol: ['malformed', 'the client id or the user name is not legal'],
  limit: ['too-large', 'the credentials are too long'],
  unavailable: ['unavailable', 'credentials cannot be checked now'],
  'max-connections': ['limited', 'too many connections'],
  banned: ['limited', 'too many refused credentials'],
}

/** Why one request was refused on a connection that goes on. */
export function requestFailure(refused: RefuseReason, what: string): DoorError {
  return refused === RefuseReason.unavailable
    ? new DoorError('unavailable', 'rights cannot be checked now')
    : new DoorError('forbidden', `not allowed to ${what}`)
}

/** Why a connection has ended. */
export function endFailure({ kind }: DisconnectReason): DoorError {
  const [failure, message] = END_FAILURES[kind]
  return new DoorError(failure, message)
}

const END_FAILURES: Readonly<Record<DisconnectReason['kind'], readonly [DoorFailure, string]>> = {
  client: ['gone', 'closed'],
  refused: ['forbidden', 'not authorized'],
  lost: ['gone', 'closed'],
  keepalive: ['gone', 'closed'],
  protocol: ['malformed', 'the request is not legal in MQTT'],
  'taken-over': ['gone', 'another connection has this client id now'],
  revoked: ['gone', 'rights were taken away'],
  limit: ['limited', 'a limit of the broker was passed'],
  kicked: ['gone', 'the connection was ended by an administrator'],
  shutdown: ['unavailable', 'the broker is stopping'],
  error: ['unavailable', 'the broker cannot do this now'],
}
