import type { Claim, ClaimLoss, Cluster } from '../cluster/contract.ts'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { DisconnectReason, Will } from '../hooks/types.ts'
import type { Log } from '../log.ts'
import type { Store, StoredSubscription, StoredWill } from '../store/contract.ts'
import { boundedExpirySeconds, sessionEndsAtMs, willWaitSeconds } from '../store/session-expiry.ts'
import { addMountpoint, ClientSession } from './client-session.ts'
import type { Connection } from './connection.ts'
import type { OutboxContext } from './outbox.ts'
import { SessionTable } from './session-table.ts'
import type { Subscriptions } from './subscriptions.ts'

export interface SessionsOptions {
  /** A session whose client stays away this long is removed, unless it has a time of its own; 0: never. */
  readonly expiryMs: number
  readonly maxSessions: number
  /** Connections of one user at all pods; 0: no limit. */
  readonly maxConnectionsPerUser: number
  /** A will that was not published when its connection ended is due after this. */
  readonly willGraceMs: number
}

/** How to ask again whether a client may have its stored subscriptions; resolves to the filters it may not. */
export type RecheckSubscriptions = (
  connection: Connection,
  subscriptions: readonly StoredSubscription[],
) => Promise<readonly string[]>

/**
 * The sessions of clients: attached to at most one connection at a time, kept while stored.
 * Everything that concerns one id happens in turn.
 */
export class Sessions {
  /** All that are known, and what other pods do to them. */
  readonly table: SessionTable
  readonly #store: Store
  readonly #cluster: Cluster
  readonly #subscriptions: Subscriptions
  readonly #context: OutboxContext
  readonly #options: SessionsOptions
  readonly #log: Log
  /** Those that have their connections here. */
  readonly #connected = new Map<string, ClientSession>()
  /** The last one in the queue of each id that is being connected. */
  readonly #turns = new Map<string, Promise<void>>()
  /** Connections that are gone, until their claims are given up. */
  readonly #departing = new Map<string, Promise<void>>()

  #cleanCount = 0

  constructor(
    subscriptions: Subscriptions,
    context: OutboxContext & { readonly cluster: Cluster },
    options: SessionsOptions,
    log: Log,
  ) {
    this.table = new SessionTable(subscriptions, context)
    this.#store = context.store
    this.#cluster = context.cluster
    this.#subscriptions = subscriptions
    this.#context = context
    this.#options = options
    this.#log = log
  }

  get connectedCount(): number {
    return this.#connected.size
  }

  /** Of those, with clean session 1. */
  get cleanCount(): number {
    return this.#cleanCount
  }

  all(): IterableIterator<ClientSession> {
    return this.table.all()
  }

  /** Those that have their connections here. */
  connected(): IterableIterator<ClientSession> {
    return this.#connected.values()
  }

  get(id: string): ClientSession | undefined {
    return this.table.get(id)
  }

  connectionOf(id: string): Connection | undefined {
    return this.#connected.get(id)?.connection
  }

