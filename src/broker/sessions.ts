import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { Will } from '../hooks/types.ts'
import type { Log } from '../log.ts'
import type { Store, StoredMessage, StoredSubscription } from '../store/contract.ts'
import { addMountpoint, ClientSession } from './client-session.ts'
import type { Connection } from './connection.ts'
import type { OutboxContext } from './outbox.ts'
import type { Subscriptions } from './subscriptions.ts'

export interface SessionsOptions {
  /** A session whose client stays away this long is removed; 0: never. */
  readonly expiryMs: number
  readonly maxSessions: number
}

/** How to ask again whether a client may have its stored subscriptions; resolves to the filters it may not. */
export type RecheckSubscriptions = (
  connection: Connection,
  subscriptions: readonly StoredSubscription[],
) => Promise<readonly string[]>

/**
 * Sessions by client id: attached to at most one connection at a time, kept while stored.
 * Everything that concerns one id happens in turn.
 */
export class Sessions {
  readonly #store: Store
  readonly #subscriptions: Subscriptions
  readonly #context: OutboxContext
  readonly #options: SessionsOptions
  readonly #log: Log
  readonly #byId = new Map<string, ClientSession>()
  /** The last one in the queue of each id that is being connected. */
  readonly #turns = new Map<string, Promise<void>>()
  #connected = 0

  constructor(subscriptions: Subscriptions, context: OutboxContext, options: SessionsOptions, log: Log) {
    this.#store = context.store
    this.#subscriptions = subscriptions
    this.#context = context
    this.#options = options
    this.#log = log
  }

  get connectedCount(): number {
    return this.#connected
  }

  all(): IterableIterator<ClientSession> {
    return this.#byId.values()
  }

  get(id: string): ClientSession | undefined {
    return this.#byId.get(id)
  }

