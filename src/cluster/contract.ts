import type { DisconnectReason } from '../hooks/types.ts'
import type { StoredMessage, StoredSession, StoredWill } from '../store/contract.ts'

/** Name of a pod: random at each start, `[0-9a-f]{16}`. */
export type PodId = string

// --- ownership of client ids

export type ClaimLoss =
  /** Another connection of this client id has a higher number. */
  | 'taken-over'
  /** Somebody at another pod has asked for it. */
  | 'kicked'
  /** Redis does not know the claim any more: it was emptied, or has declared this pod dead. */
  | 'fenced'

export interface ClaimRequest {
  /** Client id with its mountpoint (store/session-id.ts). */
  readonly sessionId: string
  /** What is stored of it is dropped: clean session, or clean start. */
  readonly clean: boolean
  /**
   * Of MQTT 5: seconds that the session outlives its connection, stored with it. 0: it ends with the connection, and is
   * not stored unless it was; 0xffffffff: never. Undefined, before MQTT 5: stored unless `clean`, and for as long as is
   * configured.
   */
  readonly expirySeconds?: number | undefined
  /** In place of whatever will there was. */
  readonly will: StoredWill | undefined
  readonly username: string | undefined
  /** Above it, a session that is new is refused (TMQ_LIMIT). */
  readonly maxSessions: number
  /** Connections of one username at all pods, this one included; above it, a PeerError (TMQ_LIMIT). 0: no limit. */
  readonly maxConnectionsPerUser: number
  /**
   * Called at most once, and never after `release` was called: the connection must be closed, without delivering
   * anything more, and then `release` be called as ever.
   */
  readonly onLost: (loss: ClaimLoss) => void
}

export interface Claim {
  /** Its stored session, if it has one. */
  readonly stored: StoredSession | undefined
  /** The session was there before, and goes on. */
  readonly present: boolean
  /**
   * The connection is gone, and its will is published or discarded, or to be kept: `willDueAtMs` says when it is due
   * if the client is not back by then (0: there is none to keep). Not waited for by callers; what is lost of it
   * costs a DUP flag or a later expiry.
   */
  release(end: ClaimEnd): Promise<void>
}

export interface ClaimEnd {
  readonly expiresAtMs: number
  readonly sentUpToSeq: number
  readonly willDueAtMs: number
  /** The session ends with the connection, with all that waits in it. */
  readonly isOver?: boolean
  /** The CONNECT is refused: its session, if that was there before, goes on as if it had not come. */
  readonly isRefused?: boolean
}

// --- messages between pods

/** A message at QoS 1 or 2 that is in a stored queue now. */
export interface ArrivedEntry {
  readonly session: StoredSession
  readonly seq: number
  readonly qos: 1 | 2
}

/** A connection at another pod that is an end of tunnels: what is in its place here (docs/tunnel-protocol.md 9). */
export interface Seat {
  readonly mountpoint: string
  readonly name: string
  readonly role: 'serve' | 'answers'
  readonly username: string | undefined
  readonly address: string
  readonly port: number
  readonly isBroker: boolean
}

export interface PodFigures {
  readonly name: string
  readonly connected: number
  /** Of those, with clean session 1. */
  readonly connectedClean: number
  readonly packetsReceived: number
  readonly packetsSent: number
  readonly publishReceived: number
  readonly publishSent: number
  readonly publishDropped: number
  readonly bytesReceived: number
  readonly bytesSent: number
  readonly connectionsAccepted: number
}

/** What other pods do, told to the broker. All are called between two packets, never from within a call of ours. */
export interface ClusterEvents {
  /** QoS 0, for sessions that are connected here; with `group`: for one member of that shared subscription here. */
  message(message: StoredMessage, group: string | undefined): void
  /**
   * QoS 1 or 2. `entries`: it is in these stored queues, whose sessions are connected here. `toConnected`: sessions
   * here that match and have no stored queue, or subscribed at QoS 0, are to get it as well.
   */
  arrived(message: StoredMessage, entries: readonly ArrivedEntry[], toConnected: boolean): void
  /** The queue of a shared subscription has something for members here. */
  groupFilled(key: string): void
  /** Something may have been missed: read every queue of a connected session, and of every group, again. */
  rescan(): void
  /**
   * Messages at QoS 1 and 2 for this pod were lost: more than `cluster.inboxMaxBytes` waited for it. Sessions without a
   * stored queue cannot find them again.
   */
  inboxLost(): void
  /** Another pod has sessions connected that match this, or has none any more. */
  podWants(pod: PodId, matchFilter: string, wanted: boolean): void
  podJoined(pod: PodId): void
  /** Members of a shared subscription are connected there, or are not any more. */
  podInGroup(pod: PodId, key: string, matchFilter: string, joined: boolean): void
  seatTaken(pod: PodId, seat: Seat): void
  seatLeft(pod: PodId, seat: Seat, reason: DisconnectReason['kind']): void
  /** A frame of a tunnel, on its way through two pods; `topic` without mountpoint. Bytes may be kept and changed. */
  tunnelFrame(pod: PodId, mountpoint: string, topic: string, frame: Buffer): void
  /** All that it wanted and all its seats are gone. `stopped`: it has left in order. */
  podGone(pod: PodId, how: 'stopped' | 'dead'): void
  /** `untilMs` 0: not banned any more. */
  banned(address: string, untilMs: number): void
  /** A question of another pod, or of this one. What it rejects with is what the asker is told: code and message. */
  asked(pod: PodId, question: Buffer): Promise<Buffer>
  /** Its client did not come back. Published with {@link PublishWrite.willOf}, which makes it once. */
  willDue(will: StoredWill, claim: number): void
  /** Redis has lost everything: sessions with a stored queue are gone. */
  emptied(): void
  /** Declared dead while away: every connection must be closed. */
  expelled(): void
}

