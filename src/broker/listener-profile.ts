import type { Guard } from '../hooks/guard.ts'
import type { Session } from '../hooks/types.ts'
import type { Interceptors } from './interceptors/interceptors.ts'

/** Client ids that begin so are the broker's own. */
export const RESERVED_ID_PREFIX = '$bridge/'

/** What a listener's configuration means to the broker. */
export interface ListenerProfile {
  readonly name: string
  /** The listener's handler chain, with deadline and cap. */
  readonly guard: Guard
  /** Undefined: it has none. */
  readonly interceptors?: Interceptors | undefined
  readonly allowAnonymous: boolean
  /** 3: MQTT 3.1, 4: MQTT 3.1.1. */
  readonly protocolVersions: ReadonlySet<number>
  /** Of connections of the broker itself: the client id that they have, and nobody else. */
  readonly ownClientId?: string
  /** Prefix of every topic of its clients; may be empty. */
  readonly mountpoint: string
}

/** Let in by `allowAnonymous`, without a question to the chain. One whose certificate a handler looks at is not. */
export function isAnonymous({ allowAnonymous, guard }: ListenerProfile, session: Session): boolean {
  // MQTT 5 allows a password alone: who shows one wants it to be looked at.
  const showsNothing = session.username === undefined && session.password === undefined
  return allowAnonymous && showsNothing && !guard.chain.recognizes(session)
}
