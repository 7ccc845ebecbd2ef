import { DoorError, type DoorClient, type DoorEvents, type DoorMessage } from '../../broker/door/contract.ts'
import { hasWildcard } from '../../broker/topics.ts'
import { answerOf, later, refusalOf } from './answer.ts'
import { cutBlock } from './block.ts'
import type { CoapCounts } from './counts.ts'
import type { Endpoint, Outgoing } from './endpoint.ts'
import { Code, type CoapOption } from './message.ts'
import { bodyOf, locationOf, type Notice, type Observation } from './observation.ts'
import { OptionNumber, uintOption } from './options.ts'
import type { Downloads } from './transfers.ts'

export interface SessionLimits {
  readonly idleTimeoutMs: number
  readonly maxObservations: number
  /** An observer is asked for an acknowledgement at least so often. */
  readonly confirmableIntervalMs: number
  readonly downloads: Downloads
}

export interface SessionOptions {
  readonly key: string
  readonly endpoint: Endpoint
  readonly limits: SessionLimits
  readonly counts: CoapCounts
  ended(): void
}

/** Notifications that are sent without waiting for an acknowledgement, before one is waited for: the pace is the client's. */
const NOTIFICATIONS_PER_CONFIRMATION = 16

/**
 * One client in the broker, and what it observes.
 *
 *   opening ──▶ open ──▶ ended      (idle and without observations, lost, or the broker says so)
 */
export class Session {
  readonly key: string
  readonly endpoint: Endpoint
  /** Rejects with a DoorError when the broker refuses it; then it has ended. */
  opened: Promise<void> = Promise.resolve()
  readonly #options: SessionOptions
  /** By token. Who was told last is the last of them. */
  readonly #observations = new Map<string, Observation>()
  #firstFilter: string | undefined
  /** In all its life. */
  #hasOneFilter = true
  #client: DoorClient | undefined
  #state: 'opening' | 'open' | 'ended' = 'opening'
  #holdCount = 0
  #idleTimer: NodeJS.Timeout | undefined
  #aliveTimer: NodeJS.Timeout | undefined
  /** Before, it is told one thing at a time. */
  #hasConfirmed = false
  #unconfirmedCount = 0
  #confirmedAtMs = 0

  constructor(options: SessionOptions) {
    this.#options = options
    this.key = options.key
    this.endpoint = options.endpoint
  }

  get observationCount(): number {
    return this.#observations.size
  }

  /** Nothing is lost when it ends: its client gets another with its next request. */
  get isIdle(): boolean {
    return this.#holdCount === 0 && this.#observations.size === 0
  }

