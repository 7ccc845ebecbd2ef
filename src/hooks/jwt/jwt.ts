import type { JwtConfig } from '../../config/jwt-schema.ts'
import type { BrokerCounters } from '../../counters.ts'
import { createExpiry } from '../expiry.ts'
import { createRightsBySession, parseGrantedRights } from '../granted-rights.ts'
import type { HandlerLog } from '../log.ts'
import { noOpinion, type ManagedHandler, type RuleExplanation, type Session } from '../types.ts'
import { claimAt, claimsFit, nameIn } from './claims.ts'
import { openRemoteKeys } from './jwks.ts'
import { openLocalKeys, type KeySource, type WatchHow } from './key-source.ts'
import { holdsToken, tokenIn, tokenRefusals, verifyToken, type VerifiedToken } from './verify.ts'

export interface JwtOptions {
  readonly config: JwtConfig
  readonly log: HandlerLog
  readonly counters: Pick<BrokerCounters, 'keySet'>
  readonly name?: string
  readonly watch?: WatchHow
}

/** JavaScript's dates end there; numbers do not. */
const LAST_DATE_MS = 8.64e15

/** With which key each live session came in. */
interface Admitted {
  readonly fingerprint: string
  readonly issuer: string
}

/**
 * Clients with a token: a right one allows, any other refuses. Clients without one, or with a password that is none:
 * no opinion, unless `required`. With `aclClaim` it decides on topics and tunnels of those whose token has that claim.
 */
export async function createJwtHandler(options: JwtOptions): Promise<ManagedHandler> {
  const { config, name = 'jwt' } = options
  const keys = await openKeys(options, name)
  const expiry = createExpiry()
  const rights = createRightsBySession(`the claim ${config.aclClaim ?? ''} of its token`)
  const admitted = new WeakMap<Session, Admitted>()
  const usernameClaim = config.usernameClaim ?? (config.from === 'username' ? 'sub' : undefined)

  function admit(session: Session, { claims, key }: VerifiedToken, username: string | undefined): void {
    if (!claimsFit(claims, config.claims, { username, clientId: session.id })) throw tokenRefusals.claims
    const newName = usernameClaim === undefined ? username : nameIn(claims, usernameClaim)
    const newId = config.clientIdClaim === undefined ? session.id : nameIn(claims, config.clientIdClaim)
    if (newId === undefined || (usernameClaim !== undefined && newName === undefined))
      throw tokenRefusals.names
    const granted = config.aclClaim === undefined ? undefined : claimAt(claims, config.aclClaim)
    const parsed = granted === undefined ? undefined : parseGrantedRights(granted)
    if (typeof parsed === 'string') throw tokenRefusals.rights
    // Gone while the signature was checked: what was true then is not now.
    if (!isKnown(key.fingerprint)) throw tokenRefusals.unknownKey
    session.username = newName
    session.id = newId
    if (parsed !== undefined) rights.grant(session, parsed)
    admitted.set(session, { fingerprint: key.fingerprint, issuer: claims.iss ?? 'nobody named' })
    if (config.disconnectAtExpiry && claims.exp !== undefined)
      expiry.note(session, claims.exp * 1_000 + config.clockToleranceMs)
  }

  function isKnown(fingerprint: string): boolean {
    return keys.current()?.some((key) => key.fingerprint === fingerprint) ?? true
  }

  const topics: Partial<ManagedHandler> = {
    authPublish: (session, { topic }) => (rights.has(session) ? rights.publish(session, topic) : noOpinion),
    authSubscribe: (session, subscriptions) =>
      rights.has(session) ? rights.subscribe(session, subscriptions) : noOpinion,
    authTunnel: (session, request) => (rights.has(session) ? rights.tunnel(session, request) : noOpinion),
  }

  return {
    name,
    // Without a token nobody is let in, also where others without a username are.
    ...(config.required && { recognizes: () => true }),
    authenticate(session) {
      // Another method decides (MQTT 5); a token must not stand in logs then either.
      if (config.from === 'username' && holdsToken(session.username)) session.username = undefined
      if (config.required) throw tokenRefusals.missing
      return noOpinion
    },
    authConnect(session) {
      const { from, required, maxTokenBytes } = config
      const field = from === 'password' ? session.password : session.username
      const username = from === 'username' ? undefined : session.username
      // A token is no name, and must not stand in logs: not even one that cannot be read.
      const isHidden = from === 'username' && holdsToken(session.username)
      if (isHidden) session.username = undefined
      const token = tokenIn(field, maxTokenBytes)
      if (token === undefined) {
        if (isHidden) throw tokenRefusals.malformed
        if (required) throw tokenRefusals.missing
        return noOpinion
      }
      session.username = username
      return verifyToken(token, config, keys).then((verified) => admit(session, verified, username))
    },
    ...(config.aclClaim === undefined ? {} : topics),
    connect: (session) => expiry.start(session),
    disconnect: (session) => expiry.forget(session),
    stillAllowed(session) {
      const came = admitted.get(session)
      return came === undefined || (isKnown(came.fingerprint) && !expiry.hasEnded(session))
    },
    explain(session, question) {
      if (question.action !== 'connect')
        return config.aclClaim === undefined ? undefined : rights.explain(session, question)
      return explainConnect(session)
    },
    async reload() {
      await keys.reload()
    },
    onChange(listener) {
      keys.onChange(() => listener())
      expiry.onEnd((session) => listener(session))
    },
    close() {
      keys.close()
      expiry.close()
      return Promise.resolve()
    },
  }

  function explainConnect(session: Session): RuleExplanation {
    const came = admitted.get(session)
    if (came === undefined)
      return {
        rule: keys.name,
        reason: `a token as ${config.from} decides; others are ${config.required ? 'refused' : 'left to the next handler'}`,
      }
    const endsAtMs = expiry.endsAtMs(session)
    const until =
      endsAtMs === undefined || endsAtMs > LAST_DATE_MS
        ? ''
        : `, and holds until ${new Date(endsAtMs).toISOString()}`
    return { rule: keys.name, reason: `it came with a token of ${came.issuer}${until}` }
  }
}

function openKeys({ config, log, counters, watch }: JwtOptions, name: string): Promise<KeySource> {
  return config.jwksUrl === undefined
    ? openLocalKeys(config, log, watch)
    : openRemoteKeys({ url: config.jwksUrl, config, counters: counters.keySet(name), log })
}