  /** Brings the stored sessions back, after the store was opened. */
  async restore(nowMs: number): Promise<void> {
    for (const stored of this.#store.sessions.values()) this.table.adopt(stored)
    // Whether those of a shared store are connected is for their owners to say, and for the store.
    if (this.#cluster.isShared) return
    const writes: Promise<void>[] = []
    for (const session of [...this.table.all()]) {
      const { stored } = session
      if (stored === undefined || stored.expiresAtMs > 0) continue
      // It had a connection when the broker died: its time away begins now, or it has ended with that.
      const { sentUpToSeq, expirySeconds } = stored
      const { expiryMs } = this.#options
      // The configuration may allow less by now.
      const seconds = expirySeconds && boundedExpirySeconds(expirySeconds, expiryMs)
      const expiresAtMs = sessionEndsAtMs(nowMs, seconds, expiryMs)
      if (expirySeconds === 0) writes.push(this.remove(session))
      else if (expiresAtMs > 0)
        writes.push(this.#store.sessionDisconnected(stored, { expiresAtMs, sentUpToSeq }))
    }
    await Promise.all(writes)
    await this.#subscriptions.removeOrphans()
  }

  // --- connections

  /**
   * Gives the connection its session, in turn with others of the same client id; resolves to session present.
   * The turn ends when the connection is open or closed: call `endTurn` then.
   * Rejects when the store fails or there are too many sessions; nothing is attached then.
   */
  attach(connection: Connection, recheck: RecheckSubscriptions): Promise<boolean> {
    const id = connection.sessionId
    const ended = new Promise<void>((resolve) => {
      connection.endTurn = resolve
    })
    const attached = this.#attachAfter(this.#turns.get(id), connection, recheck)
    // Not sooner when the connection is lost meanwhile: those before it, and what the store was asked for, come first.
    const turn = attached.then(
      () => ended,
      () => {},
    )
    this.#turns.set(id, turn)
    void turn.then(() => {
      if (this.#turns.get(id) === turn) this.#turns.delete(id)
    })
    return attached
  }

  async #attachAfter(
    before: Promise<void> | undefined,
    connection: Connection,
    recheck: RecheckSubscriptions,
  ): Promise<boolean> {
    const id = connection.sessionId
    if (before !== undefined) await before
    this.#assertAlive(connection)

    await this.#closeOld(id, connection)
    const claim = await this.#claim(id, connection)
    try {
      const session = this.#sessionOf(id, claim)
      if (claim.present) await this.#recheckRights(connection, session, recheck)
      this.#assertAlive(connection)
      this.#assertStored(session)
      this.#attach(connection, session, claim)
    } catch (error) {
      this.table.dropIfRemoved(id)
      // It goes on waiting for its client; the will is nobody's. What a CONNECT asked for that is refused does not count.
      const isRefused = connection.phase !== 'closed' && claim.present
      void this.#release(connection, claim, {
        session: this.table.get(id),
        willDueAtMs: 0,
        expirySeconds: connection.terms?.sessionExpirySeconds,
        isRefused,
      }).then(() => this.table.dropIfRemoved(id))
      throw error
    }
    return claim.present
  }

  /** [MQTT-3.1.4-2] Its will, if it is due, comes before anything of the new one. */
  async #closeOld(id: string, connection: Connection): Promise<void> {
    // Its claim would be refused.
    if (this.#cluster.isShared && this.#store.failure !== undefined) {
      throw new TunnelMQError(ErrorCode.storeUnavailable, this.#store.failure)
    }
    this.connectionOf(id)?.close({ kind: 'taken-over', detail: `by ${connection.transport.peer.address}` })
    await this.#departing.get(id)
  }

  async #claim(id: string, connection: Connection): Promise<Claim> {
    const { clean, username } = connection.session!
    const { maxSessions, maxConnectionsPerUser } = this.#options
    try {
      return await this.#cluster.claim({
        sessionId: id,
        clean,
        expirySeconds: connection.terms?.sessionExpirySeconds,
        will: willOf(id, connection.authorizedWill, connection.profile.mountpoint),
        username,
        maxSessions,
        maxConnectionsPerUser,
        onLost: (loss) => connection.close(LOSSES[loss]),
      })
    } finally {
      // With clean session 1 what was there is gone, whatever has failed after that.
      this.table.dropIfRemoved(id)
    }
  }

  #sessionOf(id: string, { stored, present }: Claim): ClientSession {
    if (stored === undefined) return new ClientSession(id, undefined, this.#context)
    const session = this.table.adopt(stored)
    // What another pod has taken away from it is not written down; what waits may be from before.
    if (this.#cluster.isShared && present && stored.queuedCount > 0) session.recheckQueue()
    return session
  }

  #attach(connection: Connection, session: ClientSession, claim: Claim): void {
    const { id } = session
    session.connection = connection
    if (session.stored === undefined) this.table.add(session)
    connection.clientSession = session
    connection.claim = claim
    connection.sessionPresent = claim.present
    this.#connected.set(id, session)
    if (session.stored === undefined) this.#cleanCount++
    this.#subscriptions.connected(session)
  }

  #assertAlive(connection: Connection): void {
    if (connection.phase === 'closed') throw new TunnelMQError(ErrorCode.stopped, 'the connection is gone')
  }

  /** Others may have removed it since the claim. */
  #assertStored(session: ClientSession): void {
    if (session.stored === undefined || this.table.isStored(session)) return
    throw new TunnelMQError(ErrorCode.stopped, 'the session was removed meanwhile')
  }

  async #recheckRights(
    connection: Connection,
    session: ClientSession,
    recheck: RecheckSubscriptions,
  ): Promise<void> {
    if (session.subscriptions.size === 0) return
    const refused = await recheck(connection, [...session.subscriptions.values()])
    if (refused.length > 0) await this.revoke(session, refused)
  }

  /** Takes subscriptions away for good; what they have queued is not delivered. */
  async revoke(session: ClientSession, filters: readonly string[]): Promise<void> {
    for (const filter of filters) this.#subscriptions.remove(session, filter)
    if (this.#cluster.isShared) session.recheckFromNowOn()
    else session.recheckQueue()
    if (session.stored !== undefined) await this.#store.removeSubscriptions(session.stored, filters)
  }

  /** The connection is gone: the session waits, or ends. */
  detach(connection: Connection): void {
    const session = connection.clientSession
    if (session === undefined || session.connection !== connection) return
    const { id } = session
    session.connection = undefined
    if (this.#connected.get(id) === session) this.#connected.delete(id)
    this.#subscriptions.disconnected(session)
    session.outbox.suspend()
    const groups = session.groups === undefined ? [] : [...session.groups]
    if (session.stored === undefined) {
      this.#cleanCount--
      this.table.forget(session)
    }
    for (const group of groups) group.pump()
    const departed = this.#depart(connection, session)
    this.#departing.set(id, departed)
    void departed.then(() => {
      if (this.#departing.get(id) === departed) this.#departing.delete(id)
    })
  }

  /** The claim is held until the will is published, discarded, or left to be published later. */
  async #depart(connection: Connection, session: ClientSession): Promise<void> {
    if (connection.willSettled !== undefined) await connection.willSettled
    const willDueAtMs = connection.willDueAtMs || this.#leftWillDueAtMs(connection, session)
    const expirySeconds = connection.terms?.sessionExpirySeconds
    const released = this.#release(connection, connection.claim!, { session, willDueAtMs, expirySeconds })
    if (session.stored === undefined || expirySeconds !== 0) return
    // It has ended with its connection: the next one finds nothing.
    await released
    this.table.dropIfRemoved(session.id)
  }

  /** Its connection did not end in order, and its will was not published, as we stop; 0: there is none. */
  #leftWillDueAtMs({ reason, terms }: Connection, { id, stored }: ClientSession): number {
    const isInOrder = reason?.kind === 'client' && (reason.reasonCode ?? 0) === 0
    const will = isInOrder ? undefined : this.#store.wills.get(id)
    if (will === undefined) return 0
    const waitSeconds =
      stored === undefined ? 0 : willWaitSeconds(will.delaySeconds ?? 0, terms?.sessionExpirySeconds)
    return Date.now() + Math.max(this.#options.willGraceMs, waitSeconds * 1_000)
  }

  /** The time in which the client must be back begins, or is over. */
  #release(
    { sessionId }: Connection,
    claim: Claim,
    end: {
      session: ClientSession | undefined
      willDueAtMs: number
      expirySeconds: number | undefined
      isRefused?: boolean
    },
  ): Promise<void> {
    const { session, willDueAtMs, expirySeconds, isRefused = false } = end
    const expiresAtMs = sessionEndsAtMs(Date.now(), expirySeconds, this.#options.expiryMs)
    const sentUpToSeq = session?.outbox.sentUpToSeq ?? 0
    return claim
      .release({
        expiresAtMs,
        sentUpToSeq,
        willDueAtMs,
        isOver: expirySeconds === 0 && !isRefused,
        isRefused,
      })
      .catch((error: unknown) =>
        this.#log.warn({ err: error, client: sessionId }, 'session state not stored'),
      )
  }

  /** Resolves when every connection that is gone has given up its claim. */
  async departed(): Promise<void> {
    while (this.#departing.size > 0) await Promise.all(this.#departing.values())
  }

  /** Ends a session and all that waits for it. Rejects when the store fails: then it is as it was. */
  async remove(session: ClientSession): Promise<void> {
    if (session.stored !== undefined) await this.#store.removeSession(session.stored)
    this.table.forget(session)
  }

  /**
   * Ends the connection of a client, wherever it is, and what is stored of it, its will included: as a CONNECT with clean
   * session 1 does that goes away at once. So it is in turn with connections that come and go, here and at other pods,
   * and one that comes later begins anew. Resolves to false if there was neither. Rejects when the store fails.
   */
  async discard(id: string): Promise<boolean> {
    const discarded = this.#discardAfter(this.#turns.get(id), id)
    const turn = discarded.then(
      () => {},
      () => {},
    )
    this.#turns.set(id, turn)
    void turn.then(() => {
      if (this.#turns.get(id) === turn) this.#turns.delete(id)
    })
    return await discarded
  }

  async #discardAfter(before: Promise<void> | undefined, id: string): Promise<boolean> {
    if (before !== undefined) await before
    const connection = this.connectionOf(id)
    connection?.close({ kind: 'kicked', detail: 'its session was removed' })
    await this.#departing.get(id)
    // At another pod it would end anyway, but not be told why.
    const wasConnected = connection !== undefined || (await this.#cluster.kick(id))
    const wasStored = this.#store.sessions.has(id)
    if (!wasConnected && !wasStored) return false
    const claim = await this.#cluster.claim({
      sessionId: id,
      clean: true,
      will: undefined,
      username: undefined,
      maxSessions: this.#options.maxSessions,
      maxConnectionsPerUser: 0,
      // Another connection has come, to what is left: nothing.
      onLost: () => {},
    })
    this.table.dropIfRemoved(id)
    await claim.release({ expiresAtMs: 0, sentUpToSeq: 0, willDueAtMs: 0 })
    return true
  }

  /** Removes sessions whose clients have stayed away too long; resolves to how many. A shared store does it itself. */
  async expire(nowMs: number): Promise<number> {
    if (this.#cluster.isShared) return 0
    let count = 0
    for (const session of [...this.table.all()]) {
      const expiresAtMs = session.stored?.expiresAtMs ?? 0
      if (expiresAtMs === 0 || expiresAtMs > nowMs || session.connection !== undefined) continue
      // Its client may be on its way back.
      if (this.#turns.has(session.id)) continue
      // Another sweep, or its client, has ended it meanwhile; or is about to.
      if (!this.table.isStored(session)) continue
      await this.remove(session)
      this.#log.info({ client: session.id }, 'session expired')
      count++
    }
    return count
  }
}

const LOSSES: Readonly<Record<ClaimLoss, DisconnectReason>> = {
  'taken-over': { kind: 'taken-over', detail: 'at another pod' },
  kicked: { kind: 'kicked' },
  fenced: { kind: 'error', detail: 'Redis does not know this connection any more' },
}

function willOf(id: string, will: Will | undefined, mountpoint: string): StoredWill | undefined {
  if (will === undefined) return undefined
  const { payload, qos, retain, properties, delaySeconds, messageExpirySeconds } = will
  const topic = addMountpoint(will.topic, mountpoint)
  const message = { topic, payload, qos, retain, publisher: id, publishedAtMs: Date.now(), expiresAtMs: 0 }
  return {
    clientId: id,
    message: properties === undefined ? message : { ...message, properties },
    ...(delaySeconds !== undefined && { delaySeconds }),
    ...(messageExpirySeconds !== undefined && { messageExpirySeconds }),
  }
}
