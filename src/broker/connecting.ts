import { isUtf8 } from 'node:buffer'
import { randomUUID } from 'node:crypto'
import { ErrorCode, PeerError, TunnelMQError } from '../errors.ts'
import { isUserProperties, type Decision } from '../hooks/decision.ts'
import type { Admission } from '../listeners/admission.ts'
import { RefuseReason, type Session, type UserProperties, type Will } from '../hooks/types.ts'
import type { Log } from '../log.ts'
import { tally } from '../tally.ts'
import { statusTopic } from '../tunnel/protocol/names.ts'
import { type Authenticating, isMethodUnknown } from './authenticating.ts'
import { ConnectionSession } from './connection-session.ts'
import type { Connection } from './connection.ts'
import { Dropped, Ended, type Interceptors } from './interceptors/interceptors.ts'
import { isAnonymous, RESERVED_ID_PREFIX } from './listener-profile.ts'
import type { ConnectPacket } from './packets/connect.ts'
import { ReasonCode } from './packets/reason.ts'
import { VERSION_NAMES } from './packets/types.ts'
import { agreedTerms, responseInformation, type TermLimits } from './terms.ts'
import { reasonCodeOf, refusalCode } from './reason-of.ts'
import type { RecheckSubscriptions, Sessions } from './sessions.ts'
import type { TopicLimits } from './topics.ts'
import type { WillRights } from './will-rights.ts'

export interface ConnectingOptions extends TermLimits {
  readonly topics: TopicLimits
  readonly maxClientIdBytes: number
  /** 0: any. */
  readonly maxKeepaliveSeconds: number
  /** 0: no limit. */
  readonly maxConnectionsPerUser: number
  readonly onRefusedWill: 'reject' | 'strip'
  /** `mqtt5.responseInformation` */
  readonly responseInformation: string
  readonly checkPayloadFormat: boolean
  /** `$tunnel/` is routed. */
  readonly tunnels: boolean
}

/** Why a connection was refused, for the log line and the counters. */
export type OnRefused = (connection: Connection, reason: string, detail: string, handler?: string) => void

function reservedIdFault(clientId: string): string | undefined {
  return clientId.startsWith(RESERVED_ID_PREFIX)
    ? `client ids that begin with ${RESERVED_ID_PREFIX} are the broker's own`
    : undefined
}

function willFormatIsWrong({ will, willProperties }: ConnectPacket): boolean {
  return will !== undefined && willProperties.payloadFormatIndicator === 1 && !isUtf8(will.payload)
}

/** What every broker takes [MQTT-3.1.3-5]. */
const LEAST_CLIENT_ID_BYTES = 23

/** A keep alive is two bytes (MQTT 5, 3.1.2.10). */
const MAX_KEEPALIVE_SECONDS = 65_535

const TOO_MANY_OF_USER = 'too many connections of this user'
const BANNED_SINCE = 'banned since it connected'

/** From a CONNECT packet to a session, or to a refusal with its CONNACK code. */
export class Connecting {
  readonly #sessions: Sessions
  readonly #recheck: RecheckSubscriptions
  readonly #options: ConnectingOptions
  readonly #refused: OnRefused
  readonly #admission: Pick<Admission, 'isBanned'>
  readonly #authenticating: Authenticating
  readonly #willRights: WillRights
  readonly #log: Log
  readonly #byUser = new Map<string, number>()

  constructor(
    context: {
      sessions: Sessions
      recheck: RecheckSubscriptions
      refused: OnRefused
      admission: Pick<Admission, 'isBanned'>
      authenticating: Authenticating
      willRights: WillRights
      log: Log
    },
    options: ConnectingOptions,
  ) {
    this.#sessions = context.sessions
    this.#recheck = context.recheck
    this.#refused = context.refused
    this.#admission = context.admission
    this.#authenticating = context.authenticating
    this.#willRights = context.willRights
    this.#log = context.log
    this.#options = options
  }

