import type { Directory, IdentityRefusal, Kept, Touched } from '../../identities/directory.ts'
import type { Identity } from '../../identities/records.ts'
import { isRightKey, keyIdIn } from '../../identities/secrets.ts'
import { createDecoy, parsePasswordHash } from '../password-hash.ts'
import { createPasswordVerifier } from '../password-verifier.ts'
import {
  AuthError,
  noOpinion,
  RefuseReason,
  type ManagedHandler,
  type NoOpinion,
  type Session,
  type Verdict,
} from '../types.ts'
import { explainDynamic } from './explain.ts'
import { SessionRights } from './session-rights.ts'

export interface DynamicOptions {
  /** Filled when the store is open; no client comes before. */
  readonly directory: Directory
  readonly name?: string
}

/** What a session came in with: with that, it has to go. */
interface Admitted {
  readonly name: string
  /** Undefined: a password. */
  readonly keyId: string | undefined
  /** Of the password or of the key, as it is stored. */
  readonly hash: string
}

/**
 * Clients whose names, secrets and rights are in the store, and are changed by the API. No opinion on user names that are
 * not there, nor on who an identity without password and keys is (a certificate may say); on all others it decides.
 */
export function createDynamicHandler({ directory, name = 'dynamic' }: DynamicOptions): ManagedHandler {
  const verifier = createPasswordVerifier()
  const decoy = createDecoy()
  const admitted = new WeakMap<Session, Admitted>()
  const nameOf = (session: Session): string | undefined => admitted.get(session)?.name ?? session.username
  const rights = new SessionRights(directory, {
    nameOf,
    isOut: (session, identity) => faultOf(session, identity) !== undefined,
  })

  function refuse(why: IdentityRefusal): AuthError {
    directory.refused[why]++
    return refusals[why]
  }

  /** Whoever it is: one who may not be here whatever its secret is. Undefined: nothing is wrong. */
  function faultOf(session: Session, identity: Identity | undefined): IdentityRefusal | undefined {
    // It may have been disabled, or bound.
    if (identity === undefined && directory.isUnreadable(nameOf(session))) return 'disabled'
    if (identity?.isEnabled === false) return 'disabled'
    const isBoundElsewhere = identity?.clientId !== undefined && identity.clientId !== session.id
    if (isBoundElsewhere) return 'client-id'
    const owners = directory.ownersOfClientId(session.id)
    return owners === undefined || (identity !== undefined && owners.has(identity.name))
      ? undefined
      : 'client-id'
  }

  /** The secret was right. */
  function admit(session: Session, by: Admitted): void {
    // Once more: it may have changed while a hash was calculated.
    const identity = directory.identities.get(by.name)?.value
    if (identity === undefined || !isSecretOf(identity, by)) throw refuse('secret')
    const fault = faultOf(session, identity)
    if (fault !== undefined) throw refuse(fault)
    admitted.set(session, by)
  }

  /** Not one of ours: no opinion, unless it takes a client id that belongs to one. */
  function pass(session: Session): NoOpinion {
    const fault = faultOf(session, undefined)
    if (fault !== undefined) throw refuse(fault)
    return noOpinion
  }

  function checkKey(session: Session, id: string, text: Buffer): NoOpinion | undefined {
    // Empty: MQTT 3.1.1 has no password without a user name [MQTT-3.1.2-22], so neither has a bearer token.
    const username = session.username === '' ? undefined : session.username
    const owner = directory.ownerOfKey(id)?.value
    const key = owner?.keys.find((one) => one.id === id)
    const isRight = isRightKey(text, key?.hash)
    if (owner === undefined || key === undefined || !isRight) {
      if (username === undefined || directory.identities.get(username) !== undefined) throw refuse('secret')
      return pass(session)
    }
    if (username !== undefined && username !== owner.name) throw refuse('secret')
    if (isOver(key.expiresAtMs)) throw refuse('expired')
    admit(session, { name: owner.name, keyId: id, hash: key.hash })
    session.username = owner.name
    return undefined
  }

  function checkPassword(session: Session, username: string, password: Buffer): Verdict {
    const found = directory.identities.get(username)
    const stored = found?.value.passwordHash
    const parsed = stored === undefined ? undefined : parsePasswordHash(stored)
    const hash = typeof parsed === 'object' ? parsed : decoy
    const conclude = (isRight: boolean): NoOpinion | undefined => {
      if (found === undefined) return pass(session)
      if (isElsewhere(found)) return passOwn(session, found)
      if (!isRight || stored === undefined || hash === decoy) throw refuse('secret')
      admit(session, { name: username, keyId: undefined, hash: stored })
      return undefined
    }
    // Also of names that are not there: which there are is not told by the time it takes.
    const right = verifier.verify({ username, hash, password, signal: session.signal })
    return typeof right === 'boolean' ? conclude(right) : right.then(conclude)
  }

  function passOwn(session: Session, { value }: Kept<Identity>): NoOpinion {
    const fault = faultOf(session, value)
    if (fault !== undefined) throw refuse(fault)
    return noOpinion
  }

  return {
    name,
    authConnect(session) {
      if (!directory.isLoaded) throw notLoaded
      const { username, password } = session
      const keyId = password && keyIdIn(password)
      if (password !== undefined && keyId !== undefined) return checkKey(session, keyId, password)
      if (username === undefined) return pass(session)
      if (password !== undefined) return checkPassword(session, username, password)
      const found = directory.identities.get(username)
      if (found === undefined) return pass(session)
      if (isElsewhere(found)) return passOwn(session, found)
      throw refuse('secret')
    },
    // Handlers before this one, and `allowAnonymous`, know neither who is disabled nor whose a client id is.
    vetoConnect(session) {
      if (!directory.isLoaded) throw notLoaded
      const username = nameOf(session)
      const identity = username === undefined ? undefined : directory.identities.get(username)?.value
      const fault = faultOf(session, identity)
      if (fault !== undefined) throw refuse(fault)
    },
    authPublish(session, { topic }) {
      const found = rights.of(session)
      if (found === undefined) return noOpinion
      if (!found.mayPublish(topic)) throw publishRefused
      return undefined
    },
    authSubscribe(session, subscriptions) {
      const found = rights.of(session)
      if (found === undefined) return noOpinion
      for (const subscription of subscriptions)
        if (!found.maySubscribe(subscription.topic)) subscription.refused = 'no role allows this filter'
      return undefined
    },
    authTunnel(session, tunnel) {
      const found = rights.of(session)
      if (found === undefined) return noOpinion
      if (!found.mayTunnel(tunnel)) throw tunnelRefused
      return undefined
    },
    authDeliver(session, { topic }) {
      const found = rights.of(session)
      // No opinion on what is not denied: the subscription was granted, by whomever.
      return found === undefined || found.mayDeliver(topic) ? undefined : false
    },
    stillAllowed(session) {
      const by = admitted.get(session)
      const username = nameOf(session)
      const identity = username === undefined ? undefined : directory.identities.get(username)?.value
      if (faultOf(session, identity) !== undefined) return false
      return by === undefined || (identity !== undefined && isSecretOf(identity, by))
    },
    explain: (session, question) => explainDynamic({ directory, rights, faultOf, nameOf }, session, question),
    onChange(listener) {
      directory.onChange((touched) => listener(concernedBy(touched, nameOf)))
    },
  }
}

