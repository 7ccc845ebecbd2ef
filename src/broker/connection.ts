import type { Claim } from '../cluster/contract.ts'
import type { ListenerCounters } from '../counters.ts'
import { PeerError } from '../errors.ts'
import type { DisconnectReason, Will } from '../hooks/types.ts'
import type { SideChannel, Transport, TransportReceiver } from '../listeners/transport.ts'
import { sessionIdOf } from '../store/session-id.ts'
import type { ConnectionSession } from './connection-session.ts'
import {
  ackPacket,
  authPacket,
  connackPacket,
  disconnectPacket,
  subackPacket,
  toldProperties,
  unsubackPacket,
  type Asker,
  type Told,
} from './answers.ts'
import type { ReAuthentication } from './authenticating.ts'
import type { ClientSession } from './client-session.ts'
import type { ConnectPacket } from './packets/connect.ts'
import type { ReasonPacket } from './packets/ending.ts'
import { malformed, PacketFault } from './packets/fault.ts'
import { Framer, type PacketSink } from './packets/framer.ts'
import type { Properties, PropertyBounds } from './packets/properties.ts'
import { isFailure, ReasonCode } from './packets/reason.ts'
import { PacketType, type ProtocolVersion } from './packets/types.ts'
import { IncomingPackets } from './incoming-packets.ts'
import { Outbound } from './outbound.ts'
import { OutgoingAliases } from './outgoing-aliases.ts'
import type { PacketHandler } from './packet-handler.ts'
import { PendingAcks } from './pending-acks.ts'
import { askedTerms, type Terms } from './terms.ts'
import type { Span } from '../tracing/contract.ts'
import type { TokenBucket } from './rate.ts'
import type { EngineStream, StreamOwner } from './engine-stream.ts'
import type { Downward } from './interceptors/downward.ts'
import type { ListenerProfile } from './listener-profile.ts'
import { notConnect } from './strangers.ts'
import type { Tap } from './trace/tap.ts'
import type { TunnelEnd } from '../tunnel/router/end.ts'

export interface ConnectionLimits {
  readonly connectTimeoutMs: number
  readonly maxConnectBytes: number
  readonly maxPacketBytes: number
  readonly packetTimeoutMs: number
  readonly maxOutboundBytes: number
  readonly drainTimeoutMs: number
  readonly storeTimeoutMs: number
}

/** What Aedes makes of a connection. */
export interface EngineClient {
  close(done?: () => void): void
}

/**
 * One MQTT connection, from its first byte to its last.
 *
 *   connect ──CONNECT──▶ connecting ──CONNACK 0──▶ open ──▶ closed   (closed from any phase)
 *
 * Packets are handled one after the other: while one is on its way (a handler, the store, Aedes), those behind
 * it wait, and the transport is paused.
 */