  /** Rules that need no handler. True: go on; false: refused and closed. */
  accept(connection: Connection, packet: ConnectPacket): boolean {
    const refuse = (code: ReasonCode, reason: string, detail: string): false => {
      connection.refuse(code, reason, detail, { clientText: detail })
      return false
    }
    const { profile } = connection
    const id = packet.clientId === '' ? this.#newClientId() : packet.clientId // [MQTT-3.1.3-6]
    if (this.#isBanned(connection)) return refuse(ReasonCode.banned, 'banned', BANNED_SINCE)
    if (!profile.protocolVersions.has(packet.protocolVersion)) {
      const detail = `MQTT ${VERSION_NAMES[packet.protocolVersion]} is not served on this listener`
      return refuse(ReasonCode.unsupportedProtocolVersion, 'protocol-version', detail)
    }
    const isOwn = profile.ownClientId !== undefined && profile.ownClientId === packet.clientId
    const idFault = isOwn ? undefined : this.#clientIdFault(packet)
    if (idFault !== undefined)
      return refuse(ReasonCode.clientIdentifierNotValid, 'identifier-rejected', idFault)
    const most = isOwn ? 0 : this.#mostKeepaliveSeconds(connection)
    let { keepaliveSeconds } = packet
    if (most > 0 && (keepaliveSeconds === 0 || keepaliveSeconds > most)) {
      if (packet.protocolVersion < 5) {
        const detail = `keep alive of ${keepaliveSeconds} s; at most ${most} s`
        return refuse(ReasonCode.clientIdentifierNotValid, 'identifier-rejected', detail)
      }
      keepaliveSeconds = most // [MQTT-3.2.2-22]
    }
    connection.keepaliveMs = keepaliveSeconds * 1_000
    if (connection.terms !== undefined) {
      if (this.#options.checkPayloadFormat && willFormatIsWrong(packet)) {
        return refuse(
          ReasonCode.payloadFormatInvalid,
          'protocol',
          'the will is not the UTF-8 that it says it is',
        )
      }
      connection.terms = agreedTerms(connection.terms, this.#options, {
        // [MQTT-3.2.2-16] An interceptor may have given it one.
        ...((connection.session?.id ?? packet.clientId) === '' && { assignedClientIdentifier: id }),
        ...(keepaliveSeconds !== packet.keepaliveSeconds && { serverKeepAlive: keepaliveSeconds }),
      })
    }
    const { session } = connection
    if (session === undefined) {
      connection.session = new ConnectionSession(
        id,
        packet,
        connection.transport.peer,
        connection.acceptedAtMs,
      )
    } else {
      // An interceptor has seen it already.
      const { username, password, will } = packet
      Object.assign(session, { id, username, password, will })
    }
    return true
  }

  /** One that it can come back with. */
  #newClientId(): string {
    return `auto-${randomUUID()}`.slice(0, Math.max(LEAST_CLIENT_ID_BYTES, this.#options.maxClientIdBytes))
  }

  /** 0: any. */
  #mostKeepaliveSeconds({ sideChannel }: Connection): number {
    // A client in this process cannot be lost without a sign.
    if (sideChannel !== undefined) return 0
    return Math.min(this.#options.maxKeepaliveSeconds, MAX_KEEPALIVE_SECONDS)
  }

  #clientIdFault(packet: ConnectPacket): string | undefined {
    const { clientId, clean, protocolVersion } = packet
    if (clientId === '') {
      if (protocolVersion === 3) return 'empty client id' // MQTT 3.1, 3.1: between 1 and 23 characters
      return clean || protocolVersion === 5 ? undefined : 'empty client id with clean session 0' // [MQTT-3.1.3-8]
    }
    if (Buffer.byteLength(clientId) > this.#options.maxClientIdBytes) {
      return `client id longer than ${this.#options.maxClientIdBytes} bytes`
    }
    return reservedIdFault(clientId)
  }

