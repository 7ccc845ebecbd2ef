import type { Store, StoredSession, StoredWill } from '../contract.ts'

/** What goes into a script: strings and numbers as text, payloads as bytes. */
export type ScriptArgument = string | number | Buffer

/** What comes back: bulk strings as bytes. */
export type ScriptReply = number | Buffer | null | readonly ScriptReply[]

/**
 * One change, executed by `apply.lua` in a batch with others, each of them wholly or not at all, in their order.
 * `name` is a function of that name in a file of lua/.
 */
export interface Op {
  readonly name: string
  readonly args: readonly ScriptArgument[]
  /** About what it weighs while it waits. */
  readonly bytes: number
  /** It only frees memory: goes on when Redis is out of memory. */
  readonly frees?: boolean
  /**
   * `wait`: held while Redis is away, up to `holdMs`, then fails. `now`: fails at once while Redis is away (CONNECT).
   * `keep`: never fails; waits for as long as it takes (acknowledgements; their number is bounded by windows).
   */
  readonly patience: 'wait' | 'now' | 'keep'
  /** Once; in the order of `submit`, except for those that fail by time. `reply` is undefined with an error. */
  readonly settle: (error: Error | undefined, reply: ScriptReply | undefined) => void
}

export interface Writer {
  /** `settle` is never called before this has returned. Fails with TMQ_STORE_UNAVAILABLE past the bound of bytes. */
  submit(op: Op): void
  /** Called after all that was submitted before, without a round trip if nothing waits. Not within this call. */
  barrier(settle: () => void): void
  readonly pendingWrites: number
  readonly pendingBytes: number
  readonly commits: number
  /** Why an op that does not wait would fail now. */
  readonly failure: string | undefined
}

export type LogEntry = readonly [kind: string, pod: string, ...rest: unknown[]]
export type InboxEntry = readonly [kind: string, ...rest: unknown[]]

/** Reads the log and the inbox of this pod, in order, from a blocking connection of its own. */
export interface Follower {
  /** Position in the log up to which every handler has been called and has resolved. */
  readonly position: number
  /** Where the log is, as far as is known. */
  readonly head: number
  /**
   * `performance.now()` at which it was certain that there was nothing in the log that is not applied; -Infinity
   * while that is unknown.
   */
  readonly freshAtMs: number
  /**
   * Of that kind. All handlers of one read are called, in order; then their promises are waited for, before the position
   * moves on: they must not wait for a write, or for the position. Rejects with TMQ_STORE_UNAVAILABLE: that read is handed over
   * again; any other error: garbage, counted.
   */
  onLog(kind: string, handler: (entry: LogEntry, position: number) => void | Promise<void>): void
  /** All of them, after the handlers of a read: the position has moved. */
  onProgress(listener: (position: number) => void): void
  onInbox(kind: string, handler: (entry: InboxEntry, message: Buffer | undefined) => void): void
  /** Entries of the inbox are missing: a bound was reached. */
  onInboxGap(listener: () => void): void
  /** Resolves when the position has reached this; rejects after `timeoutMs` with TMQ_TIMEOUT. */
  reached(position: number, timeoutMs: number): Promise<void>
  readonly garbage: number
  readonly logGaps: number
  readonly inboxGaps: number
}

/** Pub/sub. A lane has connections and bounds of its own: what floods one neither delays nor drops what is on the other. */
export interface Lane {
  /** The prefix is added. False: past its bound of bytes, or no connection; not sent. */
  publish(channel: string, message: Buffer): boolean
  /** Bytes that Redis has not answered yet. */
  readonly pendingBytes: number
  /** Some of it was taken. */
  onDrained(listener: () => void): void
  /** Messages on a channel, to which the prefix is added; from now on, also on connections to come. */
  subscribe(channel: string, listener: (message: Buffer) => void): void
}

