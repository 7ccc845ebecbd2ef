import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type { FrameHeader } from '../protocol/frame.ts'
import { type Route, Routes, statusTopic, TUNNEL_PREFIX } from '../protocol/names.ts'
import { Backoff } from './backoff.ts'
import { Connection, type ConnectionOptions } from './connection.ts'
import type { Failure } from './failure.ts'
import { InboundTopics } from './inbound-topics.ts'
import type { Link, LinkEvents } from './link.ts'
import { connectionOptions, type MqttLinkOptions, OFFLINE_STATUS } from './options.ts'
import { field } from './packets.ts'
import { StatusWatch } from './status-watch.ts'

const DEFAULT_CLOSE_GRACE_MS = 2_000

/** docs/tunnel-protocol.md 3.1 */
const MAX_STATUS_BYTES = 4_096

/** A connection that the broker has closed so soon after it was up, so often in a row, was perhaps taken over. */
const SHORT_LIFE_MS = 5_000
const SHORT_LIVES = 3

/** Connects when it is attached. @throws TunnelMQError for options that cannot be right. */
export function createMqttLink(options: MqttLinkOptions): Link {
  return new MqttLink(options)
}

/**
 * Frames over MQTT connections, one after the other.
 *
 *   created ──attach──▶ connecting ──CONNACK, SUBACK──▶ up
 *                         ▲   └─failed─▶ waiting ◀─lost──┘
 *                         └──time over──────┘              any ──close()──▶ closed
 */
class MqttLink implements Link {
  readonly name: string
  readonly isAnswered: boolean
  readonly #options: MqttLinkOptions
  readonly #connectionOptions: ConnectionOptions
  readonly #routes: Routes
  readonly #topics: InboundTopics
  readonly #watch: StatusWatch
  readonly #statusTopic: string
  /** The topic to send to, as a field of a packet. */
  readonly #topicFields = new WeakMap<Route, Buffer>()
  readonly #backoff = new Backoff()
  #phase: 'created' | 'connecting' | 'up' | 'waiting' | 'closed' = 'created'
  #connection: Connection | undefined
  #retryTimer: NodeJS.Timeout | undefined
  #status: string | undefined
  /** It has changed while the connection took nothing. */
  #isStatusDue = false
  #upSinceMs = 0
  #wasUp = false
  #failedAttempts = 0
  #shortLives = 0
  /** Those who wait for the end of the last connection. */
  #closers: (() => void)[] = []

  constructor(options: MqttLinkOptions) {
    const { role, name, topicPrefix: prefix = TUNNEL_PREFIX } = options
    this.name = name
    // 2.2: elsewhere another prefix takes its place.
    this.isAnswered = prefix === TUNNEL_PREFIX
    this.#options = options
    this.#connectionOptions = connectionOptions(options)
    this.#routes = new Routes(prefix)
    this.#topics = new InboundTopics({ role, name, prefix, routes: this.#routes })
    this.#watch = new StatusWatch(prefix)
    this.#statusTopic = statusTopic(name, prefix)
  }

  get isUp(): boolean {
    return this.#phase === 'up'
  }

