import type { ArrivedEntry, ClusterEvents, PodId, Seat } from '../cluster/contract.ts'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { DisconnectReason } from '../hooks/types.ts'
import type { Admission } from '../listeners/admission.ts'
import type { ReplicaListener, StoredMessage, StoredSession, StoredWill } from '../store/contract.ts'
import type { TunnelRouter } from '../tunnel/router/router.ts'
import type { Connection } from './connection.ts'
import type { Dispatcher } from './dispatch.ts'
import { Message } from './message.ts'
import type { Sessions } from './sessions.ts'
import type { Subscriptions } from './subscriptions.ts'
import type { Wills } from './wills.ts'

export interface PodEventsContext {
  readonly sessions: Sessions
  readonly subscriptions: Subscriptions
  readonly dispatcher: Dispatcher
  readonly wills: Wills
  readonly admission: Pick<Admission, 'ban' | 'unban'>
  readonly tunnels: TunnelRouter | undefined
  readonly connections: ReadonlySet<Connection>
}

/** What other pods have done, done here: of a message only the last step, to those who are connected. */
export class PodEvents implements ClusterEvents, ReplicaListener {
  readonly #context: PodEventsContext

  constructor(context: PodEventsContext) {
    this.#context = context
  }

  // --- the store, as others change it

  sessionAdded(session: StoredSession): void {
    const { sessions, subscriptions } = this.#context
    if (session.kind === 'group') subscriptions.queueAdded(session)
    else sessions.table.adopt(session)
  }

  sessionRemoved(session: StoredSession): void {
    const { sessions, subscriptions } = this.#context
    if (session.kind === 'group') subscriptions.queueRemoved(session)
    else sessions.table.drop(session)
  }

  subscriptionsChanged(session: StoredSession, filters: readonly string[]): void {
    this.#context.sessions.table.takeOver(session, filters)
  }

  reloaded(): void {
    this.#context.sessions.table.reloaded()
    this.#context.subscriptions.queuesReloaded()
  }

  // --- messages

  message(stored: StoredMessage, group: string | undefined): void {
    const message = Message.from(stored)
    if (group === undefined) this.#context.dispatcher.deliver(message)
    else this.#context.subscriptions.deliverToGroup(group, message)
  }

  arrived(stored: StoredMessage, entries: readonly ArrivedEntry[], toConnected: boolean): void {
    const message = Message.from(stored)
    for (const { session, seq, qos } of entries) {
      const known = this.#context.sessions.get(session.id)
      if (known?.stored === session) known.outbox.stored(seq, message, qos)
    }
    if (toConnected) this.#context.dispatcher.deliver(message)
  }

  groupFilled(key: string): void {
    this.#context.subscriptions.groupFilled(key)
  }

  rescan(): void {
    for (const session of this.#context.sessions.connected()) {
      if (session.stored !== undefined) session.outbox.rescan()
    }
    this.#context.subscriptions.rescanGroups()
  }

  /** What was acknowledged is not delivered to them any more: so their sessions end, and their clients know. */
  inboxLost(): void {
    for (const session of [...this.#context.sessions.connected()]) {
      if (session.stored !== undefined || ![...session.subscriptions.values()].some(({ qos }) => qos > 0))
        continue
      session.connection?.close({
        kind: 'limit',
        detail: 'messages for it were lost: too many waited for this pod',
      })
    }
  }

  willDue(will: StoredWill, claim: number): void {
    this.#context.wills.publishDue(will, claim)
  }

  // --- pods

  podJoined(): void {}

  podWants(pod: PodId, matchFilter: string, wanted: boolean): void {
    this.#context.subscriptions.podWants(pod, matchFilter, wanted)
  }

  podInGroup(pod: PodId, key: string, matchFilter: string, joined: boolean): void {
    this.#context.subscriptions.podInGroup(pod, key, matchFilter, joined)
  }

  podGone(pod: PodId): void {
    this.#context.subscriptions.podGone(pod)
    this.#context.tunnels?.podGone(pod)
  }

  seatTaken(pod: PodId, seat: Seat): void {
    this.#context.tunnels?.seatTaken(pod, seat)
  }

  seatLeft(pod: PodId, seat: Seat, reason: DisconnectReason['kind']): void {
    this.#context.tunnels?.seatLeft(pod, seat, reason)
  }

  tunnelFrame(pod: PodId, mountpoint: string, topic: string, frame: Buffer): void {
    this.#context.tunnels?.frameFromPod(pod, mountpoint, topic, frame)
  }

  banned(address: string, untilMs: number): void {
    const { admission } = this.#context
    if (untilMs === 0) admission.unban(address)
    else admission.ban(address, Math.max(0, untilMs - Date.now()))
  }

  /** Set when there is somebody who answers. */
  answerer: ((pod: PodId, question: Buffer) => Promise<Buffer>) | undefined

  asked(pod: PodId, question: Buffer): Promise<Buffer> {
    return (
      this.answerer?.(pod, question) ??
      Promise.reject(new TunnelMQError(ErrorCode.stopped, 'this pod does not answer questions'))
    )
  }

  // --- the end of what was there

  /** So that each client learns that its session is gone: session present 0. */
  emptied(): void {
    for (const connection of [...this.#context.connections]) {
      if (connection.clientSession?.stored !== undefined) {
        connection.close({ kind: 'error', detail: 'Redis has lost its session' })
      }
    }
  }

  expelled(): void {
    for (const connection of [...this.#context.connections]) {
      connection.close({ kind: 'error', detail: 'other pods have taken this one for dead' })
    }
  }
}
