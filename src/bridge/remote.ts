import mqtt, { type IClientOptions, type IPublishPacket, type MqttClient, type Packet } from 'mqtt'
import type { QoS } from '../hooks/types.ts'
import type { RemoteProtocol } from './attempts.ts'
import { failureOf, type RemoteFailure } from './failure.ts'
import { InboundWindow } from './inbound-window.ts'
import type { RemoteOptions } from './remote-options.ts'
import type { BridgedFilter } from './topic-maps.ts'

export interface RemoteMessage {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
}

export interface RemoteEvents {
  /** CONNACK. What is returned is subscribed to and unsubscribed from before `up`. */
  connected(sessionPresent: boolean): {
    readonly subscribe: readonly BridgedFilter[]
    readonly unsubscribe: readonly string[]
  }
  /** SUBACK came, with what was refused. */
  up(refusedFilters: readonly string[]): void
  /** `taken` is called when it is safe here; it is acknowledged then. */
  message(message: RemoteMessage, taken: () => void): void
  /** There is room again, after `hasRoom` was false. */
  room(): void
  /** Exactly once, unless it was closed from here; nothing follows. */
  lost(failure: RemoteFailure): void
}

export interface RemoteSession {
  readonly cleanSession: boolean
  readonly keepaliveSeconds: number
  /** To the CONNACK; and from there to the SUBACK. */
  readonly timeoutMs: number
  /** Of a session that outlives its connection, MQTT 5; 0: never. */
  readonly expiryMs: number
  /** Messages from there that are being stored here at once. */
  readonly maxInflight: number
  readonly maxPacketBytes: number
}

/** What became of a message: `refused` and `too-large` are final. */
export type PublishOutcome = 'taken' | 'refused' | 'too-large'

/** QoS 0 beyond this is not written for the time being. */
const MAX_BACKLOG_BYTES = 1_048_576
const NEVER_EXPIRES_S = 0xffff_ffff
const SUBACK_REFUSED = 0x80
/** PUBACK and its remaining length: with reason code 0 the same in 3.1.1 and 5. */
const PUBACK = [0x40, 2] as const

/**
 * One connection to the other broker, by MQTT.js; the next one is another object, because MQTT.js would repeat on its
 * own what only our queue knows.
 *
 * MQTT.js acknowledges when its handler calls back, and hands over nothing more until then. So that more than one
 * message may be on its way into our store, the handler calls back with an error, which means to MQTT.js not to
 * acknowledge, and the PUBACK is written here. At QoS 2 its store of incoming packets is the hook: PUBREC is sent when
 * that has the packet, which is when we have it.
 */
