import type { BridgedPublish } from '../broker/local-client.ts'
import { expiresAt } from '../broker/message-properties.ts'
import { RESERVED_ID_PREFIX, type ListenerProfile } from '../broker/listener-profile.ts'
import type { BridgeConfig } from '../config/bridge-schema.ts'
import type { QoS } from '../hooks/types.ts'
import type { Transport } from '../listeners/transport.ts'
import type { Log } from '../log.ts'
import { Attempts, type RemoteProtocol } from './attempts.ts'
import { createBridgeCounters, type BridgeCounters } from './counters.ts'
import { failureOf, type RemoteFailure } from './failure.ts'
import { legalProperties } from './foreign-properties.ts'
import { LocalEnd, type LocalMessage } from './local-end.ts'
import { Outgoing } from './outgoing.ts'
import { Remote, type PublishOutcome, type RemoteMessage } from './remote.ts'
import { readRemoteOptions, shownUrl } from './remote-options.ts'
import { TopicMaps, type BridgedFilter } from './topic-maps.ts'

/** What a bridge asks of the broker that it is in. */
export interface BridgeHost {
  accept(transport: Transport, profile: ListenerProfile): void
  publishBridged(request: BridgedPublish, done: (error: Error | undefined) => void): string | undefined
  /** Of the stored session with this client id: what it has this filter at. */
  subscribedQos(clientId: string, mountpoint: string, filter: string): QoS | undefined
  /** Now is no time for connections: the store is away, or this pod may be taken for dead. */
  isFailing(): boolean
}

export interface BridgeLimits {
  /** Of sessions, here and there; 0: never. */
  readonly sessionExpiryMs: number
  /** 0: never. */
  readonly messageExpiryMs: number
  readonly maxPacketBytes: number
}

export interface BridgeContext {
  readonly config: BridgeConfig
  readonly host: BridgeHost
  readonly profile: ListenerProfile
  readonly limits: BridgeLimits
  readonly log: Log
}

/** The wait before the session here is opened again. */
const LOCAL_RETRY_MS = 1_000
/** A broker that acknowledges nothing for this long has lost it. */
const ACK_TIMEOUT_MS = 60_000
/** For what is under way to the other broker, when the bridge is stopped. */
const STOP_GRACE_MS = 1_000

export function bridgeClientId(name: string): string {
  return RESERVED_ID_PREFIX + name
}

/**
 * One bridge: a session of this broker, and a connection to the other one.
 *
 *   resting ──run──▶ joining ──session here──▶ apart ──wait over──▶ connecting ──SUBACK──▶ up
 *                       ▲                        ▲────── lost, refused ──────┴───────────────┘
 *                       └── session lost, from any of these      (resting from any of these: rest)
 */
export class Bridge {
  readonly name: string
  readonly clientId: string
  readonly counters: BridgeCounters = createBridgeCounters()
  readonly #context: BridgeContext
  readonly #log: Log
  readonly #out: TopicMaps
  readonly #in: TopicMaps
  readonly #attempts: Attempts
  readonly #outgoing: Outgoing
  #phase: 'resting' | 'joining' | 'apart' | 'connecting' | 'up' = 'resting'
  #local: LocalEnd | undefined
  #remote: Remote | undefined
  #timer: NodeJS.Timeout | undefined
  #upSinceMs = 0
  /** Filters here whose retained messages the other broker has not been sent. */
  readonly #replayDue = new Set<BridgedFilter>()
  /** In this version the other broker has had our SUBSCRIBE, in this run: in another one it may mean less. */
  #subscribedIn: RemoteProtocol | undefined
  #lastFailure = ''
  /** Called once when the session here is open. */
  #onceOpen: (() => void) | undefined