  /** authConnect, then the will. Resolves to the CONNACK code of a refusal. Never rejects. */
  async authenticate(connection: Connection): Promise<ReasonCode | undefined> {
    const session = connection.session!
    const { profile } = connection
    const method = session.properties?.authenticationMethod
    // Who names a method is somebody, also where others need not be.
    if (method !== undefined || !isAnonymous(profile, session)) {
      const span = connection.connectSpan?.child(method === undefined ? 'authConnect' : 'authenticate')
      const asked =
        method === undefined
          ? profile.guard.authConnect(session)
          : this.#authenticating.atConnect(connection, method)
      const decision = asked instanceof Promise ? await asked : asked
      if (decision === undefined) {
        span?.end('the connection is gone')
        return ReasonCode.unspecifiedError
      }
      if (span !== undefined) {
        span.end(decision.cause === undefined ? undefined : decision.reason)
        connection.connectSpan?.set({ 'tunnelmq.handler': decision.handler })
      }
      // Others of its guesses were answered first. Right or wrong: the same answer, or it would tell which.
      if (asked instanceof Promise && this.#isBanned(connection)) {
        this.#refused(connection, 'banned', BANNED_SINCE)
        connection.refusalTold = { clientText: BANNED_SINCE }
        return ReasonCode.banned
      }
      if (!decision.allowed) return this.#refuse(connection, decision)
      const idFault = profile.ownClientId === session.id ? undefined : this.#rewrittenIdFault(session)
      if (idFault !== undefined) {
        this.#log.error(
          { handler: decision.handler, id: session.id },
          'handler rewrote the client id to an illegal one',
        )
        this.#refused(connection, 'identifier-rejected', idFault, decision.handler)
        return ReasonCode.clientIdentifierNotValid
      }
    }
    const { addedProperties } = session
    if (addedProperties !== undefined) this.#addToConnack(connection, addedProperties)
    const veto = profile.guard.vetoConnect(session)
    if (veto !== undefined) return this.#refuse(connection, veto)
    if (profile.interceptors?.hasAny('after') === true) {
      const code = await this.#intercept(profile.interceptors, connection, session)
      if (code !== undefined) return code
    }
    if (!this.#countUser(connection, session)) {
      this.#refused(connection, 'max-connections', TOO_MANY_OF_USER)
      connection.refusalTold = { clientText: TOO_MANY_OF_USER }
      return ReasonCode.quotaExceeded
    }
    this.#tellResponseInformation(connection, session)
    // A handler may say null for none.
    session.will ??= undefined
    return session.will === undefined ? undefined : await this.#takeWill(connection, session, session.will)
  }

  /** [MQTT-3.1.2-28] */
  #tellResponseInformation(connection: Connection, session: Session): void {
    if (connection.terms?.wantsResponseInformation !== true) return
    const { topics, responseInformation: template } = this.#options
    const topic = responseInformation(template, session, topics.maxBytes)
    if (topic !== undefined) connection.addToConnack({ responseInformation: topic })
  }

  /** What the handlers have made of the CONNECT is shown once more. Resolves to the CONNACK code of a refusal. */
  async #intercept(
    interceptors: Interceptors,
    connection: Connection,
    session: Session,
  ): Promise<ReasonCode | undefined> {
    const { id: clientId, username, will, clean, keepalive, protocolVersion, properties } = session
    const made = await interceptors.ask(
      'after',
      session,
      Object.freeze({
        cmd: 'connect' as const,
        clientId,
        username,
        password: undefined,
        will: will && Object.freeze({ ...will }),
        clean,
        keepalive,
        protocolVersion,
        ...(properties !== undefined && { properties }),
      }),
      'up',
    )
    if (made instanceof Dropped) {
      this.#refused(connection, RefuseReason.notAuthorized, 'dropped by an interceptor', made.by)
      return ReasonCode.notAuthorized
    }
    return made instanceof Ended ? this.#refuse(connection, made.decision) : undefined
  }

  #isBanned(connection: Connection): boolean {
    return this.#admission.isBanned(connection.transport.peer.address)
  }

  #refuse(connection: Connection, decision: Decision): ReasonCode {
    const refuse = decision.refuse ?? RefuseReason.notAuthorized
    const reason = isMethodUnknown(connection, decision) ? 'authentication-method' : refuse
    this.#refused(connection, reason, decision.reason ?? '', decision.handler)
    if (connection.version < 5) return reasonCodeOf(refuse)
    connection.refusalTold = decision
    return refusalCode('connack', decision)
  }

  /** What handlers have added for the client. */
  #addToConnack(connection: Connection, userProperties: UserProperties): void {
    if (isUserProperties(userProperties)) connection.addToConnack({ userProperties: [...userProperties] })
    else
      this.#log.error({ client: connection.clientId }, 'handler added user properties that are not allowed')
  }

  #rewrittenIdFault(session: Session): string | undefined {
    if (session.id === '') return 'empty client id'
    if (session.id.includes('\0')) return 'U+0000 in the client id'
    if (Buffer.byteLength(session.id) > 65_535) return 'client id longer than 65535 bytes'
    return reservedIdFault(session.id)
  }

  async #takeWill(connection: Connection, session: Session, will: Will): Promise<ReasonCode | undefined> {
    if (this.#options.tunnels && will.topic === statusTopic(session.id)) {
      // The broker itself says when an agent has gone (docs/tunnel-protocol.md 3.2).
      session.will = undefined
      return undefined
    }
    const authorized = await this.#willRights.authorize(connection, will)
    if (!('code' in authorized)) {
      connection.authorizedWill = authorized
      return undefined
    }
    if (this.#options.onRefusedWill === 'strip') {
      session.will = undefined
      return undefined
    }
    const { reason, code, text, by } = authorized
    this.#refused(connection, 'will-refused', reason)
    connection.refusalTold = by ?? (text === undefined ? undefined : { clientText: text })
    return code
  }

  /** The session, from the store. Resolves to the CONNACK code of a refusal. Never rejects. */
  async attach(connection: Connection): Promise<ReasonCode | undefined> {
    const span = connection.connectSpan?.child('session')
    try {
      await this.#sessions.attach(connection, this.#recheck)
      span?.end()
      return undefined
    } catch (error) {
      span?.end(error instanceof Error ? error.message : String(error))
      connection.endTurn?.()
      if (connection.phase !== 'closed') {
        // Its user has too many at all pods, or we cannot take it.
        const reason = error instanceof PeerError ? 'max-connections' : RefuseReason.unavailable
        this.#refused(connection, reason, error instanceof Error ? error.message : String(error))
      }
      const isLimit = error instanceof TunnelMQError && error.code === ErrorCode.limit
      return isLimit ? ReasonCode.quotaExceeded : ReasonCode.serverUnavailable
    }
  }

  #countUser(connection: Connection, { username }: Session): boolean {
    const limit = this.#options.maxConnectionsPerUser
    // Tokens come with an empty name, of many clients. Lost while authConnect was asked: nobody would count it out again.
    if (limit === 0 || username === undefined || username === '' || connection.phase === 'closed') return true
    const count = this.#byUser.get(username) ?? 0
    // A client that comes back takes the place of its old connection, which may not be known to be dead yet.
    const replaces = this.#sessions.connectionOf(connection.sessionId)?.countedUser === username
    if (count >= limit && !replaces) return false
    tally(this.#byUser, username, 1)
    connection.countedUser = username
    return true
  }

  released(connection: Connection): void {
    const username = connection.countedUser
    if (username !== undefined) tally(this.#byUser, username, -1)
  }
}
