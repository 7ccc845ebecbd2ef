import type { InterceptedControl, InterceptedPublish } from '../../hooks/interceptor.ts'
import { countedBytes } from '../../store/counted-bytes.ts'
import type { MessageProperties, QoS } from '../../hooks/types.ts'
import type { StoredProperties } from '../../store/contract.ts'
import { addMountpoint, stripMountpoint, type ClientSession, type Subscription } from '../client-session.ts'
import type { Connection } from '../connection.ts'
import { expiresAt } from '../message-properties.ts'
import { Message } from '../message.ts'
import { ConnackCode } from '../packets/types.ts'
import { TUNNEL_ROOT } from '../topics.ts'
import { controlOf } from './control-facts.ts'
import { endConnection } from './ending.ts'
import { Dropped, Ended, isPacket, type Interceptors, type Outcome } from './interceptors.ts'
import { shownFacts } from './shown.ts'

/** A message on its way to one client. */
export interface Delivering {
  readonly message: Message
  readonly qos: QoS
  /** 0 at QoS 0. */
  readonly messageId: number
  readonly dup: boolean
  /** Its place in the queue, for rights that were taken away meanwhile; 0: it never waited. */
  readonly seq: number
  /** The shared subscription that it is of. */
  readonly via: Subscription | undefined
  /** It does not go out: at QoS 1 and 2 it counts as acknowledged. */
  withheld(): void
}

/** Of a packet that waits, beside its payload. */
const JOB_BYTES = 256

type Job = Delivering | { readonly packet: Buffer }

/**
 * What goes to a client of a listener with interceptors, in its order: while one packet is being asked about, those
 * behind it wait. What waits counts as not taken by the client, so that its bounds hold (`limits.maxOutboundBytes`).
 *
 *   PUBLISH ─▶ before ─▶ rights, authDeliver ─▶ after ─▶ written      anything else ─▶ shown ─▶ written
 */
export class Downward {
  readonly #connection: Connection
  readonly #interceptors: Interceptors
  #waiting: Job[] = []
  #isBusy = false
  #pendingBytes = 0
  #isOver = false
  /** Aedes writes CONNACK and PINGRESP in pieces. */
  #pieces: Buffer | undefined

  constructor(connection: Connection, interceptors: Interceptors) {
    this.#connection = connection
    this.#interceptors = interceptors
  }

  get pendingBytes(): number {
    return this.#pendingBytes
  }

  deliver(delivering: Delivering): void {
    this.#add(delivering, JOB_BYTES + countedBytes(delivering.message))
  }

  /** A whole packet that is no PUBLISH. */
  control(packet: Buffer): void {
    this.#add({ packet }, JOB_BYTES)
  }

  engine(bytes: Buffer): void {
    const packet = this.#pieces === undefined ? bytes : Buffer.concat([this.#pieces, bytes])
    // None of its packets is longer than a byte of length says.
    const isWhole = packet.length >= 2 && packet.length >= 2 + packet[1]!
    this.#pieces = isWhole ? undefined : packet
    if (isWhole) this.control(packet)
  }