export class Remote {
  readonly #client: MqttClient
  readonly #events: RemoteEvents
  readonly #session: RemoteSession
  readonly #inbound: InboundWindow
  #timer: NodeJS.Timeout | undefined
  #lastError: Error | undefined
  #phase: 'connecting' | 'subscribing' | 'up' | 'ended' = 'connecting'
  #limits: { readonly qos: number; readonly retain: boolean; readonly bytes: number } = {
    qos: 2,
    retain: true,
    bytes: Infinity,
  }
  #awaitsDrain = false

  constructor(
    options: RemoteOptions,
    protocol: RemoteProtocol,
    session: RemoteSession,
    events: RemoteEvents,
  ) {
    this.#events = events
    this.#session = session
    this.#inbound = new InboundWindow(session.maxInflight, (messageId) => {
      if (this.#phase !== 'ended') client.stream.write(Buffer.of(...PUBACK, messageId >> 8, messageId & 0xff))
    })
    const client = mqtt.connect(clientOptions(options, protocol, session, this.#incomingStore()))
    this.#client = client
    // Before the packet is written: MQTT.js has no option for it.
    if (protocol === '3.1.1+bridge')
      client.on('packetsend', (packet: Packet) => {
        if (packet.cmd === 'connect') Object.assign(packet, { bridgeMode: true })
      })
    client.handleMessage = (packet, callback) => this.#receive(packet, callback)
    client.on('connect', ({ sessionPresent, properties }) => {
      this.#limits = {
        qos: properties?.maximumQoS ?? 2,
        retain: properties?.retainAvailable ?? true,
        bytes: properties?.maximumPacketSize ?? Infinity,
      }
      this.#subscribe(sessionPresent)
    })
    client.on('disconnect', ({ reasonCode = 0 }) => {
      this.#lastError = new Error(`the other broker has closed it, with reason code ${reasonCode}`)
    })
    client.on('error', (error) => this.#end(failureOf(error, this.#phase === 'connecting')))
    client.on('close', () => this.#end(failureOf(this.#lastError, this.#phase === 'connecting')))
    this.#startTimer()
    client.connect()
  }

  get isUp(): boolean {
    return this.#phase === 'up'
  }

  /** Messages at QoS 1 and 2 that it takes at once. */
  get receiveMaximum(): number {
    return this.#client.serverProperties?.receiveMaximum ?? 65_535
  }

  /** False: it reads too slowly; `room` follows. */
  get hasRoom(): boolean {
    const { stream } = this.#client
    if (stream.writableLength < MAX_BACKLOG_BYTES) return true
    if (!this.#awaitsDrain) {
      this.#awaitsDrain = true
      stream.once('drain', () => {
        this.#awaitsDrain = false
        if (this.#phase === 'up') this.#events.room()
      })
    }
    return false
  }

  /** `done` is not called when the connection is lost before, nor within the call. */
  publish(message: RemoteMessage, done: (outcome: PublishOutcome) => void): void {
    const { topic, payload } = message
    // Fixed header, length of the topic, identifier and empty properties.
    if (payload.length + Buffer.byteLength(topic) + 12 > this.#limits.bytes) {
      setImmediate(done, 'too-large')
      return
    }
    const qos = Math.min(message.qos, this.#limits.qos) as QoS
    const retain = message.retain && this.#limits.retain
    if (qos === 0) {
      this.#client.publish(topic, payload, { qos, retain })
      setImmediate(done, 'taken')
      return
    }
    this.#client.publish(topic, payload, { qos, retain }, (error) => {
      if (this.#phase !== 'up') return
      if (error === undefined || error === null) done('taken')
      else if ('code' in error && typeof error.code === 'number') done('refused')
      else this.#end(failureOf(error, false))
    })
  }

  /** Not as it should be: the next connection may do better. */
  fail(why: string): void {
    this.#end({ kind: 'lost', text: why })
  }

  /** In order, with DISCONNECT; resolves when it is gone, or after a second. */
  async close(): Promise<void> {
    if (this.#phase === 'ended') return
    this.#stop()
    const gone = new Promise<void>((resolve) => this.#client.stream.once('close', () => resolve()))
    this.#client.end(false, { reasonCode: 0 })
    // What is unacknowledged is in our queue: MQTT.js need not wait for it.
    this.#client.emit('outgoingEmpty')
    let timer: NodeJS.Timeout | undefined
    await Promise.race([gone, new Promise((resolve) => (timer = setTimeout(resolve, FAREWELL_MS)))])
    clearTimeout(timer)
    this.#client.stream.destroy()
  }

  #subscribe(sessionPresent: boolean): void {
    if (this.#phase !== 'connecting') return
    this.#phase = 'subscribing'
    this.#startTimer()
    const { subscribe, unsubscribe } = this.#events.connected(sessionPresent)
    if (unsubscribe.length > 0) this.#client.unsubscribe([...unsubscribe])
    if (subscribe.length === 0) return this.#up([])
    const filters = Object.fromEntries(
      subscribe.map(({ filter, qos, isBoth }) => [filter, { qos, nl: true, rap: true, rh: isBoth ? 1 : 0 }]),
    )
    this.#client.subscribe(filters, (error, _granted, suback) => {
      if (suback === undefined) return this.#end(failureOf(error ?? undefined, false))
      const codes = suback.granted as readonly number[]
      const names = Object.keys(filters)
      this.#up(names.filter((_, index) => (codes[index] ?? SUBACK_REFUSED) >= SUBACK_REFUSED))
    })
  }

  #up(refusedFilters: readonly string[]): void {
    if (this.#phase !== 'subscribing') return
    clearTimeout(this.#timer)
    this.#phase = 'up'
    this.#events.up(refusedFilters)
  }

  /** QoS 0 and 1. */
  #receive(
    { topic, payload, qos, retain, messageId = 0 }: IPublishPacket,
    callback: (error?: Error) => void,
  ): void {
    if (this.#phase === 'ended') return
    const taken = this.#inbound.add(messageId)
    this.#events.message({ topic, payload: Buffer.from(payload), qos, retain }, taken)
    this.#inbound.onceRoom(() => callback(qos === 0 ? undefined : NOT_YET))
  }

  #incomingStore(): InstanceType<typeof mqtt.Store> {
    const store = new mqtt.Store()
    store.put = (packet, callback) => {
      if (packet.cmd !== 'publish') callback()
      else {
        const { topic, payload, qos, retain } = packet
        this.#events.message({ topic, payload: Buffer.from(payload), qos, retain }, () => callback())
      }
      return store
    }
    // At PUBREL there is nothing left to do.
    store.get = (_packet, callback) => {
      callback(NOT_YET)
      return store
    }
    return store
  }

  #startTimer(): void {
    clearTimeout(this.#timer)
    const text = `no answer within ${this.#session.timeoutMs} ms`
    this.#timer = setTimeout(() => this.#end({ kind: 'unreachable', text }), this.#session.timeoutMs)
  }

  #stop(): void {
    clearTimeout(this.#timer)
    this.#phase = 'ended'
  }

  #end(failure: RemoteFailure): void {
    if (this.#phase === 'ended') return
    this.#stop()
    this.#client.end(true)
    this.#events.lost(failure)
  }
}

const NOT_YET = new Error('acknowledged elsewhere')
const FAREWELL_MS = 1_000

function clientOptions(
  { protocol, host, port, path, clientId, username, password, tls }: RemoteOptions,
  version: RemoteProtocol,
  session: RemoteSession,
  incomingStore: InstanceType<typeof mqtt.Store>,
): IClientOptions {
  const isWebSocket = protocol === 'ws' || protocol === 'wss'
  const isSecure = protocol === 'mqtts' || protocol === 'wss'
  // A URL wants the brackets of an IPv6 address, a socket does not.
  const hostname = isWebSocket ? host : host.replace(/^\[(.*)\]$/, '$1')
  const { cleanSession, expiryMs, maxInflight, maxPacketBytes } = session
  return {
    protocol,
    host: hostname,
    hostname,
    ...(port !== undefined && { port }),
    ...(isWebSocket && { path, wsOptions: isSecure ? tls : {} }),
    ...(protocol === 'mqtts' && tls),
    clientId,
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    protocolVersion: version === '5' ? 5 : 4,
    clean: cleanSession,
    keepalive: session.keepaliveSeconds,
    connectTimeout: session.timeoutMs,
    reconnectPeriod: 0,
    resubscribe: false,
    queueQoSZero: false,
    manualConnect: true,
    incomingStore,
    ...(version === '5' && {
      properties: {
        sessionExpiryInterval: cleanSession ? 0 : expirySeconds(expiryMs),
        receiveMaximum: maxInflight,
        maximumPacketSize: maxPacketBytes,
      },
    }),
  }
}

function expirySeconds(expiryMs: number): number {
  return expiryMs === 0 ? NEVER_EXPIRES_S : Math.min(NEVER_EXPIRES_S - 1, Math.ceil(expiryMs / 1_000))
}
