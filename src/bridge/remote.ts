import mqtt, { type IClientOptions, type IPublishPacket, type MqttClient, type Packet } from 'mqtt'
import {
  descriptionOf,
  packetPropertiesOf,
  propertyBytes,
  type MessageDescription,
} from '../broker/door/packet-properties.ts'
import type { QoS } from '../hooks/types.ts'
import type { RemoteProtocol } from './attempts.ts'
import { failureOf, type RemoteFailure } from './failure.ts'
import { harmlessProperties, isPlainText } from './foreign-properties.ts'
import { InboundWindow } from './inbound-window.ts'
import { PacketIds } from './packet-ids.ts'
import type { RemoteOptions } from './remote-options.ts'
import type { BridgedFilter } from './topic-maps.ts'

export interface RemoteMessage extends MessageDescription {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
}

/** A message at QoS 1 or 2 has a packet identifier, which is the same whenever it is sent again. */
export type Publication = Omit<RemoteMessage, 'qos'> &
  ({ readonly qos: 0 } | { readonly qos: 1 | 2; readonly messageId: number; readonly dup: boolean })

export interface RemoteEvents {
  /** CONNACK: messages may be published. What is returned is subscribed to and unsubscribed from. */
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
  /** To the CONNACK. */
  readonly timeoutMs: number
  /** Of a session that outlives its connection, MQTT 5; 0: never. */
  readonly expiryMs: number
  /** Messages from there that are being stored here at once. */
  readonly maxInflight: number
  readonly maxPacketBytes: number
}

/** What became of a message. `sent`: at QoS 0. `refused`, `too-large` and `topic` (it cannot go there) are final. */
export type PublishOutcome = 'taken' | 'sent' | 'refused' | 'too-large' | 'topic'

/** QoS 0 beyond this is not written for the time being. */
const MAX_BACKLOG_BYTES = 1_048_576
const NEVER_EXPIRES_S = 0xffff_ffff
const SUBACK_REFUSED = 0x80
/** PUBACK and PUBREC: with reason code 0 the same in 3.1.1 and 5. */
const ACKS = { 1: 0x40, 2: 0x50 } as const

/**
 * One connection to the other broker, by MQTT.js; the next one is another object, because MQTT.js would repeat on its
 * own what only our queue knows.
 *
 * MQTT.js acknowledges when its handler calls back, hands over nothing more until then, and answers a PUBLISH at QoS 2
 * before anybody has the message. So that many may be on their way into our store, and none is acknowledged before it
 * is there, the handler calls back with an error, which means to MQTT.js not to acknowledge; a PUBLISH at QoS 2 is shown
 * to it as one at QoS 1; and PUBACK and PUBREC are written here. PUBREL it answers by itself.
 */