  open(openClient: (events: DoorEvents) => Promise<DoorClient>): void {
    const events: DoorEvents = {
      message: (message, taken) => this.#message(message, taken),
      revoked: (filters, reason) => this.#revoked(filters, reason),
      closed: (reason) => this.end(reason),
    }
    this.opened = openClient(events).then(
      (client) => {
        this.#client = client
        if (this.#state === 'ended') client.close()
        else this.#state = 'open'
      },
      (error: unknown) => {
        this.end(undefined)
        throw error
      },
    )
    // Those who wait for it are told; if they have gone, nobody is.
    this.opened.catch(() => undefined)
  }

  /** While a request of it is worked on. */
  hold(): void {
    this.#holdCount++
    clearTimeout(this.#idleTimer)
  }

  release(): void {
    this.#holdCount--
    this.#watch()
  }

  /** @throws {DoorError} `gone`, when it has ended. */
  get client(): DoorClient {
    if (this.#client === undefined || this.#state === 'ended')
      throw new DoorError('gone', 'the session has ended')
    return this.#client
  }

  find(token: Buffer): Observation | undefined {
    return this.#observations.get(token.toString('hex'))
  }

  /**
   * Subscribes for it, and answers with what is there now; notifications follow. One with this token is replaced
   * (RFC 7641, 4.1). Rejects with a CoapRefusal, or as the broker refuses it.
   */
  async observe(observation: Observation): Promise<Outgoing> {
    const token = observation.token.toString('hex')
    const { client } = this
    const former = this.#observations.get(token)
    if (former !== undefined) this.forget(former)
    if (this.#observations.size >= this.#options.limits.maxObservations)
      throw later(Code.tooManyRequests, 'too many observations')
    this.#observations.set(token, observation)
    this.#firstFilter ??= observation.filter
    this.#hasOneFilter &&= observation.filter === this.#firstFilter
    try {
      await client.subscribe([{ filter: observation.filter, qos: observation.qos }])
      // What is retained comes with the SUBACK, or right after it.
      if (!observation.hasNotice) await new Promise((resolve) => setImmediate(resolve))
    } catch (error) {
      this.#drop(observation)
      throw error
    }
    if (this.#observations.get(token) !== observation)
      throw new DoorError('gone', 'it is not observed any more')
    observation.isEstablished = true
    const notice = observation.next()
    notice?.taken()
    this.#confirmedAtMs = performance.now()
    this.#watch()
    setImmediate(() => this.#notify())
    return this.#notification(observation, notice?.message)
  }

  /** The client does not want it any more. */
  forget(observation: Observation): void {
    if (!this.#drop(observation)) return
    const isStillObserved = [...this.#observations.values()].some(
      ({ filter }) => filter === observation.filter,
    )
    // If that fails, the client has been closed, and its subscriptions with it.
    if (!isStillObserved) this.#client?.unsubscribe([observation.filter]).catch(() => undefined)
    this.#watch()
  }

  /** With a reason: the broker has ended it, and observers are told (RFC 7641, 4.2). Idempotent. */
  end(reason: DoorError | undefined): void {
    if (this.#state === 'ended') return
    this.#state = 'ended'
    clearTimeout(this.#idleTimer)
    clearInterval(this.#aliveTimer)
    for (const observation of [...this.#observations.values()]) {
      if (reason !== undefined && observation.isEstablished) this.#farewell(observation, reason)
      this.#drop(observation)
    }
    this.#client?.close()
    this.#options.ended()
  }

  /** Rights have changed, and the client stays. */
  #revoked(filters: readonly string[], reason: DoorError): void {
    for (const observation of [...this.#observations.values()]) {
      if (!filters.includes(observation.filter)) continue
      if (observation.isEstablished) this.#farewell(observation, reason)
      this.#drop(observation)
    }
    this.#watch()
  }

  #drop(observation: Observation): boolean {
    const token = observation.token.toString('hex')
    if (this.#observations.get(token) !== observation) return false
    this.#observations.delete(token)
    observation.clear()
    return true
  }

  #watch(): void {
    clearTimeout(this.#idleTimer)
    if (this.#state === 'ended') return
    const { idleTimeoutMs, confirmableIntervalMs } = this.#options.limits
    if (this.#observations.size === 0) {
      clearInterval(this.#aliveTimer)
      this.#aliveTimer = undefined
      if (this.#holdCount === 0) this.#idleTimer = setTimeout(() => this.end(undefined), idleTimeoutMs)
    } else {
      this.#aliveTimer ??= setInterval(() => this.#askAlive(), confirmableIntervalMs)
    }
  }

  #message(message: DoorMessage, taken: () => void): void {
    const all = [...this.#observations.values()]
    // A handler may have rewritten the filter: then it is not told by the topic whose message this is. Of a filter that
    // was let go, a message may still be on its way.
    const observers = this.#hasOneFilter
      ? all
      : all.filter((observation) => observation.matches(message.topic))
    let left = observers.length
    if (left === 0) {
      taken()
      return
    }
    const notice: Notice = { message, taken: () => --left === 0 && taken() }
    for (const observer of observers) this.#options.counts.skippedNotifications += observer.push(notice)
    this.#notify()
  }

  /** As much as the pace allows. */
  #notify(): void {
    while (this.#state === 'open' && !this.endpoint.isConfirming) {
      const observation = [...this.#observations.values()].find((one) => one.isEstablished && one.hasNotice)
      const notice = observation?.next()
      if (observation === undefined || notice === undefined) return
      // The others first, next time.
      const token = observation.token.toString('hex')
      this.#observations.delete(token)
      this.#observations.set(token, observation)
      this.#tell(observation, notice)
    }
  }

  #tell(observation: Observation, { message, taken }: Notice): void {
    this.#options.counts.notifications++
    const notification = this.#notification(observation, message)
    const isDue = performance.now() - this.#confirmedAtMs >= this.#options.limits.confirmableIntervalMs
    const isConfirmable =
      observation.qos > 0 ||
      !this.#hasConfirmed ||
      isDue ||
      this.#unconfirmedCount >= NOTIFICATIONS_PER_CONFIRMATION
    if (!isConfirmable) {
      this.#unconfirmedCount++
      this.endpoint.send(notification, () => this.forget(observation))
      taken()
      return
    }
    this.endpoint.confirm(notification, (outcome) => {
      taken()
      if (outcome === 'lost') this.#lost()
      else {
        this.#confirmed()
        // RFC 7641, 3.6: it does not know this observation any more.
        if (outcome === 'reset') this.forget(observation)
      }
      // Not within its own outcome: the endpoint has to end the message first.
      setImmediate(() => this.#notify())
    })
  }

  #askAlive(): void {
    const isDue = performance.now() - this.#confirmedAtMs >= this.#options.limits.confirmableIntervalMs
    if (!isDue || this.endpoint.isConfirming) return
    this.endpoint.ping((outcome) => {
      if (outcome === 'lost') this.#lost()
      else this.#confirmed()
      setImmediate(() => this.#notify())
    })
  }

  #confirmed(): void {
    this.#hasConfirmed = true
    this.#unconfirmedCount = 0
    this.#confirmedAtMs = performance.now()
  }

  /** RFC 7641, 4.5: who does not acknowledge is observing nothing any more. */
  #lost(): void {
    this.#options.counts.lostObservers += this.#observations.size
    this.end(undefined)
  }

  #notification(observation: Observation, message: DoorMessage | undefined): Outgoing {
    const { token, filter, downloadKey, blockBytes } = observation
    const options: CoapOption[] = [uintOption(OptionNumber.observe, observation.nextSequence())]
    if (message === undefined) return { code: Code.content, token, options, payload: Buffer.alloc(0) }
    const body = bodyOf(message)
    options.push({ number: OptionNumber.eTag, value: body.eTag }, ...body.format)
    if (hasWildcard(filter)) options.push(...locationOf(message.topic))
    if (body.bytes.length <= blockBytes) return { code: Code.content, token, options, payload: body.bytes }
    // The rest is fetched by the client, in requests of its own (RFC 7959, 2.6).
    this.#options.limits.downloads.keep(downloadKey, body, performance.now())
    const first = cutBlock(body.bytes, { num: 0, hasMore: true, sizeBytes: blockBytes })!
    options.push(first.option, uintOption(OptionNumber.size2, body.bytes.length))
    return { code: Code.content, token, options, payload: first.payload }
  }

  #farewell({ token }: Observation, reason: DoorError): void {
    const refusal =
      reason.failure === 'gone' ? refusalOf(new DoorError('forbidden', reason.message)) : refusalOf(reason)
    this.endpoint.confirm({ ...answerOf(refusal), token }, () => undefined)
  }
}