/** The connections to Redis. The only importers of ioredis are in store/redis. */
export interface RedisLink {
  /** Random at each start, and again after this pod was declared dead. */
  readonly pod: string
  /** Undefined: well. */
  readonly failure: string | undefined
  readonly writer: Writer
  readonly follower: Follower
  /** With the prefix. */
  key(name: string): string
  /** A command on the connection for reads. Rejects with TMQ_STORE_UNAVAILABLE after the deadline of commands. */
  command(name: string, ...args: ScriptArgument[]): Promise<ScriptReply>
  /** Several, in one round trip. An error of one is the error of all. */
  pipeline(commands: readonly (readonly [string, ...ScriptArgument[]])[]): Promise<ScriptReply[]>
  /** A script of lua/ by its file name without `.lua`; the prefix is KEYS[1]. */
  script(name: string, ...args: ScriptArgument[]): Promise<ScriptReply>
  /** For floods: QoS 0. */
  readonly bulk: Lane
  /** For what must not be behind them: frames of tunnels, and hints. */
  readonly prompt: Lane
  /**
   * Loads what this part keeps in memory, at `open` and at each reload: in the order in which they were added. What is
   * in the log from `position` on is applied afterwards.
   */
  onLoad(load: (position: number) => Promise<void>): void
  /** The data is another: Redis was emptied, or is another Redis. Before the loads. */
  onEmptied(listener: () => void): void
  /** This pod was declared dead; `pod` is another from now on. Before the loads. */
  onExpelled(listener: () => void): void
  /** Loaded again after Redis was away, or after a gap: all loads are done, and the position is theirs. */
  onReloaded(listener: () => void): void
  /** Asks for a reload; not ready meanwhile. */
  reload(reason: string): void
  /** Figures for `podinfo`, sent with each beat. */
  setInfo(info: () => string): void
  /** Answer of each beat: Redis' time in ms, and the last beat of each pod. */
  onBeat(listener: (nowMs: number, beats: ReadonlyMap<string, number>) => void): void
  /**
   * Connects, and waits for as long as Redis is not there; checks the server and its settings, joins, loads.
   * Rejects with TMQ_STORE for what waiting does not mend (wrong password, eviction, version).
   */
  open(): Promise<void>
  /** Begins to follow, and to beat. */
  start(): void
  /** Says that it has left, and closes. Pending writes are made first, within their deadline. */
  close(): Promise<void>
  readonly reloads: number
  readonly emptied: number
}

export interface RedisClaimReply {
  readonly claim: number
  readonly stored: StoredSession | undefined
  /** It was there; with `clean` it is not any more. */
  readonly present: boolean
  /** The will of the session that this claim has ended waited for that. */
  readonly isWillDue: boolean
  /** The pod that had it until now, if that lives and is another. */
  readonly previousPod: string | undefined
  readonly previousClaim: number
  /**
   * How its session would be away without this claim, of one that goes on: until when, and its interval. If a connection
   * had it, that was told to end, and can not say any more when the session is to end: so its time away begins here.
   */
  readonly before: Pick<StoredSession, 'expiresAtMs' | 'expirySeconds'> | undefined
}

/** The store contract, and what the cluster needs beyond it. */
export interface RedisStore extends Store {
  readonly kind: 'redis'
  readonly link: RedisLink
  /**
   * One op: the number, the old owner, session created, found or (clean) removed; the will, if nobody lives who has to
   * publish the old one. `expirySeconds`: as in ClaimRequest (cluster/contract.ts).
   */
  claim(request: {
    sessionId: string
    clean: boolean
    expirySeconds?: number | undefined
    will: StoredWill | undefined
    username: string | undefined
    maxSessions: number
    maxConnectionsPerUser: number
  }): Promise<RedisClaimReply>
  /**
   * After a take-over: the will of the new connection, in place of any. Fails with TMQ_STOPPED when the claim is lost.
   * `isSessionOver`: a will that waited for the end of the session before is due. Resolves to true if there was one.
   */
  putClaimedWill(
    sessionId: string,
    claim: number,
    will: StoredWill | undefined,
    isSessionOver?: boolean,
  ): Promise<boolean>
  /** Gives a claim up, and tells `releasedTo` (a pod), if that is set. Nothing happens if it is lost already, beside the telling. */
  releaseClaim(
    sessionId: string,
    claim: number,
    end: {
      expiresAtMs: number
      sentUpToSeq: number
      willDueAtMs: number
      /** The session ends with it. */
      isOver?: boolean
      /** The interval that the session has again; not there: that of the claim stays. */
      expiry?: { readonly seconds: number | undefined }
      releasedTo: string | undefined
    },
  ): Promise<void>
  /** After a reload: claims again what is still connected. Resolves to those that are lost. */
  reclaim(claims: ReadonlyMap<string, number>): Promise<readonly string[]>
  /** The number of the claim that this pod holds. */
  claimOf(sessionId: string): number | undefined
  readonly claimedCount: number
  readonly fencedWrites: number
  /**
   * A write of a session was refused because this claim of it is lost; 0: it was made without one. `isTaken`: another
   * connection holds it; else nobody does, or it is one of an older Redis.
   */
  onFenced(listener: (sessionId: string, claim: number, isTaken: boolean) => void): void
}