  /** A retained message that is handed over without a PUBLISH, as it would be sent; undefined: it would not. */
  async read(message: Message): Promise<Message | undefined> {
    const connection = this.#connection
    const session = connection.clientSession!
    const shown = this.#shown(message, 0, false)
    if (shown.topic.startsWith(TUNNEL_ROOT)) return session.mayReceive(message, 0) ? message : undefined
    const before = await this.#interceptors.ask('before', connection.session!, shown, 'down')
    if (!this.#isSent(session, before)) return undefined
    if (!session.mayReceive(this.#messageOf(message, before, shown), 0)) return undefined
    const after = await this.#interceptors.ask('after', connection.session!, before, 'down')
    return this.#isSent(session, after) ? this.#messageOf(message, after, shown) : undefined
  }

  #add(job: Job, bytes: number): void {
    if (this.#isOver) return
    if (!this.#isBusy) {
      const working = this.#work(job)
      if (working === undefined) return
      this.#isBusy = true
      void working.finally(() => this.#next(bytes))
    } else this.#waiting.push(job)
    // It must not keep a network buffer alive.
    if ('message' in job) job.message.detach()
    this.#pendingBytes += bytes
  }

  #next(doneBytes: number): void {
    this.#pendingBytes -= doneBytes
    // Busy until the last: what is withheld here lets the next message in, whose place is behind those that wait.
    while (this.#waiting.length > 0) {
      const waiting = this.#waiting
      this.#waiting = []
      for (const [index, job] of waiting.entries()) {
        const bytes = JOB_BYTES + ('message' in job ? countedBytes(job.message) : 0)
        const working = this.#work(job)
        if (working !== undefined) {
          this.#waiting = [...waiting.slice(index + 1), ...this.#waiting]
          void working.finally(() => this.#next(bytes))
          return
        }
        this.#pendingBytes -= bytes
      }
    }
    this.#isBusy = false
    if (!this.#isOver && this.#connection.phase === 'open') this.#connection.clientSession?.outbox.pump()
  }

  /** Undefined: it is done. */
  #work(job: Job): Promise<void> | undefined {
    if (this.#isOver || this.#connection.phase === 'closed') return undefined
    return 'message' in job ? this.#deliver(job) : this.#control(job.packet)
  }

  #control(packet: Buffer): Promise<void> | undefined {
    const { session } = this.#connection
    const facts = session && controlOf(packet, this.#connection.version)
    if (facts === undefined) {
      this.#connection.writeControl(packet)
      return undefined
    }
    const isRefusal = facts.cmd === 'connack' && facts.returnCode !== ConnackCode.accepted
    // The connection ends with it, whatever is said about it.
    if (isRefusal) this.#connection.writeControl(packet)
    const outcome = this.#interceptors.askBoth(session!, Object.freeze(facts), 'down')
    if (isRefusal) return undefined
    if (!(outcome instanceof Promise)) {
      this.#written(packet, outcome)
      return undefined
    }
    // Aedes says that the connection is open when it has written the CONNACK.
    if (this.#connection.phase !== 'open') {
      this.#connection.writeControl(packet)
      return outcome.then((settled) => {
        if (settled instanceof Ended) this.#end(settled)
      })
    }
    return outcome.then((settled) => this.#written(packet, settled))
  }

  #written(packet: Buffer, outcome: Outcome<InterceptedControl>): void {
    if (outcome instanceof Ended) this.#end(outcome)
    else this.#connection.writeControl(packet)
  }

  #deliver(delivering: Delivering): Promise<void> | undefined {
    const connection = this.#connection
    const session = connection.clientSession
    // Taken over: what is in flight is the next connection's.
    if (session?.connection !== connection) return undefined
    const { message, qos, messageId, dup } = delivering
    const topic = stripMountpoint(message.topic, connection.profile.mountpoint)
    if (topic.startsWith(TUNNEL_ROOT)) {
      this.#exempt(session, delivering)
      return undefined
    }
    const shown = this.#shown(message, messageId, dup, qos)
    const before = this.#interceptors.ask('before', connection.session!, shown, 'down')
    if (before instanceof Promise)
      return before.then((made) => this.#between(session, delivering, shown, made))
    return this.#between(session, delivering, shown, before)
  }

  #shown(message: Message, messageId: number, dup: boolean, qos = message.qos): InterceptedPublish {
    const { isBridge, profile } = this.#connection
    const topic = stripMountpoint(message.topic, profile.mountpoint)
    const retain = message.retain || (isBridge && message.wasRetained)
    const { payload, properties, expiresAtMs } = message
    const seconds = expiresAtMs === 0 ? undefined : Math.max(1, Math.ceil((expiresAtMs - Date.now()) / 1_000))
    const facts = shownFacts(properties, seconds)
    return Object.freeze({ cmd: 'publish', topic, payload, qos, retain, dup, messageId, ...facts })
  }

  #between(
    session: ClientSession,
    delivering: Delivering,
    shown: InterceptedPublish,
    made: Outcome<InterceptedPublish>,
  ): Promise<void> | undefined {
    if (!this.#goesOn(session, delivering, made)) return undefined
    const changed = made === shown ? delivering.message : this.#messageOf(delivering.message, made, shown)
    const { seq, dup } = delivering
    if (!session.mayReceive(changed, seq, dup)) {
      delivering.withheld()
      return undefined
    }
    const after = this.#interceptors.ask('after', this.#connection.session!, made, 'down')
    if (after instanceof Promise) return after.then((last) => this.#last(session, delivering, shown, last))
    this.#last(session, delivering, shown, after)
    return undefined
  }

  #last(
    session: ClientSession,
    delivering: Delivering,
    shown: InterceptedPublish,
    made: Outcome<InterceptedPublish>,
  ): void {
    if (!this.#goesOn(session, delivering, made)) return
    this.#transmit(
      session,
      delivering,
      made === shown ? delivering.message : this.#messageOf(delivering.message, made, shown),
    )
  }

  #goesOn(
    session: ClientSession,
    delivering: Delivering,
    outcome: Outcome<InterceptedPublish>,
  ): outcome is InterceptedPublish {
    if (this.#isSent(session, outcome)) return true
    if (outcome instanceof Dropped && session.connection === this.#connection) delivering.withheld()
    return false
  }

  #isSent(session: ClientSession, outcome: Outcome<InterceptedPublish>): outcome is InterceptedPublish {
    const connection = this.#connection
    if (connection.phase === 'closed' || session.connection !== connection) return false
    if (isPacket(outcome)) return true
    if (outcome instanceof Dropped) session.countWithheld()
    else this.#end(outcome)
    return false
  }

  #exempt(session: ClientSession, delivering: Delivering): void {
    const { message, seq, dup } = delivering
    if (session.mayReceive(message, seq, dup)) this.#transmit(session, delivering, message)
    else delivering.withheld()
  }

  #transmit(session: ClientSession, delivering: Delivering, message: Message): void {
    const { qos, messageId, dup, via } = delivering
    if (session.fits(message, qos, via)) session.transmit(message, qos, messageId, dup, via)
    else delivering.withheld()
  }

  #messageOf(message: Message, made: InterceptedPublish, shown: InterceptedPublish): Message {
    const { topic, payload, retain } = made
    const { qos, publisher, publishedAtMs } = message
    const full = addMountpoint(topic, this.#connection.profile.mountpoint)
    const isLater = made.messageExpirySeconds !== shown.messageExpirySeconds
    const expiresAtMs = isLater ? expiresAt(Date.now(), made.messageExpirySeconds, 0) : message.expiresAtMs
    const isSame = made.properties === shown.properties
    const properties = isSame ? message.properties : withProperties(message.properties, made.properties)
    return new Message(
      full,
      payload,
      qos,
      retain,
      publisher,
      publishedAtMs,
      expiresAtMs,
      properties,
      message.topic,
    )
  }

  /** Not within the broker's own work, which may be a fan-out to many. */
  #end(ended: Ended): void {
    if (this.#isOver) return
    this.#isOver = true
    setImmediate(() => endConnection(this.#connection, ended))
  }
}

/** Of a stored message, what no packet of its publisher says stays. */
function withProperties(
  stored: StoredProperties | undefined,
  properties: MessageProperties | undefined,
): StoredProperties {
  const { retain, subscriptionIdentifiers } = stored ?? {}
  return {
    ...properties,
    ...(retain !== undefined && { retain }),
    ...(subscriptionIdentifiers !== undefined && { subscriptionIdentifiers }),
  }
}
