import type { Cluster } from '../cluster/contract.ts'
import type { BrokerCounters, Refusal } from '../counters.ts'
import type { Decision } from '../hooks/decision.ts'
import { RefuseReason, type DisconnectReason } from '../hooks/types.ts'
import { UNIX_ADDRESS, type Admission } from '../listeners/admission.ts'
import { createTokenBucket } from '../listeners/token-bucket.ts'
import type { Log } from '../log.ts'
import { refusalAttributes } from '../tracing/attributes.ts'
import type { Attributes } from '../tracing/contract.ts'
import { isMethodUnknown } from './authenticating.ts'
import type { Connection } from './connection.ts'
import { VERSION_NAMES } from './packets/types.ts'
import { whoOf, type Refusals } from './refusals.ts'

export interface ConnectionEventsContext {
  readonly counters: BrokerCounters
  readonly admission: Admission
  readonly cluster: Cluster
  /** `limits.banMs` */
  readonly banMs: number
  readonly refusals: Refusals
  readonly log: Log
}

/** Of clients of other doors that have shown no credentials: at this pace the rest of them are lines of level debug. */
const MAX_ASKED_LINES_PER_SECOND = 10

/** What the outside sees of connections: log lines and counters, and what leads to a ban. */
export class ConnectionEvents {
  readonly #context: ConnectionEventsContext
  readonly #asked = createTokenBucket(MAX_ASKED_LINES_PER_SECOND, performance.now())

  constructor(context: ConnectionEventsContext) {
    this.#context = context
  }

  connected(connection: Connection): void {
    connection.traffic.accepted++
    this.#context.counters.accepted[VERSION_NAMES[connection.version]!]++
    const session = connection.session!
    const { address, port, listener } = connection.transport.peer
    const { username, clean } = session
    const { sessionPresent } = connection
    this.#context.log.debug(
      { client: session.id, username, address, port, listener, clean, sessionPresent },
      'client connected',
    )
    connection.connectSpan?.set({ 'tunnelmq.session_present': sessionPresent })
    endConnectSpan(connection, ACCEPTED)
  }

  /** One line for each refused connection, in this form: docs/operations.md has the filter for fail2ban. */
  refused(connection: Connection, reason: string, detail: string, handler?: string): void {
    const { log, counters, refusals } = this.#context
    const { session } = connection
    const { address, port, listener } = connection.transport.peer
    counters.refused[REFUSALS[reason] ?? 'malformed']++
    // Of a will it is known already, with its topic.
    if (reason !== 'will-refused') {
      const why = detail === '' ? reason : `${reason}: ${detail}`
      refusals.note({ point: 'connect', ...whoOf(connection), handler, reason: why })
    }
    // Who comes by a door without credentials is told to show some: many do not before they are asked.
    const isAsked = connection.sideChannel !== undefined && session?.username === undefined
    const mayBeForged = connection.sideChannel?.mayBeForged === true
    const isGuess = !isAsked && (reason === 'bad-credentials' || reason === 'not-authorized')
    const isBanned = isGuess && !mayBeForged && this.#credentialsRefused(address)
    const isSuspect = isGuess && mayBeForged && this.#context.admission.forgeableCredentialsRefused(address)
    // They come from everywhere, and lead to no ban: the log is not to be filled by them.
    const level = isAsked && !this.#mayTellAsked() ? 'debug' : 'info'
    const who = session && { client: session.id, username: session.username }
    // First, so that the filter for fail2ban does not take the line for one that names who has sent it.
    const source = mayBeForged ? { mayBeForged, address } : { address }
    log[level](
      { ...source, port, listener, reason, detail, ...(handler && { handler }), ...who },
      'connection refused',
    )
    if (isBanned) log.warn({ address }, 'address banned')
    if (isSuspect) log.warn({ address }, 'address suspected: it may be forged, and is checked from now on')
    endConnectSpan(connection, refusalAttributes(reason, handler), detail === '' ? reason : detail)
  }

  /** A client that is connected has shown again who it is, and is not believed: it is disconnected, and that was a guess. */
  refusedAgain(connection: Connection, decision: Decision): void {
    const { log, refusals } = this.#context
    const { refuse, reason = '', handler } = decision
    const { address, port, listener } = connection.transport.peer
    refusals.note({
      point: 'connect',
      ...whoOf(connection),
      handler,
      reason: `authenticating again: ${reason}`,
    })
    const isOfCredentials = refuse === RefuseReason.badCredentials || refuse === RefuseReason.notAuthorized
    const isGuess = isOfCredentials && !isMethodUnknown(connection, decision)
    const isBanned = isGuess && this.#credentialsRefused(address)
    log.info(
      { client: connection.clientId, address, port, listener, reason: refuse, detail: reason, handler },
      'authentication refused',
    )
    if (isBanned) log.warn({ address }, 'address banned')
  }

  /** One more line about who has shown no credentials. */
  #mayTellAsked(): boolean {
    const nowMs = performance.now()
    const mayTell = this.#asked.has(nowMs)
    if (mayTell) this.#asked.take(nowMs)
    return mayTell
  }

  /** True: that has led to a ban, here and at other pods. */
  #credentialsRefused(address: string): boolean {
    const { admission, cluster, banMs } = this.#context
    if (address === UNIX_ADDRESS) return false
    cluster.credentialsRefused(address)
    const isBanned = admission.credentialsRefused(address)
    if (isBanned) cluster.ban(address, Date.now() + banMs)
    return isBanned
  }

  /** A connection with a session has ended. */
  disconnected(connection: Connection, { kind, detail, reasonCode }: DisconnectReason): void {
    const { log, counters } = this.#context
    counters.disconnects[kind]++
    endConnectSpan(connection, refusalAttributes(kind, undefined), detail ?? kind)
    // One that was refused has had its line.
    if (kind === 'refused') return
    const { address, port, listener } = connection.transport.peer
    const level = QUIET.has(kind) ? 'debug' : 'info'
    log[level](
      {
        ...{ client: connection.clientId, address, port, listener, reason: kind, detail },
        ...(reasonCode !== undefined && { reasonCode }),
      },
      'client disconnected',
    )
  }

  failed(connection: Connection, error: unknown): void {
    this.#context.log.error({ err: error, client: connection.clientId }, 'internal error')
  }
}

/** The CONNECT is answered, or its connection is gone: the first of these is how it ended. */
function endConnectSpan(connection: Connection, outcome: Attributes, failure?: string): void {
  const { connectSpan: span, session } = connection
  if (span === undefined) return
  connection.connectSpan = undefined
  span.set(outcome)
  // A handler may have given it another name.
  if (session !== undefined) span.set({ 'messaging.client.id': session.id })
  if (session?.username !== undefined) span.set({ 'user.name': session.username })
  span.end(failure)
}

const ACCEPTED: Attributes = { 'tunnelmq.outcome': 'accepted' }

/** Ends that are nobody's fault and may come by the thousand. */
const QUIET: ReadonlySet<DisconnectReason['kind']> = new Set(['client', 'lost', 'shutdown'])

/** From the reason in the log to the label of the metric. */
const REFUSALS: Readonly<Record<string, Refusal>> = {
  'bad-credentials': 'bad-credentials',
  'not-authorized': 'not-authorized',
  'authentication-method': 'not-authorized',
  'will-refused': 'not-authorized',
  'identifier-rejected': 'identifier-rejected',
  unavailable: 'unavailable',
  'protocol-version': 'protocol-version',
  'max-connections': 'max-connections',
  banned: 'banned',
  'connect-timeout': 'connect-timeout',
  limit: 'too-large',
  protocol: 'malformed',
}
