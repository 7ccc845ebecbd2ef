import type { ClusterConfig, RedisConfig } from '../../config/cluster-schema.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import { Calls } from './calls.ts'
import type { Connection } from './connection.ts'
import { Connections } from './connections.ts'
import type { RedisLink, ScriptArgument, ScriptReply } from './contract.ts'
import { StreamFollower } from './follower.ts'
import { Joining } from './joining.ts'
import { PubSubLane } from './lane.ts'
import { describeRedis, redisOptions } from './options.ts'
import { OutageLog } from './outage-log.ts'
import { reasonOf, unavailable } from './refusal.ts'
import { persistenceWarning } from './server-check.ts'
import { BatchWriter } from './writer.ts'

export interface RedisLinkOptions {
  readonly config: RedisConfig
  readonly cluster: ClusterConfig
  readonly log: Log
}

/** Throws TMQ_CONFIG for a URL or a file that cannot be used. Nothing is connected before `open`. */
export function createRedisLink(options: RedisLinkOptions): RedisLink {
  // Said now, and not when the first attempt fails.
  redisOptions(options.config)
  return new Link(options)
}

/** Puts the parts together: connections, writer, follower, channels, and the pod's place among the pods. */
class Link implements RedisLink {
  readonly writer: BatchWriter
  readonly follower: StreamFollower
  readonly bulk: PubSubLane
  readonly prompt: PubSubLane
  readonly #config: RedisConfig
  readonly #beatMs: number
  readonly #log: Log
  readonly #url: string
  readonly #calls: Calls
  readonly #outage: OutageLog
  readonly #connections: Connections
  readonly #joining: Joining
  readonly #beatListeners: ((nowMs: number, beats: ReadonlyMap<string, number>) => void)[] = []
  #opening: { readonly resolve: () => void; readonly reject: (error: Error) => void } | undefined
  /** An attempt, while opening. */
  #hasFailed = false
  #isStarted = false
  #isClosed = false
  #beatTimer: NodeJS.Timeout | undefined
  #loadFault = ''