export class Connection implements TransportReceiver, PacketSink, StreamOwner, Asker {
  readonly transport: Transport
  readonly profile: ListenerProfile
  readonly outbound: Outbound
  /** The client is in this process, and is told what packets cannot say; else they cost the test of this field. */
  readonly sideChannel: SideChannel | undefined
  /** Counters of its listener. */
  readonly traffic: ListenerCounters
  readonly acceptedAtMs: number
  phase: 'connect' | 'connecting' | 'open' | 'closed' = 'connect'
  /** Set at CONNECT. */
  session: ConnectionSession | undefined
  /** Set when authConnect has accepted. */
  clientSession: ClientSession | undefined
  /** That this pod is the one where its client id is connected; set with the session. */
  claim: Claim | undefined
  engineClient: EngineClient | undefined
  /** What Aedes takes for the socket; from CONNECT on. */
  engineStream: EngineStream | undefined
  keepaliveMs = 0
  reason: DisconnectReason | undefined
  /** PUBLISH packets and bytes of this connection: for people who look at it. */
  messagesIn = 0
  messagesOut = 0
  bytesIn = 0
  bytesOut = 0
  /** From its accept to its CONNACK; undefined where nobody traces, and when that is over. */
  connectSpan: Span | undefined
  /** Known with CONNECT. */
  version: ProtocolVersion = 4
  /** With MQTT 5, from CONNECT on. */
  terms: Terms | undefined
  /** What Aedes is to refuse with. */
  refusal: ReasonCode | undefined
  /** What a client of MQTT 5 is told about its refusal. */
  refusalTold: Told | undefined
  /** It authenticates again (broker/authenticating.ts). */
  reAuthentication: ReAuthentication | undefined
  /** The session was there before this connection. */
  sessionPresent = false
  /** Lets the next connection with the same client id go on. */
  endTurn: (() => void) | undefined
  /** The session's will, as the handlers have rewritten it: what is stored. */
  authorizedWill: Will | undefined
  /** Resolves when its will, if it was due, has been published or given up. */
  willSettled: Promise<void> | undefined
  /** Its will waits for its delay: Unix time in ms; 0: it does not. */
  willDueAtMs = 0
  /** Said so in its CONNECT: not sent what it has published itself, and RETAIN as it was published. */
  isBridge = false
  /** How often rights had changed when authConnect was asked. */
  rechecksSeen = 0
  /** It counts towards the limit of this user. */
  countedUser: string | undefined
  /** The last topic that was found legal: publishers repeat theirs. */
  checkedTopic: string | undefined
  /** Of MQTT 5: messages at QoS 1 and 2 of this connection that are neither acknowledged nor completed. [MQTT-3.3.4-7] */
  unsettled = 0
  /** Too many messages of this client are being stored. */
  heldForStore = false
  messageRate: TokenBucket | undefined
  byteRate: TokenBucket | undefined
  /** Somebody looks at its packets (broker/trace/); else they cost the test of this field. */
  tap: Tap | undefined
  /** Its listener has interceptors: what goes to the client goes through here. */
  downward: Downward | undefined
  /** Set when it has subscribed to tunnel frames. */
  tunnelEnd: (TunnelEnd & { drained(): void }) | undefined
  /** Packet identifiers in the order in which they must be acknowledged. */
  readonly acks: PendingAcks

  readonly #handler: PacketHandler
  readonly #limits: ConnectionLimits
  readonly #incoming: IncomingPackets
  readonly #framer: Framer
  #aliases: OutgoingAliases | undefined
  /** Before the CONNACK: AUTH is taken, and who waits for it. */
  #expectsAuth = false
  #answered: ((packet: ReasonPacket | undefined) => void) | undefined
  readonly #holds: Holds = { work: 0, engine: 0, rate: 0, room: 0 }
  #heldSinceMs = 0
  /** Its socket is closed, and its last packets are not done. */
  #peerLeft = false
  #fed = false
  /** Aedes writes its CONNACK in pieces. */
  #connack: number[] | undefined
  #paused = false
  #receivedAtMs: number
  #partialSinceMs = 0
  #packets = 0
  #throttle: NodeJS.Timeout | undefined
  #tunnelBytes = 0
  #gone = false

  constructor(
    transport: Transport,
    profile: ListenerProfile,
    context: {
      handler: PacketHandler
      limits: ConnectionLimits
      /** Of what clients of MQTT 5 send. */
      bounds?: PropertyBounds
      traffic: ListenerCounters
      nowMs: number
    },
  ) {
    this.transport = transport
    this.profile = profile
    this.outbound = new Outbound(transport)
    this.sideChannel = transport.sideChannel
    this.acceptedAtMs = this.#receivedAtMs = context.nowMs
    this.#handler = context.handler
    this.#limits = context.limits
    this.#incoming = new IncomingPackets(this, context.handler, context.bounds)
    this.traffic = context.traffic
    this.#framer = new Framer(this)
    this.acks = new PendingAcks(this)
    transport.attach(this)
  }