const refusals: Readonly<Record<IdentityRefusal, AuthError>> = {
  // Shared: a flood of wrong passwords must not cost a stack trace each.
  secret: new AuthError('wrong password or key', RefuseReason.badCredentials),
  expired: new AuthError('the key has expired', RefuseReason.badCredentials),
  disabled: new AuthError('the identity is disabled'),
  'client-id': new AuthError('the client id belongs to another identity', RefuseReason.identifierRejected),
}
const publishRefused = new AuthError('no role allows this topic')
const tunnelRefused = new AuthError('no role allows this tunnel')
const notLoaded = new AuthError('the identities are not read yet', RefuseReason.unavailable)

function isOver(expiresAtMs: number): boolean {
  return expiresAtMs !== 0 && expiresAtMs <= Date.now()
}

/** It has nothing to show here: who it is, another handler says. */
function isElsewhere({ value }: Kept<Identity>): boolean {
  return value.passwordHash === undefined && value.keys.length === 0
}

function isSecretOf(identity: Identity, { keyId, hash }: Admitted): boolean {
  if (keyId === undefined) return identity.passwordHash === hash
  const key = identity.keys.find(({ id }) => id === keyId)
  return key?.hash === hash && !isOver(key.expiresAtMs)
}

function concernedBy(
  touched: Touched,
  nameOf: (session: Session) => string | undefined,
): ((session: Session) => boolean) | undefined {
  if (touched === undefined) return undefined
  const { names, clientIds } = touched
  return (session) => names.has(nameOf(session) ?? '') || clientIds.has(session.id)
}