  constructor({ config, cluster, log }: RedisLinkOptions) {
    this.#config = config
    this.#beatMs = cluster.beatMs
    this.#log = log
    this.#url = describeRedis(config)
    this.#outage = new OutageLog(log, this.#url)
    this.#connections = new Connections(config, {
      up: (name) => {
        this.bulk.up(name)
        this.prompt.up(name)
        this.#advance()
      },
      down: (name, reason) => {
        if (name === 'writes') this.writer.pause(reason)
        this.#checkOutage()
      },
      failed: (error) => this.#failed(error),
      serverChanged: () => this.reload('Redis was started anew, or is another server'),
      message: (...from) => {
        this.bulk.message(...from)
        this.prompt.message(...from)
      },
    })
    this.#calls = new Calls(this.#connections, config, cluster)
    const ofLanes = {
      connections: this.#connections,
      keyPrefix: config.keyPrefix,
      maxBytes: cluster.crossingMaxBytes,
      log,
    }
    this.bulk = new PubSubLane({ ...ofLanes, publishes: 'bulk-out', subscribes: 'bulk-in' })
    this.prompt = new PubSubLane({ ...ofLanes, publishes: 'prompt-out', subscribes: 'prompt-in' })
    this.writer = new BatchWriter({
      sender: {
        apply: (batch) => this.#calls.apply(this.pod, batch),
        cancel: (batch) => this.#calls.run('writes', 'cancel', [this.pod, batch.number]),
      },
      holdMs: config.holdMs,
      maxPendingBytes: config.maxPendingBytes,
      log,
      onUnknownPod: () => this.reload('Redis does not know this pod'),
      onReadOnly: () => this.#connections.dropAll('Redis is a replica, and takes no writes'),
    })
    this.follower = new StreamFollower({
      freshMs: cluster.freshMs,
      log,
      read: (after, blockMs) => {
        const { failure } = this.#joining
        return failure === undefined
          ? this.#calls.read(this.pod, after, blockMs)
          : Promise.reject(unavailable(failure))
      },
      handled: (inboxPosition, bytes) => this.#calls.handled(this.pod, inboxPosition, bytes),
      onLogGap: (reason) => this.reload(reason),
    })
    this.#joining = new Joining({
      leaseMs: cluster.leaseMs,
      log,
      writer: this.writer,
      follower: this.follower,
      script: (name, args) => this.#calls.run('reads', name, args),
      prepare: () => this.#prepare(),
      isConnected: () => this.#connections.get('reads').isUp,
      changed: (error) => this.#changed(error),
    })
  }

  get pod(): string {
    return this.#joining.pod
  }

  get failure(): string | undefined {
    return this.#connections.failure ?? this.#joining.failure ?? this.writer.failure
  }

  get reloads(): number {
    return this.#joining.reloads
  }

  get emptied(): number {
    return this.#joining.emptied
  }

  key(name: string): string {
    return this.#config.keyPrefix + name
  }

  command(name: string, ...args: ScriptArgument[]): Promise<ScriptReply> {
    return this.#reads.send(name, args)
  }

  pipeline(commands: readonly (readonly [string, ...ScriptArgument[]])[]): Promise<ScriptReply[]> {
    return Promise.all(commands.map(([name, ...args]) => this.#reads.send(name, args)))
  }

  script(name: string, ...args: ScriptArgument[]): Promise<ScriptReply> {
    return this.#calls.run('reads', name, args)
  }

  onLoad(load: (position: number) => Promise<void>): void {
    this.#joining.onLoad(load)
  }

  onEmptied(listener: () => void): void {
    this.#joining.onEmptied(listener)
  }

  onExpelled(listener: () => void): void {
    this.#joining.onExpelled(listener)
  }

  onReloaded(listener: () => void): void {
    this.#joining.onReloaded(listener)
  }

  setInfo(info: () => string): void {
    this.#joining.setInfo(info)
  }

  onBeat(listener: (nowMs: number, beats: ReadonlyMap<string, number>) => void): void {
    this.#beatListeners.push(listener)
  }

  reload(reason: string): void {
    this.#joining.require(reason)
  }

  open(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#opening = { resolve, reject }
      this.#beatTimer = setInterval(() => void this.#beat(), this.#beatMs)
      this.#connections.open()
    })
  }

  start(): void {
    this.#isStarted = true
    this.#advance()
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    await this.writer.close(this.#config.holdMs)
    this.#isClosed = true
    this.#joining.close()
    clearInterval(this.#beatTimer)
    const stopped = this.follower.stop()
    if (this.#joining.hasJoined) await this.script('left', this.pod).catch(() => undefined)
    this.#connections.close()
    await stopped
    this.#opening?.reject(unavailable('The connection to Redis is closed'))
  }

  get #reads(): Connection {
    return this.#connections.get('reads')
  }

  /** What can go on by now does. */
  #advance(): void {
    if (this.#isClosed) return
    this.#joining.advance()
    if (this.#joining.isJoined && this.#connections.get('writes').isUp) this.writer.resume()
    if (this.#joining.failure === undefined) {
      if (this.#isStarted) this.follower.follow()
      if (this.#connections.failure === undefined) {
        this.#opening?.resolve()
        this.#opening = undefined
      }
    }
    this.#checkOutage()
  }

  #checkOutage(): void {
    // Not yet connected, or not any more: nothing has failed.
    if (this.#isClosed || (this.#opening !== undefined && !this.#hasFailed)) return
    // That is said when it begins.
    if (this.#connections.failure === undefined && this.#joining.isLoading) return
    this.#outage.check(this.failure)
  }

  /** An attempt to connect. */
  #failed(error: Error): void {
    this.#hasFailed = true
    // Once open, such things are waited out: somebody may be at work on Redis.
    if (this.#opening !== undefined && isLasting(error)) this.#giveUp(error)
    else this.#checkOutage()
  }

  /** It has joined, or loaded, or could not. */
  #changed(error: Error | undefined): void {
    if (error === undefined) {
      this.#loadFault = ''
      return this.#advance()
    }
    if (this.#opening !== undefined && isLasting(error)) return this.#giveUp(error)
    const isAway = error instanceof TunnelMQError && error.code === ErrorCode.storeUnavailable
    // It is tried again and again: said once.
    if (!isAway && error.message !== this.#loadFault)
      this.#log.error({ err: error }, 'loading from redis failed')
    this.#loadFault = error.message
    this.#checkOutage()
  }

  #giveUp(error: Error): void {
    const opening = this.#opening
    this.#opening = undefined
    this.#isClosed = true
    this.#joining.close()
    clearInterval(this.#beatTimer)
    this.#connections.close()
    const code = error instanceof TunnelMQError ? error.code : ErrorCode.store
    opening?.reject(new TunnelMQError(code, `${this.#url}: ${reasonOf(error)}`, { cause: error }))
  }

  async #prepare(): Promise<void> {
    // Compiled now, so that what is wrong with one of them is said now.
    await this.#calls.loadScripts()
    const { server } = this.#connections
    if (server === undefined) return
    const warning = persistenceWarning(server, await this.#calls.settings())
    if (warning !== undefined) this.#log.warn({ redis: this.#url }, warning)
    this.#log.info({ redis: this.#url, version: server.version, pod: this.pod }, 'redis is connected')
  }

  async #beat(): Promise<void> {
    this.#checkOutage()
    this.#connections.probe()
    const beat = await this.#joining.beat()
    if (beat === undefined) return
    for (const listener of this.#beatListeners) {
      try {
        listener(beat.nowMs, beat.beats)
      } catch (error) {
        this.#log.error({ err: error }, 'a listener of beats failed')
      }
    }
  }
}

/** Waiting does not mend it. */
function isLasting(error: Error): boolean {
  const lasting: readonly string[] = [ErrorCode.store, ErrorCode.config]
  return error instanceof TunnelMQError && lasting.includes(error.code)
}