  attach(events: LinkEvents): void {
    if (this.#phase !== 'created') throw new TunnelMQError(ErrorCode.usage, 'a link is attached once')
    this.#connect(events)
  }

  route(agent: string, service: string, client: string): Route {
    return this.#routes.get(agent, service, client)
  }

  send(route: Route, header: FrameHeader, payload: Buffer | undefined): boolean {
    if (this.#phase !== 'up') return false
    let topic = this.#topicFields.get(route)
    if (topic === undefined) {
      topic = field(this.#options.role === 'agent' ? route.downTopic : route.upTopic)
      this.#topicFields.set(route, topic)
    }
    return this.#connection!.send(topic, header, payload)
  }

  publishStatus(status: string): void {
    if (this.#options.role !== 'agent') throw new TunnelMQError(ErrorCode.usage, 'only agents have a status')
    if (Buffer.byteLength(status) > MAX_STATUS_BYTES) {
      throw new TunnelMQError(ErrorCode.limit, `a status has at most ${MAX_STATUS_BYTES} bytes`)
    }
    this.#status = status
    this.#sendStatus()
  }

  watchStatus(agent: string): void {
    this.#watch.add(agent)
  }

  statusComplete(timeoutMs: number): Promise<void> {
    return this.#watch.complete(timeoutMs)
  }

  close(graceMs = DEFAULT_CLOSE_GRACE_MS): Promise<void> {
    const connection = this.#connection
    // Unless the agent has said so itself, with more words.
    const isSaid = this.#status?.startsWith('{"online":false') === true
    if (this.#phase === 'up' && this.#options.role === 'agent' && !isSaid) {
      connection?.publishRetained(this.#statusTopic, OFFLINE_STATUS)
    }
    this.#phase = 'closed'
    clearTimeout(this.#retryTimer)
    this.#watch.close()
    if (connection === undefined) return Promise.resolve()
    connection.close(graceMs)
    return new Promise((resolve) => this.#closers.push(resolve))
  }

  #connect(events: LinkEvents): void {
    this.#phase = 'connecting'
    const connection = new Connection(this.#connectionOptions, {
      up: () => this.#up(connection, events),
      publish: (bytes, topicStart, topicEnd, payloadStart, end, isRetained) => {
        const meaning = this.#topics.meaning(bytes, topicStart, topicEnd)
        if (meaning.kind === 'frame') {
          // 2.4: a foreign broker may have kept an OPEN, and would open it again with each connection.
          if (!isRetained) events.frame(meaning.route, bytes.subarray(payloadStart, end))
        }
        // Copied: it may be kept for long, and would keep all that came with it.
        else if (meaning.kind === 'status') events.status(meaning.agent, copyOf(bytes, payloadStart, end))
      },
      suback: (packetId, code) => this.#watch.suback(packetId, code),
      pingresp: (count) => this.#watch.pingresp(count),
      room: () => {
        if (this.#isStatusDue) this.#sendStatus()
        events.room()
      },
      closed: (failure) => this.#closed(failure, events),
    })
    this.#connection = connection
  }

  #up(connection: Connection, events: LinkEvents): void {
    this.#phase = 'up'
    this.#upSinceMs = performance.now()
    this.#wasUp = true
    this.#failedAttempts = 0
    this.#sendStatus()
    this.#watch.connected(connection)
    this.#options.onUp?.(this.#connectionOptions.address.display)
    events.up()
  }

  #sendStatus(): void {
    if (this.#phase !== 'up' || this.#status === undefined) return
    const connection = this.#connection!
    this.#isStatusDue = connection.awaitsRoom()
    if (!this.#isStatusDue) connection.publishRetained(this.#statusTopic, this.#status)
  }

  #closed(failure: Failure | undefined, events: LinkEvents): void {
    const phase = this.#phase
    this.#connection = undefined
    if (phase === 'closed' || failure === undefined) {
      for (const resolve of this.#closers) resolve()
      this.#closers = []
      return
    }
    this.#watch.disconnected()
    if (phase === 'up') this.#judgeLife(failure)
    this.#phase = 'waiting'
    const retryInMs = this.#backoff.next((this.#options.random ?? Math.random)())
    this.#retryTimer = setTimeout(() => this.#connect(events), retryInMs)
    if (phase === 'up') this.#tellDown(failure, retryInMs, events)
    else this.#tellFailedAttempt(failure, retryInMs)
  }

  #judgeLife(failure: Failure): void {
    const lifeMs = performance.now() - this.#upSinceMs
    this.#backoff.stood(lifeMs)
    this.#shortLives = failure.byPeer && lifeMs < SHORT_LIFE_MS ? this.#shortLives + 1 : 0
  }

  #tellDown(failure: Failure, retryInMs: number, events: LinkEvents): void {
    const { name } = this
    // MQTT 3.1.1 does not say why it closes; two clients with one id take the place from each other for ever.
    const hint = `, again and again soon after connecting: is another client with the id '${name}' connected?`
    const reason = this.#shortLives < SHORT_LIVES ? failure.text : failure.text + hint
    events.down(reason)
    this.#options.onDown?.({ reason, retryInMs })
  }

  #tellFailedAttempt({ code, text, isFatal, cause }: Failure, retryInMs: number): void {
    const { display } = this.#connectionOptions.address
    const error = new TunnelMQError(code, `cannot connect to ${display}: ${text}`, cause && { cause })
    const attempts = ++this.#failedAttempts
    this.#options.onAttemptFailed?.({ error, attempts, retryInMs, isFatal, wasUp: this.#wasUp })
  }
}

function copyOf(bytes: Buffer, start: number, end: number): Buffer | undefined {
  return start === end ? undefined : Buffer.from(bytes.subarray(start, end))
}