export class Remote {
  readonly #client: MqttClient
  readonly #events: RemoteEvents
  readonly #is5: boolean
  readonly #inbound: InboundWindow
  /** Those that came at QoS 2. */
  readonly #exact = new WeakSet<Packet>()
  readonly #ids = new PacketIds()
  #timer: NodeJS.Timeout | undefined
  #lastError: Error | undefined
  #phase: 'connecting' | 'open' | 'ended' = 'connecting'
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
    this.#is5 = protocol === '5'
    this.#inbound = new InboundWindow(session.maxInflight)
    const client = mqtt.connect({
      ...clientOptions(options, protocol, session),
      messageIdProvider: this.#ids,
    })
    this.#client = client
    // Before the packet is written.
    client.on('packetsend', (packet: Packet) => {
      if (packet.cmd === 'connect') amendConnect(packet, protocol, session)
    })
    client.on('packetreceive', (packet: Packet) => {
      if (packet.cmd !== 'publish' || packet.qos !== 2) return
      this.#exact.add(packet)
      packet.qos = 1
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
      const text = `the other broker has closed it, with reason code ${reasonCode}`
      this.#lastError = Object.assign(new Error(text), { code: 'DISCONNECT' })
    })
    client.on('error', (error) => this.#end(failureOf(error, this.#phase === 'connecting')))
    client.on('close', () => this.#end(failureOf(this.#lastError, this.#phase === 'connecting')))
    this.#startTimer(session.timeoutMs)
    client.connect()
  }

  /** The CONNACK came, and the connection stands. */
  get isOpen(): boolean {
    return this.#phase === 'open'
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
        if (this.isOpen) this.#events.room()
      })
    }
    return false
  }

  /** `done` is not called when the connection is lost before, nor within the call. */
  publish(message: Publication, done: (outcome: PublishOutcome) => void): void {
    const { topic, payload } = message
    const description = this.#is5 ? describedBy(message) : {}
    const topicBytes = Buffer.byteLength(topic)
    if (!isPlainText(topic)) {
      setImmediate(done, 'topic')
      return
    }
    // Fixed header, length of the topic and identifier come on top.
    const bytes = payload.length + topicBytes + 12 + (this.#is5 ? propertyBytes(description) : 0)
    if (topicBytes > 65_535 || bytes > this.#limits.bytes) {
      setImmediate(done, 'too-large')
      return
    }
    const qos = Math.min(message.qos, this.#limits.qos) as QoS
    const retain = message.retain && this.#limits.retain
    const properties = packetPropertiesOf(description)
    const described = properties === undefined ? {} : { properties }
    if (message.qos === 0 || qos === 0) {
      this.#client.publish(topic, payload, { qos: 0, retain, ...described })
      setImmediate(done, 'sent')
      return
    }
    const { messageId, dup } = message
    this.#ids.use(messageId, () => {
      this.#client.publish(topic, payload, { qos, retain, dup, ...described }, (error) => {
        if (!this.isOpen) return
        if (error === undefined || error === null) done('taken')
        else if ('code' in error && typeof error.code === 'number') done('refused')
        else this.#end(failureOf(error, false))
      })
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
    this.#phase = 'open'
    // Behind whatever else it has to say first.
    this.#startTimer(SUBACK_TIMEOUT_MS)
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
    clearTimeout(this.#timer)
    if (this.isOpen) this.#events.up(refusedFilters)
  }

  #receive(packet: IPublishPacket, callback: (error?: Error) => void): void {
    if (this.#phase === 'ended') return
    const { topic, payload, retain, messageId = 0 } = packet
    const qos = this.#exact.has(packet) ? 2 : packet.qos
    const taken = this.#inbound.add(() => {
      if (qos === 0 || this.#phase === 'ended') return
      this.#client.stream.write(Buffer.of(ACKS[qos], 2, messageId >> 8, messageId & 0xff))
    })
    const described = this.#is5 ? descriptionOf(packet.properties) : {}
    this.#events.message({ topic, payload: Buffer.from(payload), qos, retain, ...described }, taken)
    this.#inbound.onceRoom(() => callback(qos === 0 ? undefined : NOT_YET))
  }

  #startTimer(timeoutMs: number): void {
    clearTimeout(this.#timer)
    const text = `no answer within ${timeoutMs} ms`
    this.#timer = setTimeout(() => this.#end({ kind: 'unreachable', text }), timeoutMs)
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

function describedBy({ properties: ofMessage, ...rest }: MessageDescription): MessageDescription {
  const properties = ofMessage && harmlessProperties(ofMessage)
  return properties === undefined ? rest : { ...rest, properties }
}

const NOT_YET = new Error('acknowledged elsewhere')
const SUBACK_TIMEOUT_MS = 60_000
const FAREWELL_MS = 1_000

function clientOptions(
  { protocol, host, port, path, clientId, username, password, tls }: RemoteOptions,
  version: RemoteProtocol,
  session: RemoteSession,
): IClientOptions {
  const isWebSocket = protocol === 'ws' || protocol === 'wss'
  const isSecure = protocol === 'mqtts' || protocol === 'wss'
  // A URL wants the brackets of an IPv6 address, a socket does not.
  const hostname = isWebSocket ? host : host.replace(/^\[(.*)\]$/, '$1')
  const { cleanSession, expiryMs } = session
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
    ...(version === '5' && {
      properties: { sessionExpiryInterval: cleanSession ? 0 : expirySeconds(expiryMs) },
    }),
  }
}

type ConnectPacket = Extract<Packet, { cmd: 'connect' }>

/**
 * What MQTT.js has no option for; and limits that it would enforce by ending the connection, again and again: mosquitto
 * 2.0.11 goes beyond the Receive Maximum at QoS 2. Ours are kept to by not reading on, and by dropping.
 */
function amendConnect(packet: ConnectPacket, protocol: RemoteProtocol, session: RemoteSession): void {
  if (protocol === '3.1.1+bridge') Object.assign(packet, { bridgeMode: true })
  if (protocol !== '5') return
  const { maxInflight, maxPacketBytes } = session
  packet.properties = {
    ...packet.properties,
    receiveMaximum: Math.min(maxInflight, 65_535),
    maximumPacketSize: maxPacketBytes,
  }
}

function expirySeconds(expiryMs: number): number {
  return expiryMs === 0 ? NEVER_EXPIRES_S : Math.min(NEVER_EXPIRES_S - 1, Math.ceil(expiryMs / 1_000))
}
