import type { Directory } from '../../identities/directory.ts'
import type { Identity, Role } from '../../identities/records.ts'
import {
  compileRights,
  decidingPublish,
  decidingSubscribe,
  decidingTunnel,
  mayDeliver,
  type Rights,
} from '../../identities/rules.ts'
import type { Session, TunnelRequest } from '../types.ts'

/** Topics remembered a client, each way: about 100 bytes each. */
const MAX_REMEMBERED_TOPICS = 128

/** What the roles of an identity mean to one session, with answers for the topics that it uses again and again. */
export class CompiledRights {
  readonly identity: Identity
  readonly roles: readonly Role[]
  readonly clientId: string
  readonly rights: Rights
  /** Of the directory, when this was looked at last. */
  generation: number
  /** It may not be here at all, and does nothing until it is cut. */
  isOut: boolean
  readonly #publish = new Map<string, boolean>()
  readonly #deliver = new Map<string, boolean>()

  constructor(
    { identity, roles, clientId }: Pick<CompiledRights, 'identity' | 'roles' | 'clientId'>,
    { generation, isOut }: Pick<CompiledRights, 'generation' | 'isOut'>,
  ) {
    this.identity = identity
    this.roles = roles
    this.clientId = clientId
    this.generation = generation
    this.isOut = isOut
    this.rights = compileRights(roles, { clientId, username: identity.name })
  }

  mayPublish(topic: string): boolean {
    if (this.isOut) return false
    return (
      this.#publish.get(topic) ??
      remember(this.#publish, topic, decidingPublish(this.rights, topic)?.rule.allow === true)
    )
  }

  maySubscribe(filter: string): boolean {
    return !this.isOut && decidingSubscribe(this.rights, filter)?.rule.allow === true
  }

  mayTunnel(tunnel: Pick<TunnelRequest, 'action' | 'agent' | 'service'>): boolean {
    return !this.isOut && decidingTunnel(this.rights, tunnel)?.rule.allow === true
  }

  mayDeliver(topic: string): boolean {
    if (this.isOut) return false
    if (!this.rights.deniesDeliveries) return true
    return this.#deliver.get(topic) ?? remember(this.#deliver, topic, mayDeliver(this.rights, topic))
  }

  remembers(topic: string): boolean {
    return this.#publish.has(topic)
  }
}

/** The rights of sessions: made once for each, and again when its identity or one of its roles has changed. */
export class SessionRights {
  readonly #directory: Directory
  readonly #nameOf: (session: Session) => string | undefined
  readonly #isOut: (session: Session, identity: Identity) => boolean
  readonly #known = new WeakMap<Session, CompiledRights>()

  constructor(
    directory: Directory,
    of: {
      readonly nameOf: (session: Session) => string | undefined
      readonly isOut: (session: Session, identity: Identity) => boolean
    },
  ) {
    this.#directory = directory
    this.#nameOf = of.nameOf
    this.#isOut = of.isOut
  }

  /** Undefined: it is none of ours. */
  of(session: Session): CompiledRights | undefined {
    const directory = this.#directory
    const known = this.#known.get(session)
    const name = this.#nameOf(session)
    const isSame = known !== undefined && known.clientId === session.id && known.identity.name === name
    if (isSame && known.generation === directory.generation) return known
    const identity = name === undefined ? undefined : directory.identities.get(name)?.value
    if (identity === undefined) return undefined
    const roles = directory.rolesOf(identity)
    const { generation } = directory
    const isOut = this.#isOut(session, identity)
    if (isSame && known.identity === identity && known.roles === roles) {
      Object.assign(known, { generation, isOut })
      return known
    }
    const made = new CompiledRights({ identity, roles, clientId: session.id }, { generation, isOut })
    this.#known.set(session, made)
    return made
  }

  peek(session: Session): CompiledRights | undefined {
    return this.#known.get(session)
  }
}

function remember(answers: Map<string, boolean>, topic: string, answer: boolean): boolean {
  if (answers.size >= MAX_REMEMBERED_TOPICS) answers.clear()
  answers.set(topic, answer)
  return answer
}