  /** Brings the stored sessions back, after the store was opened. */
  async restore(nowMs: number): Promise<void> {
    const writes: Promise<void>[] = []
    for (const stored of this.#store.sessions.values()) {
      const session = new ClientSession(stored.id, stored, this.#context)
      this.#byId.set(stored.id, session)
      for (const subscription of stored.subscriptions.values()) this.#subscriptions.add(session, subscription)
      // It had a connection when the broker died: its time away begins now.
      if (stored.expiresAtMs === 0 && this.#options.expiryMs > 0) {
        const { sentUpToSeq } = stored
        writes.push(
          this.#store.sessionDisconnected(stored, {
            expiresAtMs: nowMs + this.#options.expiryMs,
            sentUpToSeq,
          }),
        )
      }
    }
    await Promise.all(writes)
    await this.#subscriptions.removeOrphans()
  }

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

    const old = this.#byId.get(id)
    const oldConnection = old?.connection
    if (oldConnection !== undefined) {
      // [MQTT-3.1.4-2]
      oldConnection.close({ kind: 'taken-over', detail: `by ${connection.transport.peer.address}` })
      await oldConnection.willSettled
    }
    const { clean } = connection.session!
    const found = this.#byId.get(id)
    const kept = clean || !this.#isStored(found) ? undefined : found
    const session = kept ?? (await this.#create(id, clean))
    let isWillPut = false
    try {
      if (session.stored !== undefined) await this.#store.sessionConnected(session.stored)
      if (kept !== undefined) await this.#recheckRights(connection, kept, recheck)
      await this.#putWill(id, connection.authorizedWill, connection.profile.mountpoint)
      isWillPut = connection.authorizedWill !== undefined
      this.#assertAlive(connection)
    } catch (error) {
      // It goes on waiting for its client.
      this.#leave(session)
      if (isWillPut) this.#takeBackWill(id)
      throw error
    }
    session.connection = connection
    this.#byId.set(id, session)
    connection.clientSession = session
    this.#connected++
    connection.sessionPresent = kept !== undefined
    return kept !== undefined
  }

  #assertAlive(connection: Connection): void {
    if (connection.phase === 'closed') throw new TunnelMQError(ErrorCode.stopped, 'the connection is gone')
  }

  async #create(id: string, clean: boolean): Promise<ClientSession> {
    const old = this.#byId.get(id)
    if (old !== undefined) await this.remove(old)
    if (clean) return new ClientSession(id, undefined, this.#context)
    if (this.#store.sessions.size >= this.#options.maxSessions) {
      throw new TunnelMQError(
        ErrorCode.limit,
        `${this.#options.maxSessions} sessions are stored (session.maxSessions)`,
      )
    }
    const stored = await this.#store.createSession('client', id)
    const session = new ClientSession(id, stored, this.#context)
    this.#byId.set(id, session)
    return session
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

  async #putWill(id: string, will: Will | undefined, mountpoint: string): Promise<void> {
    if (will !== undefined) {
      const message: StoredMessage = {
        topic: addMountpoint(will.topic, mountpoint),
        payload: will.payload,
        qos: will.qos,
        retain: will.retain,
        publisher: id,
        publishedAtMs: Date.now(),
        expiresAtMs: 0,
      }
      await this.#store.putWill({ clientId: id, message })
    } else if (this.#store.wills.has(id)) await this.#store.deleteWill(id)
  }

  /** Of a connection that was never accepted: nobody would publish or delete it. */
  #takeBackWill(id: string): void {
    this.#store
      .deleteWill(id)
      .catch((error: unknown) => this.#log.warn({ err: error, client: id }, 'will not deleted'))
  }

  /** Takes subscriptions away for good; what they have queued is not delivered. */
  async revoke(session: ClientSession, filters: readonly string[]): Promise<void> {
    for (const filter of filters) this.#subscriptions.remove(session, filter)
    session.recheckQueue()
    if (session.stored !== undefined) await this.#store.removeSubscriptions(session.stored, filters)
  }

  /** The connection is gone: the session waits, or ends. */
  detach(connection: Connection): void {
    const session = connection.clientSession
    if (session === undefined || session.connection !== connection) return
    session.connection = undefined
    this.#connected--
    session.outbox.suspend()
    const groups = session.groups === undefined ? [] : [...session.groups]
    if (session.stored === undefined) {
      if (this.#byId.get(session.id) === session) this.#byId.delete(session.id)
      this.#unsubscribeAll(session)
    } else this.#leave(session)
    for (const group of groups) group.pump()
  }

  /** The time in which the client must be back begins. */
  #leave(session: ClientSession): void {
    if (session.stored === undefined) return
    const expiresAtMs = this.#options.expiryMs === 0 ? 0 : Date.now() + this.#options.expiryMs
    this.#store
      .sessionDisconnected(session.stored, { expiresAtMs, sentUpToSeq: session.outbox.sentUpToSeq })
      .catch((error: unknown) =>
        this.#log.warn({ err: error, client: session.id }, 'session state not stored'),
      )
  }

  #unsubscribeAll(session: ClientSession): void {
    for (const filter of [...session.subscriptions.keys()]) this.#subscriptions.remove(session, filter)
  }

  /** Ends a session and all that waits for it. Rejects when the store fails: then it is as it was. */
  async remove(session: ClientSession): Promise<void> {
    if (session.stored !== undefined) await this.#store.removeSession(session.stored)
    this.#unsubscribeAll(session)
    if (this.#byId.get(session.id) === session) this.#byId.delete(session.id)
  }

  /** Not while it is being removed. */
  #isStored(session: ClientSession | undefined): session is ClientSession {
    return session?.stored !== undefined && this.#store.sessions.get(session.id) === session.stored
  }

  /** Removes sessions whose clients have stayed away too long; resolves to how many. */
  async expire(nowMs: number): Promise<number> {
    let count = 0
    for (const session of [...this.#byId.values()]) {
      const expiresAtMs = session.stored?.expiresAtMs ?? 0
      if (expiresAtMs === 0 || expiresAtMs > nowMs || session.connection !== undefined) continue
      // Its client may be on its way back.
      if (this.#turns.has(session.id)) continue
      // Another sweep, or its client, has ended it meanwhile; or is about to.
      if (!this.#isStored(session)) continue
      await this.remove(session)
      this.#log.info({ client: session.id }, 'session expired')
      count++
    }
    return count
  }
}