  /** That it is sent; undefined before MQTT 5, and for clients that understand none. */
  get aliases(): OutgoingAliases | undefined {
    const { terms } = this
    if (terms === undefined || terms.topicAliasMaximum === 0) return undefined
    return (this.#aliases ??= new OutgoingAliases(terms.topicAliasMaximum))
  }

  get clientId(): string {
    return this.session?.id ?? ''
  }

  /** Of its session and its will: client ids are names within a mountpoint. */
  get sessionId(): string {
    return sessionIdOf(this.clientId, this.profile.mountpoint)
  }

  /** What an alias of the client stands for now, for whoever looks at its packets. */
  topicOfAlias(alias: number): string | undefined {
    return this.#incoming.topicOfAlias(alias)
  }

  // --- from the transport

  data(chunk: Buffer): void {
    if (this.phase === 'closed') return
    this.traffic.bytesIn += chunk.length
    this.bytesIn += chunk.length
    const nowMs = Date.now()
    const packetsBefore = this.#packets
    const waitedBefore = this.#framer.waitingBytes
    try {
      // Seen by its first byte: what else a stranger's bytes may mean need not be waited for. [MQTT-3.1.0-1]
      if (this.phase === 'connect' && waitedBefore === 0 && chunk[0] !== PacketType.connect << 4)
        throw malformed(notConnect(chunk))
      this.#framer.receive(chunk)
    } catch (error) {
      this.fault(error)
      return
    }
    if (this.#packets !== packetsBefore) this.#receivedAtMs = nowMs
    if (this.#framer.waitingBytes === 0) this.#partialSinceMs = 0
    else if (waitedBefore === 0 || this.#packets !== packetsBefore) this.#partialSinceMs = nowMs
    this.#flow()
  }

  drained(): void {
    this.outbound.drained(Date.now())
    this.tunnelEnd?.drained()
    if (!this.hasRoom) return
    if (this.#holds.room > 0) this.#release('room')
    this.clientSession?.outbox.pump()
  }

  closed(error?: Error): void {
    // It has left in order, and a handler has not answered yet: what it sent last may be a DISCONNECT [MQTT-3.14.4-3].
    // The answer has its deadline. Tunnels are told at once.
    const isLast = error === undefined && this.phase === 'open' && this.#holds.work > 0
    if (isLast && this.#holds.rate === 0 && this.tunnelEnd === undefined) this.#peerLeft = true
    else this.close({ kind: 'lost', ...(error && { detail: error.message }) })
  }

  // --- packets

  get held(): boolean {
    const { work, engine, rate, room } = this.#holds
    return work + engine + rate + room > 0 || this.#isConnecting || this.phase === 'closed'
  }

  /** Nothing is taken before the CONNACK, but what authenticates. */
  get #isConnecting(): boolean {
    return this.phase === 'connecting' && !this.#expectsAuth
  }

  get maxPacketBytes(): number {
    return this.phase === 'open' ? this.#limits.maxPacketBytes : this.#limits.maxConnectBytes
  }

  packet(bytes: Buffer, packetStart: number, bodyStart: number, end: number): void {
    this.#packets++
    this.traffic.packetsIn++
    if (this.tap !== undefined) this.tap.received(this, bytes, packetStart, bodyStart, end)
    const type = (bytes[packetStart]! >> 4) as PacketType
    if (this.phase !== 'open') {
      if (this.#expectsAuth) {
        this.#expectsAuth = false
        this.#incoming.takeAuth(type, bytes, bodyStart, end)
        return
      }
      if (type !== PacketType.connect || this.phase !== 'connect')
        throw malformed('first packet is not CONNECT') // [MQTT-3.1.0-1]
      this.#incoming.takeConnect(bytes.subarray(packetStart, end), bodyStart - packetStart)
      return
    }
    this.#incoming.take(type, bytes, packetStart, bodyStart, end)
  }

  /** AUTH before the CONNACK; resolves to the client's answer, undefined: the connection has ended. */
  exchangeAuth(method: string, data: Buffer): Promise<ReasonPacket | undefined> {
    if (this.phase !== 'connecting') return Promise.resolve(undefined)
    return new Promise((resolve) => {
      this.#answered = resolve
      this.#expectsAuth = true
      this.sendAuth(ReasonCode.continueAuthentication, method, data)
      this.#resume()
    })
  }

  /** The client's answer to {@link exchangeAuth}. */
  authAnswered(packet: ReasonPacket | undefined): void {
    const answered = this.#answered
    this.#answered = undefined
    answered?.(packet)
  }

  /** Decoding goes on when Aedes has dealt with the packet; after CONNECT, when it is {@link opened}. */
  toEngine(packet: Buffer): void {
    this.#hold('engine')
    this.#fed = true
    this.engineStream?.feed(packet)
  }

  /** Its CONNECT has come. */
  began(packet: ConnectPacket): void {
    this.phase = 'connecting'
    this.version = packet.protocolVersion
    if (this.version === 5) this.terms = askedTerms(packet)
    this.isBridge = packet.isBridge
    this.#heldSinceMs = Date.now()
    this.#handler.connect(this, packet)
  }

  /** CONNACK 0 is on its way: packets are taken now. */
  opened(): void {
    if (this.phase !== 'connecting') return
    this.phase = 'open'
    this.endTurn?.()
    this.#resume()
  }

  /** Stops decoding until {@link release}: packets of one client are handled in their order. */
  hold(): void {
    this.#hold('work')
  }

  release(): void {
    this.#release('work')
  }

  #hold(by: keyof Holds): void {
    if (!this.held) this.#heldSinceMs = Date.now()
    this.#holds[by]++
  }

  #release(by: keyof Holds): void {
    this.#holds[by]--
    this.#resume()
  }

  /** The client has used up its rate: its socket is read again after a while. */
  throttle(delayMs: number): void {
    if (this.#throttle !== undefined) return
    this.#hold('rate')
    this.#throttle = setTimeout(() => {
      this.#throttle = undefined
      this.#release('rate')
    }, delayMs)
  }

  #resume(): void {
    if (this.held) return
    this.#receivedAtMs = Date.now()
    try {
      this.#framer.resume()
    } catch (error) {
      this.fault(error)
      return
    }
    this.#partialSinceMs = this.#framer.waitingBytes === 0 ? 0 : Date.now()
    // Nobody stays for its rate who is gone.
    if (this.#peerLeft && (!this.held || this.#holds.rate > 0)) this.close({ kind: 'lost' })
    else this.#flow()
  }

  /** TCP pushes back while packets wait for us. */
  #flow(): void {
    const pause = this.held && this.phase !== 'closed'
    if (pause === this.#paused) return
    this.#paused = pause
    if (pause) this.transport.pause()
    else this.transport.resume()
  }

  // --- to the peer

  /** May more be sent, or is the peer reading too slowly? If not, `drained` follows. */
  get hasRoom(): boolean {
    const { outbound } = this
    if (this.#messageBytes < this.#limits.maxOutboundBytes) return true
    // Much in one turn is not a slow reader yet.
    outbound.flush()
    return this.#messageBytes < this.#limits.maxOutboundBytes
  }

  /** Tunnels have a bound of their own, and take no room from messages. */
  get #messageBytes(): number {
    const waitingBytes = this.downward === undefined ? 0 : this.downward.pendingBytes
    return Math.max(0, this.outbound.pendingBytes - this.#tunnelBytes) + waitingBytes
  }

  /** A frame of a tunnel for this client, in a whole PUBLISH of MQTT 3.1.1. */
  sendTunnelPacket(packet: Buffer): void {
    if (this.tap !== undefined) this.tap.sent(this, packet)
    this.countTunnel(packet.length)
    this.outbound.write(packet)
  }

  /** Of a frame of a tunnel, before it is written. */
  countTunnel(bytes: number): void {
    // What was taken meanwhile counts as frames: else, with a tunnel that is never idle, messages had no bound.
    this.#tunnelBytes = Math.min(this.#tunnelBytes, this.outbound.pendingBytes) + bytes
    this.countSent(bytes)
  }

  /** One more packet of so many bytes goes out. */
  countSent(bytes: number): void {
    this.traffic.packetsOut++
    this.traffic.bytesOut += bytes
    this.bytesOut += bytes
  }

  /** PUBACK, PUBREC, PUBREL, PUBCOMP. */
  sendAck(type: PacketType, messageId: number, code: ReasonCode = ReasonCode.success, text?: string): void {
    // 4.9
    if (this.unsettled > 0 && settles(type, code)) this.unsettled--
    this.#answer(ackPacket(this, type, messageId, code, text))
  }

  /** `codes`: granted QoS, or the reason code of a failure. */
  sendSuback(messageId: number, codes: readonly number[], text?: string): void {
    this.#answer(subackPacket(this, messageId, codes, text))
  }

  sendUnsuback(messageId: number, codes: readonly number[]): void {
    this.#answer(unsubackPacket(this, messageId, codes))
  }

  #answer(packet: Buffer | undefined): void {
    if (packet !== undefined) this.#send(packet)
    // Who is not answered waits for ever.
    else this.close({ kind: 'limit', detail: NO_ROOM, reasonCode: ReasonCode.implementationSpecificError })
  }

  /** AUTH (MQTT 5, 3.15). */
  sendAuth(code: ReasonCode, method: string, data: Buffer | undefined): void {
    this.#answer(authPacket(this, code, method, data))
  }

  /** Of the CONNACK that accepts, in MQTT 5. */
  addToConnack(properties: Properties): void {
    const { terms } = this
    if (terms !== undefined) terms.connack = { ...terms.connack, ...properties }
  }

  #send(packet: Buffer): void {
    if (this.downward === undefined) this.writeControl(packet)
    else this.downward.control(packet)
  }

  /** A whole packet that is no PUBLISH, past the interceptors. */
  writeControl(packet: Buffer): void {
    if (this.tap !== undefined) this.tap.sent(this, packet)
    this.#write(packet)
  }

  #write(packet: Buffer): void {
    this.countSent(packet.length)
    this.outbound.write(packet)
    const { outbound } = this
    if (!outbound.waiting || this.#holds.room > 0) return
    // Answers are not dropped as messages are: who does not take them is not asked for more.
    if (outbound.pendingBytes > 2 * this.#limits.maxOutboundBytes) {
      this.#hold('room')
      this.#flow()
    }
  }

  /** CONNACK with an error, then the end. Only before Aedes has the connection. `told`: to clients of MQTT 5. */
  refuse(code: ReasonCode, reason: string, detail: string, told?: Told): void {
    const packet = connackPacket(this, code, toldProperties(told))
    if (packet !== undefined) this.#send(packet)
    this.#handler.refused(this, reason, detail)
    this.close({ kind: 'refused', detail })
  }

  // --- the end

  /** Ends the connection. The first reason stays. `serverReference`: where to go instead, for clients of MQTT 5. */
  close(reason: DisconnectReason, serverReference?: string): void {
    if (this.phase === 'closed') return
    this.#setReason(reason)
    if (this.version === 5 && this.phase === 'open') {
      const goodbye = disconnectPacket(this, this.reason!, serverReference)
      if (goodbye !== undefined) this.writeControl(goodbye)
    }
    // Aedes decides whether the will is due, then destroys its stream, which is this.
    if (this.engineClient !== undefined) this.engineClient.close()
    this.#end()
  }

  #setReason(reason: DisconnectReason): void {
    this.reason ??= reason
  }