  constructor(context: BridgeContext) {
    const { config, log } = context
    this.#context = context
    this.name = config.name
    this.clientId = bridgeClientId(config.name)
    this.#log = log.child({ bridge: config.name })
    this.#out = new TopicMaps(config.topics, 'out')
    this.#in = new TopicMaps(config.topics, 'in')
    this.#attempts = new Attempts(config)
    this.#outgoing = new Outgoing(({ topic, payload }) => {
      this.counters.dropped.refused++
      const fields = { topic, payloadBytes: payload.length }
      this.#log.error(fields, 'message dropped: the other broker closes the connection whenever it comes')
    })
  }

  get mountpoint(): string {
    return this.#context.config.mountpoint
  }

  /** It runs at this pod. */
  get isRunning(): boolean {
    return this.#phase !== 'resting'
  }

  get isUp(): boolean {
    return this.#phase === 'up'
  }

  /** It is this pod's turn. Resolves when its session here is open for the first time. */
  run(): Promise<void> {
    if (this.isRunning) return Promise.resolve()
    return new Promise((resolve) => {
      this.#onceOpen = resolve
      this.#join()
    })
  }

  /** It is another pod's turn, or nobody's: what is under way has a moment, the rest stays in the queue. */
  async rest(): Promise<void> {
    if (!this.isRunning) return
    if (this.isUp) {
      const deadlineMs = performance.now() + STOP_GRACE_MS
      while (this.isUp && this.#outgoing.count > 0 && performance.now() < deadlineMs) {
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
    }
    this.#phase = 'resting'
    clearTimeout(this.#timer)
    const [local, remote] = [this.#local, this.#remote]
    this.#local = this.#remote = undefined
    this.#outgoing.disconnected()
    this.#outgoing.clear()
    local?.close()
    await remote?.close()
  }

  /** About once a second. */
  tick(): void {
    const oldestMs = this.#outgoing.oldestSentAtMs
    if (oldestMs === undefined || performance.now() - oldestMs < ACK_TIMEOUT_MS) return
    this.#remote?.fail(`nothing acknowledged within ${ACK_TIMEOUT_MS} ms`)
  }

  // --- the session here

  #join(): void {
    this.#phase = 'joining'
    if (this.#context.host.isFailing()) return this.#later(LOCAL_RETRY_MS, () => this.#join())
    const { host, profile } = this.#context
    const local = new LocalEnd(
      { clientId: this.clientId, profile, accept: (transport, own) => host.accept(transport, own) },
      {
        opened: () => this.#joined(local),
        message: (message) => this.#send(local, message),
        subscriptionsRefused: (filters) => this.#log.error({ filters }, 'bridge may not subscribe here'),
        closed: (why) => this.#left(local, why),
      },
    )
    this.#local = local
    local.connect()
  }

  #joined(local: LocalEnd): void {
    if (this.#local !== local || this.#phase !== 'joining') return
    const { host } = this.#context
    // What is subscribed already is not again: each SUBSCRIBE brings all that is retained.
    const missing = this.#out.filters.filter(
      ({ filter, qos }) => host.subscribedQos(this.clientId, this.mountpoint, filter) !== qos,
    )
    for (const filter of missing) this.#replayDue.add(filter)
    local.subscribe(missing)
    this.#onceOpen?.()
    this.#onceOpen = undefined
    void this.#connect()
  }

  #left(local: LocalEnd, why: string): void {
    if (this.#local !== local) return
    this.#local = undefined
    this.#log.warn({ reason: why }, 'bridge has lost its session here')
    this.#outgoing.disconnected()
    this.#outgoing.clear()
    const remote = this.#remote
    this.#remote = undefined
    void remote?.close()
    this.#phase = 'joining'
    this.#later(LOCAL_RETRY_MS, () => this.#join())
  }

  // --- the other broker

  async #connect(): Promise<void> {
    const { config, host, limits } = this.#context
    if (host.isFailing()) return this.#later(LOCAL_RETRY_MS, () => void this.#connect())
    this.#phase = 'connecting'
    const local = this.#local
    const options = await readRemoteOptions(config).catch((error: unknown) => {
      if (this.#local === local) this.#failed({ kind: 'file', text: String(error) })
    })
    if (options === undefined || this.#local !== local || this.#phase !== 'connecting') return
    const { protocol } = this.#attempts
    try {
      const remote: Remote = new Remote(
        options,
        protocol,
        {
          cleanSession: config.cleanSession,
          keepaliveSeconds: config.keepaliveSeconds,
          timeoutMs: config.connectTimeoutMs,
          expiryMs: limits.sessionExpiryMs,
          maxInflight: config.maxInflight,
          maxPacketBytes: limits.maxPacketBytes,
        },
        {
          connected: (sessionPresent) => {
            this.#opened(remote)
            return this.#subscriptions(sessionPresent)
          },
          up: (refused) => this.#up(remote, refused),
          message: (message, taken) => this.#receive(remote, message, taken),
          room: () => this.#local?.flow(),
          lost: (failure) => this.#lost(remote, failure),
        },
      )
      this.#remote = remote
    } catch (error) {
      this.#failed(failureOf(error instanceof Error ? error : new Error(String(error)), true))
    }
  }

  /**
   * Where messages cross both ways, each SUBSCRIBE would bring retained messages that may be older than ours: a session
   * that is still there is not subscribed again. Where they only come in, the other broker knows best.
   */
  #subscriptions(sessionPresent: boolean): { subscribe: BridgedFilter[]; unsubscribe: string[] } {
    const isKnown = sessionPresent && this.#subscribedIn === this.#attempts.protocol
    const subscribe = this.#in.filters.filter(({ isBoth }) => !(isBoth && isKnown))
    const wanted = new Set(this.#in.filters.map(({ filter }) => filter))
    const { topics } = this.#context.config
    // From a direction that was changed.
    const former = topics.map(({ remotePrefix, filter }) => remotePrefix + filter)
    const unsubscribe = sessionPresent && !isKnown ? former.filter((filter) => !wanted.has(filter)) : []
    return { subscribe, unsubscribe }
  }

  /** What waits goes out at once, and not behind the SUBACK, which may come behind all that waits there. */
  #opened(remote: Remote): void {
    const maxInflight = Math.min(this.#context.config.maxInflight, remote.receiveMaximum)
    this.#outgoing.connected(({ expiresAtMs, ...message }, dup, done) => {
      const leftMs = expiresAtMs === undefined ? undefined : expiresAtMs - Date.now()
      if (leftMs !== undefined && leftMs <= 0) {
        this.counters.dropped.expired++
        setImmediate(done, false)
        return
      }
      const left = leftMs === undefined ? {} : { expirySeconds: Math.ceil(leftMs / 1_000) }
      remote.publish({ ...message, ...left, dup }, (outcome) => {
        this.#settled(message.topic, message.qos, outcome)
        done(outcome === 'taken' || outcome === 'refused')
      })
    }, maxInflight)
  }

  #up(remote: Remote, refusedFilters: readonly string[]): void {
    const local = this.#local
    if (this.#remote !== remote || local === undefined) return
    const { protocol } = this.#attempts
    const { config } = this.#context
    this.#phase = 'up'
    this.#subscribedIn = protocol
    this.#upSinceMs = performance.now()
    this.#lastFailure = ''
    this.counters.connects++
    this.#attempts.connected()
    this.#log.info({ url: shownUrl(config), protocol, waiting: this.#outgoing.count }, 'bridge connected')
    if (refusedFilters.length > 0)
      this.#log.warn({ filters: refusedFilters }, 'bridge may not subscribe at the other broker')
    if (protocol === '3.1.1' && config.topics.some(({ direction }) => direction === 'both')) {
      this.#log.warn(
        {},
        'the other broker knows neither MQTT 5 nor the bridge bit: it sends back what crosses both ways',
      )
    }
    const replays = this.#out.filters.filter((filter) => !filter.isBoth || this.#replayDue.has(filter))
    this.#replayDue.clear()
    local.subscribe(replays)
  }

  #lost(remote: Remote, failure: RemoteFailure): void {
    if (this.#remote !== remote) return
    this.#remote = undefined
    this.#outgoing.disconnected(failure)
    // It holds nothing back for a connection that is gone: QoS 0 is dropped here, and counted.
    this.#local?.flow()
    const { hasWorked } = this.#outgoing
    if (this.isUp || hasWorked) this.#attempts.stood(performance.now() - this.#upSinceMs, hasWorked)
    this.#failed(failure)
  }

  #failed(failure: RemoteFailure): void {
    const waitMs = this.#attempts.failed(failure, Math.random())
    const wasUp = this.isUp
    this.#phase = 'apart'
    this.counters.failures[failure.kind]++
    const { kind, text } = failure
    const fields = { url: shownUrl(this.#context.config), kind, reason: text, retryMs: waitMs }
    if (wasUp) this.#log.warn(fields, 'bridge lost')
    // The same again and again is one line.
    else if (kind === 'version' || text === this.#lastFailure) this.#log.debug(fields, 'bridge not connected')
    else this.#log.warn(fields, 'bridge not connected')
    this.#lastFailure = kind === 'version' ? this.#lastFailure : text
    this.#later(waitMs, () => void this.#connect())
  }

  #later(ms: number, next: () => void): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(next, ms)
  }

  // --- messages

  /** From here to there. */
  #send(local: LocalEnd, message: LocalMessage): void {
    if (this.#local !== local) return
    const target = this.#out.translate(message.topic)
    if (target === undefined) {
      // Left in the queue by a topic map that is no more.
      this.counters.dropped.topic++
      local.acknowledge(message)
      return
    }
    const { topic } = target
    const { payload, retain, messageId, dup, expirySeconds } = message
    const described = message.properties === undefined ? {} : { properties: message.properties }
    const expiry = expirySeconds === undefined ? {} : { expirySeconds }
    const qos = Math.min(message.qos, target.qos)
    const remote = this.#remote?.isOpen === true ? this.#remote : undefined
    if (qos === 1 || qos === 2) {
      const settled = (): void => local.acknowledge(message)
      const ends = expirySeconds === undefined ? {} : { expiresAtMs: Date.now() + expirySeconds * 1_000 }
      this.#outgoing.add({ topic, payload, qos, retain, messageId, dup, settled, ...described, ...ends })
    } else {
      // Nobody has promised it to anybody; above that, the map has lowered it.
      local.acknowledge(message)
      if (remote === undefined) this.counters.dropped.away++
      else {
        const publication = { topic, payload, qos: 0, retain, ...described, ...expiry } as const
        remote.publish(publication, (outcome) => this.#settled(topic, 0, outcome))
      }
    }
    if (remote !== undefined && !remote.hasRoom) local.hold()
  }

  #settled(topic: string, qos: QoS, outcome: PublishOutcome): void {
    if (outcome === 'taken' || outcome === 'sent') {
      this.counters.out[qos]++
      return
    }
    this.counters.dropped[outcome]++
    this.#log.debug({ topic, outcome }, 'message not taken by the other broker')
  }

  /** From there to here. */
  #receive(remote: Remote, message: RemoteMessage, taken: () => void): void {
    const { topic, payload, qos, retain, properties, expirySeconds } = message
    const { host, limits } = this.#context
    const target = this.#in.translate(topic)
    const drop = (reason: 'topic' | 'too-large', why: string): void => {
      this.counters.dropped[reason]++
      this.#log.debug({ topic, why }, 'message of the other broker not taken')
      taken()
    }
    if (target === undefined) return drop('topic', 'no topic map leads on')
    if (payload.length > limits.maxPacketBytes) return drop('too-large', 'limits.maxPacketBytes')
    const lowered = Math.min(qos, target.qos) as QoS
    const request = {
      mountpoint: this.mountpoint,
      topic: target.topic,
      payload,
      qos: lowered,
      retain,
      publisher: this.clientId,
      expiresAtMs: expiresAt(Date.now(), expirySeconds, limits.messageExpiryMs),
      properties: properties && legalProperties(properties),
    }
    const fault = host.publishBridged(request, (error) => {
      if (error !== undefined) return remote.fail(`a message of it was not stored here: ${error.message}`)
      this.counters.in[lowered]++
      taken()
    })
    if (fault !== undefined) drop('topic', fault)
  }
}