export interface PodState {
  readonly id: PodId
  readonly isSelf: boolean
  /** Since its last beat, ms. */
  readonly silentMs: number
  readonly figures: PodFigures | undefined
}

/** For metrics: what each mechanism does. Counters since the start, unless said otherwise. */
export interface ClusterStats {
  /** Now, itself included. */
  readonly pods: number
  /** Entries of the log that are not applied yet, as far as is known, and the position. Now. */
  readonly logLag: number
  readonly logPosition: number
  readonly logGaps: number
  readonly inboxGaps: number
  readonly reloads: number
  readonly claims: number
  readonly takeovers: number
  readonly lostClaims: number
  readonly fencedWrites: number
  /** Client ids that are claimed by this pod, now. */
  readonly owned: number
  readonly routed: Readonly<Record<'out' | 'in', Readonly<Record<'qos0' | 'stored' | 'frame', number>>>>
  /** Not sent, because too much waited for Redis; QoS 0 and frames only. */
  readonly routedDropped: number
  /** QoS 0 and frames on their way to other pods, bytes that Redis has not taken. Now. */
  readonly waitingBytes: number
  /** What could not be decoded on our channels and streams. */
  readonly garbage: number
  readonly deadPods: number
  readonly willsDue: number
  /** SUBACKs that were given because the time had passed, and not because every pod had answered. */
  readonly lateSettles: number
  /** 0 or 1, now. */
  readonly fresh: number
  readonly emptied: number
}

/**
 * The other pods. `single.ts` is the twin for a broker that is alone.
 *
 * Order: the store is opened (which joins the cluster, and loads), the broker restores its sessions, then `start`
 * (events begin), then listeners. At the end: connections are closed and their claims released, then `leave`, then
 * the store is closed.
 */
export interface Cluster {
  readonly pod: PodId
  /** False: alone, with a store of its own. */
  readonly isShared: boolean
  /** Why no client should be sent here; undefined: well. The store's own failure is not repeated. */
  readonly failure: string | undefined
  start(events: ClusterEvents, figures: () => PodFigures): Promise<void>
  /** Other pods need not wait for this one any more. */
  leave(): Promise<void>

  /**
   * Makes this pod the owner of a client id. Resolves when no other connection of it can be sent anything any more.
   * Rejects with TMQ_STORE_UNAVAILABLE, TMQ_LIMIT; nothing is claimed then.
   */
  claim(request: ClaimRequest): Promise<Claim>
  /** Ends its connection, wherever it is. Resolves to false: it has none. */
  kick(sessionId: string): Promise<boolean>
  /** Of these sessions those that have connections at other pods, and where. While Redis is away nothing is known. */
  elsewhere(sessionIds: readonly string[]): Promise<ReadonlyMap<string, PodId>>

  /** One more, or one fewer, connected session here has this filter. Cheap; told to others soon, and withdrawn late. */
  want(matchFilter: string): void
  unwant(matchFilter: string): void
  /** As `want`, for connected members of a shared subscription. */
  joinGroup(key: string, matchFilter: string): void
  quitGroup(key: string): void
  /**
   * Resolves when whatever was wanted and stored before the call is known to every pod that can act, and when the
   * replica here has everything that was stored anywhere before the call. Rejects with TMQ_STORE_UNAVAILABLE.
   */
  settled(): Promise<void>
  /** What is known of subscriptions and of other pods is young enough for QoS 1 and 2. */
  readonly isFresh: boolean
  /** Calls back when it is (undefined), or when it was not for `store.redis.holdMs`. Not within this call. */
  onceFresh(done: (error: Error | undefined) => void): void

  /** QoS 0, to sessions connected at these pods. Past a bound it is dropped, and counted. */
  send(pods: readonly PodId[], message: StoredMessage): void
  /** QoS 0, to one member of a shared subscription at that pod. */
  sendToGroup(pod: PodId, key: string, message: StoredMessage): void

  announceSeat(seat: Seat): void
  withdrawSeat(seat: Seat, reason: DisconnectReason['kind']): void
  sendFrame(pod: PodId, mountpoint: string, topic: string, frame: Buffer): void
  /** Bytes of frames on their way to other pods that Redis has not taken. */
  readonly pendingBytes: number
  /** Calls it, once, when some of what waited has been taken; not within this call. */
  onceDrained(listener: () => void): void

  /** This pod has banned an address. */
  ban(address: string, untilMs: number): void
  /**
   * Ends a ban at all pods, this one included ({@link ClusterEvents.banned}), and forgets refused credentials that
   * were counted over them. Resolves to false: pods share no such ban. Rejects with TMQ_STORE_UNAVAILABLE.
   */
  unban(address: string): Promise<boolean>
  /** Refused credentials, counted over all pods: bans when there were too many. */
  credentialsRefused(address: string): void

  /**
   * Asks a pod ({@link ClusterEvents.asked}); the question is at most 256 KiB, the answer at most 4 MiB. Rejects with
   * what that pod rejected with, TMQ_TIMEOUT, TMQ_LIMIT (sizes, or 64 questions under way), or TMQ_UNREACHABLE: there
   * is no such pod, or no way to it now. It may have acted all the same, unless it has answered.
   */
  ask(pod: PodId, question: Buffer, timeoutMs: number): Promise<Buffer>

  pods(): readonly PodState[]
  stats(): ClusterStats
}