  /** What the client has sent is wrong, or something of ours threw over it. */
  fault(error: unknown): void {
    if (!(error instanceof PeerError)) {
      this.#handler.failed(this, error)
      this.close({ kind: 'error', detail: 'internal error', reasonCode: ReasonCode.unspecifiedError })
      return
    }
    const kind = error.code === 'TMQ_LIMIT' ? 'limit' : 'protocol'
    const { message: detail } = error
    const reasonCode = error instanceof PacketFault ? error.reasonCode : undefined
    if (this.phase !== 'open') {
      // [MQTT-3.1.4-2]
      if (this.version === 5 && this.phase === 'connect' && reasonCode !== undefined) {
        this.#answer(connackPacket(this, reasonCode, { reasonString: detail }))
      }
      this.#handler.refused(this, kind, detail)
    }
    this.close({ kind, detail, ...(reasonCode !== undefined && { reasonCode }) })
  }

  #end(): void {
    if (this.#gone) return
    this.#gone = true
    this.phase = 'closed'
    this.#framer.discard()
    clearTimeout(this.#throttle)
    const reason = this.reason ?? { kind: 'error', detail: 'no reason given' }
    this.sideChannel?.ended(reason)
    this.outbound.finish()
    this.transport.end(CLOSE_GRACE_MS)
    this.endTurn?.()
    this.authAnswered(undefined)
    if (this.tap !== undefined) this.tap.closed(this, reason)
    this.#handler.gone(this, reason)
    this.tunnelEnd?.drained()
    this.engineStream?.emit('close')
  }

  /** Called about once a second. */
  checkDeadlines(nowMs: number): void {
    if (this.phase === 'closed') return
    if (this.phase === 'connect') {
      if (nowMs - this.acceptedAtMs < this.#limits.connectTimeoutMs) return
      this.#handler.refused(this, 'connect-timeout', 'no complete CONNECT in time')
      this.close({ kind: 'limit', detail: 'no complete CONNECT in time' })
      return
    }
    const { connectTimeoutMs, drainTimeoutMs, storeTimeoutMs } = this.#limits
    if (this.#expectsAuth && nowMs - this.acceptedAtMs > connectTimeoutMs) {
      this.refuse(ReasonCode.notAuthorized, 'connect-timeout', LATE_AUTH, { clientText: LATE_AUTH })
      return
    }
    if (this.reAuthentication !== undefined && nowMs - this.reAuthentication.beganAtMs > connectTimeoutMs) {
      this.close({ kind: 'limit', detail: LATE_AUTH, reasonCode: ReasonCode.notAuthorized })
      return
    }
    if (this.outbound.waiting && nowMs - this.outbound.lastProgressMs > drainTimeoutMs) {
      this.close({ kind: 'limit', detail: 'slow reader' })
      return
    }
    const { rate, room } = this.#holds
    const stuck = this.held && rate + room === 0 && nowMs - this.#heldSinceMs > storeTimeoutMs
    if (stuck || nowMs - this.acks.waitingSinceMs > storeTimeoutMs) {
      this.close({ kind: 'error', detail: 'the store or a handler did not answer in time' })
      return
    }
    if (this.held) return
    if (this.#partialSinceMs > 0 && nowMs - this.#partialSinceMs > this.#limits.packetTimeoutMs) {
      this.close({ kind: 'limit', detail: 'packet not complete in time' })
    } else if (this.keepaliveMs > 0 && nowMs - this.#receivedAtMs > this.keepaliveMs * 1.5) {
      this.close({ kind: 'keepalive', detail: 'nothing received in one and a half keep-alive times' }) // [MQTT-3.1.2-24]
    }
  }

  // --- from Aedes

  engineIdle(): void {
    // Aedes also reads when it was not fed: at the end of CONNECT.
    if (!this.#fed) return
    this.#fed = false
    // Not from within Aedes' own call.
    queueMicrotask(() => this.#release('engine'))
  }

  engineWrite(bytes: Buffer): void {
    if (this.version === 5 && this.phase === 'connecting') {
      this.#translateConnack(bytes)
      return
    }
    if (this.downward !== undefined) {
      this.downward.engine(bytes)
      return
    }
    if (this.tap !== undefined) this.tap.sentPiece(this, bytes)
    this.#write(bytes)
  }

  /** Aedes speaks MQTT 3.1.1. */
  #translateConnack(bytes: Buffer): void {
    const connack = (this.#connack ??= [])
    connack.push(...bytes)
    if (connack.length < 4) return
    this.#connack = undefined
    const [, , sessionPresent, code] = connack
    const packet =
      code === 0
        ? connackPacket(this, ReasonCode.success, this.terms!.connack, sessionPresent === 1)
        : connackPacket(this, this.refusal ?? ReasonCode.unspecifiedError, toldProperties(this.refusalTold))
    this.#answer(packet)
  }

  engineDestroyed(error: Error | undefined): void {
    this.#setReason({ kind: 'error', ...(error && { detail: error.message }) })
    this.#end()
  }
}

/** What decoding waits for. */
interface Holds {
  /** A handler or the store. */
  work: number
  /** Aedes. */
  engine: number
  /** The client's rate. */
  rate: number
  /** The client, which does not read the answers to what it sends. */
  room: number
}

/** A message of the client is over with that. */
function settles(type: PacketType, code: ReasonCode): boolean {
  if (type === PacketType.pubrec) return isFailure(code)
  // A PUBREL for nothing completes nothing.
  if (type === PacketType.pubcomp) return !isFailure(code)
  return type === PacketType.puback
}

const CLOSE_GRACE_MS = 5_000

const NO_ROOM = 'the answer is larger than the packets that the client takes'

const LATE_AUTH = 'authentication not complete in time'
