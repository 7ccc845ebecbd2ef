import type { Session } from '../hooks/types.ts'
import type { Log } from '../log.ts'
import { sessionIdOf } from '../store/session-id.ts'
import type { TunnelRouter } from '../tunnel/router/router.ts'
import type { Connection } from './connection.ts'
import type { ListenerProfile } from './listener-profile.ts'
import type { Sessions } from './sessions.ts'
import type { Subscribing } from './subscribing.ts'

const RECHECKS_AT_ONCE = 64

export interface RecheckingContext {
  /** All that are open. */
  readonly connections: ReadonlySet<Connection>
  readonly sessions: Sessions
  readonly subscribing: Subscribing
  readonly tunnels: TunnelRouter | undefined
  readonly log: Log
}

/**
 * Rights have changed: live connections are asked about again, and lose what is not theirs any more. One that has been
 * let in by the rights before, and is not among the live ones yet, is asked about when it is.
 */
export class Rechecking {
  readonly #context: RecheckingContext
  /** How often rights have changed. */
  #count = 0

  constructor(context: RecheckingContext) {
    this.#context = context
  }

  /** authConnect is asked about it now. */
  connecting(connection: Connection): void {
    connection.rechecksSeen = this.#count
  }

  /** It is among the live ones now. */
  connected(connection: Connection): void {
    if (connection.rechecksSeen === this.#count) return
    this.#recheckOne(connection).catch((error: unknown) =>
      this.#context.log.error({ err: error }, 'recheck failed'),
    )
  }

  /** Asks again for live connections of this listener; `concerned`: one, or those; undefined: all. */
  async recheck(
    profile: ListenerProfile,
    concerned: Session | ((session: Session) => boolean) | undefined,
  ): Promise<void> {
    this.#count++
    const connections = this.#connectionsOf(profile, concerned).values()
    const ask = async (): Promise<void> => {
      for (const connection of connections)
        if (connection.profile === profile && connection.phase === 'open') await this.#recheckOne(connection)
    }
    // Thousands may lose a subscription at once: what waits for the disk together is written together.
    await Promise.all(Array.from({ length: RECHECKS_AT_ONCE }, ask))
  }

  async #recheckOne(connection: Connection): Promise<void> {
    const { tunnels, log } = this.#context
    const allowed = await connection.profile.guard.stillAllowed(connection.session!)
    if (!allowed) return connection.close({ kind: 'revoked', detail: 'rights have changed' })
    if (connection.tunnelEnd !== undefined) await tunnels?.recheck(connection.tunnelEnd)
    await this.#recheckSubscriptions(connection).catch((error: unknown) => {
      log.warn({ err: error, client: connection.clientId }, 'recheck not stored')
      // What was taken away is stored still, or nobody could say: it is asked for when the client is back.
      connection.close({ kind: 'revoked', detail: 'rights have changed' })
    })
  }

  #connectionsOf(
    { mountpoint }: ListenerProfile,
    concerned: Session | ((session: Session) => boolean) | undefined,
  ): Connection[] {
    const { connections, sessions } = this.#context
    if (concerned === undefined) return [...connections]
    // Here and now: what comes later is about what is so then.
    if (typeof concerned === 'function')
      return [...connections].filter(({ session, phase }) => phase === 'open' && concerned(session!))
    const session = concerned
    // Many may end at once, so each is found without a look at the others.
    const connection = sessions.connectionOf(sessionIdOf(session.id, mountpoint))
    return connection?.session === session ? [connection] : []
  }

  async #recheckSubscriptions(connection: Connection): Promise<void> {
    const { sessions, subscribing, log } = this.#context
    const session = connection.clientSession!
    const refused = await subscribing.recheck(connection, [...session.subscriptions.values()])
    if (refused.length === 0) return
    log.info({ client: connection.clientId, filters: refused }, 'subscriptions revoked')
    connection.sideChannel?.revoked(refused)
    await sessions.revoke(session, refused)
  }
}
