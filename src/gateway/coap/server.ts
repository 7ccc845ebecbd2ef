import type { OpenDoorClient } from '../../broker/door/contract.ts'
import type { ListenerProfile } from '../../broker/listener-profile.ts'
import type { CoapConfig } from '../../config/coap-schema.ts'
import type { Admission, AdmissionListener, AdmissionRefusal } from '../../listeners/admission.ts'
import { canonicalAddress } from '../../listeners/cidr.ts'
import { AddressCheck } from './address-check.ts'
import { createRateBook } from './address-rates.ts'
import { answerOf, later, plainAnswer, type Answer } from './answer.ts'
import { createCoapCounts, type CoapFigures } from './counts.ts'
import { Duplicates, exchangeKey } from './duplicates.ts'
import { Endpoint } from './endpoint.ts'
import { Code, encodeEmpty, encodeMessage, MessageType, parseMessage, type CoapMessage } from './message.ts'
import { Places } from './places.ts'
import { Requests } from './requests.ts'
import { Sessions } from './sessions.ts'
import { Downloads, Uploads } from './transfers.ts'
import type { Trust } from './trust.ts'

export interface CoapServerOptions {
  readonly config: CoapConfig
  readonly profile: ListenerProfile
  readonly openDoorClient: OpenDoorClient
  readonly admission: Admission
  readonly listener: AdmissionListener
  send(datagram: Buffer, address: string, port: number): void
  /** At most ten a second are told. */
  refused(address: string, port: number, reason: AdmissionRefusal): void
  /** A fault of ours, in the handling of one request. */
  failed(error: unknown): void
  /** Nobody is here any more, and nothing is on its way to anybody. */
  idle(): void
}

/** Where a datagram came from. */
interface Source {
  /** As the socket has it, which answers are sent to. */
  readonly from: string
  /** One spelling for each host. */
  readonly address: string
  readonly port: number
  readonly key: string
}

/**
 * After this time without an answer, an empty Acknowledgement keeps the client from sending again; the answer follows
 * in a message of its own (RFC 7252, 5.2.2). Half of the usual ACK_TIMEOUT.
 */
const PIGGYBACK_MS = 1_000
/** Answers that are larger are not kept for a request that comes again: it is read again. */
const MAX_KEPT_ANSWER_BYTES = 256
/** About 300 bytes for each message that is remembered. */
const KEPT_BYTES_PER_MESSAGE = 128
const MAX_REFUSALS_PER_SECOND = 10

/**
 * The message layer of CoAP (RFC 7252, 4): datagrams in, datagrams out; each request once, however often it comes.
 * What a request does is {@link Requests}.
 */
export class CoapServer {
  readonly #options: CoapServerOptions
  readonly #counts = createCoapCounts()
  readonly #rates: ReturnType<typeof createRateBook>
  readonly #refusalRate = createRateBook(MAX_REFUSALS_PER_SECOND)
  readonly #duplicates: Duplicates
  readonly #endpoints = new Map<string, Endpoint>()
  readonly #uploads: Uploads
  readonly #downloads: Downloads
  readonly #requests: Requests
  readonly sessions: Sessions
  readonly #addressCheck: AddressCheck
  /** Of requests that are worked on. */
  readonly #working: Places

  constructor(options: CoapServerOptions) {
    this.#options = options
    const { config, profile, openDoorClient, admission, listener } = options
    const transferLimits = {
      maxPayloadBytes: config.maxPayloadBytes,
      maxTransfers: config.maxTransfers,
      timeoutMs: config.transferTimeoutMs,
    }
    this.#rates = createRateBook(config.datagramsPerSecondPerAddress)
    this.#working = new Places(config.maxRequests)
    this.#addressCheck = new AddressCheck(config, this.#counts.addressChecks)
    this.#duplicates = new Duplicates({
      maxMessages: config.maxRememberedMessages,
      maxBytes: config.maxRememberedMessages * KEPT_BYTES_PER_MESSAGE,
    })
    this.#uploads = new Uploads(transferLimits)
    this.#downloads = new Downloads(transferLimits)
    this.sessions = new Sessions({
      openDoorClient,
      profile,
      admission,
      listener,
      counts: this.#counts,
      maxUnchecked: config.addressCheck === 'off' ? undefined : config.maxUncheckedClients,
      limits: {
        idleTimeoutMs: config.idleTimeoutMs,
        maxObservations: config.maxObservationsPerClient,
        confirmableIntervalMs: config.confirmableIntervalMs,
        downloads: this.#downloads,
      },
      refused: ({ address, port }, reason) => {
        if (this.#refusalRate.take('', performance.now())) options.refused(address, port, reason)
      },
      gone: ({ key }) => {
        this.#uploads.deleteOf(key)
        this.#downloads.deleteOf(key)
      },
    })
    this.#requests = new Requests({
      config,
      sessions: this.sessions,
      uploads: this.#uploads,
      downloads: this.#downloads,
      failed: (error) => options.failed(error),
    })
  }

  get figures(): CoapFigures {
    let observations = 0
    for (const session of this.sessions) observations += session.observationCount
    return {
      counts: this.#counts,
      sessions: this.sessions.size,
      uncheckedSessions: this.sessions.uncheckedCount,
      observations,
      uploads: this.#uploads.size,
      downloads: this.#downloads.size,
      remembered: this.#duplicates.size,
      working: this.#working.count,
      waiting: this.#addressCheck.waitingCount,
    }
  }

  get isIdle(): boolean {
    return this.#endpoints.size === 0
  }

  /** One datagram. Never throws: anybody can send anything. */
  receive(datagram: Buffer, from: string, port: number): void {
    const { admission } = this.#options
    const { dropped } = this.#counts
    const address = canonicalAddress(from)
    // Port 0 is nobody's, and cannot be answered.
    if (port === 0) dropped.malformed++
    else if (!this.#rates.take(address, performance.now())) dropped.rate++
    else if (admission.isBanned(address)) dropped.banned++
    else this.#read(datagram, { from, address, port, key: `${from} ${port}` })
  }

  /** Observers and clients are let go, and nothing is sent any more. */
  close(): void {
    this.sessions.close()
    for (const endpoint of [...this.#endpoints.values()]) endpoint.close()
    this.#duplicates.clear()
  }

  #read(datagram: Buffer, source: Source): void {
    const { dropped } = this.#counts
    const message = parseMessage(datagram)
    if ('fault' in message) {
      dropped.malformed++
      if (message.header !== undefined) this.#reject(message.header, source)
      return
    }
    const { type, code, messageId } = message
    if (type === MessageType.acknowledgement || type === MessageType.reset) {
      // We ask nothing, so that no Acknowledgement carries a response to us.
      if (code === Code.empty) this.#endpoints.get(source.key)?.answered(type, messageId)
      else dropped.unexpected++
    } else if (code === Code.empty || code >> 5 !== 0) {
      // A ping, or what is no request (RFC 7252, 4.2 and 4.3).
      if (code !== Code.empty) dropped.unexpected++
      this.#reject(message, source)
    } else this.#request(message, datagram, source)
  }

  #reject(
    { type, messageId }: { readonly type: MessageType; readonly messageId: number },
    { from, port }: Source,
  ): void {
    if (type !== MessageType.confirmable) return
    this.#options.send(encodeEmpty(MessageType.reset, messageId), from, port)
  }

  #request(message: CoapMessage, datagram: Buffer, source: Source): void {
    const { messageId, type } = message
    const exchange = exchangeKey(source.key, datagram)
    const copyOf = this.#duplicates.seen(exchange, performance.now())
    if (copyOf !== undefined) {
      this.#counts.duplicates++
      if (copyOf.reply !== undefined && type === MessageType.confirmable)
        this.#options.send(copyOf.reply, source.from, source.port)
      return
    }
    this.#counts.requests++
    const endpoint = this.#endpoint(source)
    endpoint.hold()
    let isAcknowledged = false
    const acknowledge = (): void => {
      if (type !== MessageType.confirmable || isAcknowledged) return
      isAcknowledged = true
      const acknowledgement = encodeEmpty(MessageType.acknowledgement, messageId)
      this.#duplicates.answered(exchange, acknowledgement)
      endpoint.sendDatagram(acknowledgement)
    }
    // Never rejects.
    void this.#serve(message, endpoint, { requestBytes: datagram.length, acknowledge }).then((answer) => {
      this.#answer(endpoint, message, exchange, answer, isAcknowledged)
      endpoint.release()
    })
  }

  /** Never rejects. `acknowledge` is called, when the answer takes its time. */
  async #serve(
    message: CoapMessage,
    endpoint: Endpoint,
    { requestBytes, acknowledge }: { readonly requestBytes: number; readonly acknowledge: () => void },
  ): Promise<Answer> {
    const handle = async (trust: Trust): Promise<Answer | undefined> => {
      const slow = setTimeout(acknowledge, PIGGYBACK_MS)
      const answer = await this.#handle(message, endpoint, trust)
      clearTimeout(slow)
      return answer
    }
    const trust = this.#addressCheck.trustOf(message, endpoint, requestBytes)
    const answer = await handle(trust)
    if (answer !== undefined) return answer
    // Without an Acknowledgement meanwhile: libcoap 4.3 loses blocks that come in a message of their own.
    const asked = await this.#addressCheck.ask(endpoint, trust)
    if ('code' in asked) return asked
    return (await handle(asked)) ?? plainAnswer(Code.internalServerError)
  }

  /** Who waits for the store, a handler or a limit of its own takes places: of one address no more than its share. */
  #handle(message: CoapMessage, endpoint: Endpoint, trust: Trust): Promise<Answer | undefined> {
    const { address } = endpoint
    switch (this.#working.fullFor(address)) {
      case 'everybody':
        return Promise.resolve(answerOf(later(Code.serviceUnavailable, 'too many requests at once', 1)))
      case 'address':
        return Promise.resolve(
          answerOf(later(Code.tooManyRequests, 'too many requests of this address at once', 1)),
        )
      default:
        return this.#working.during(address, () => this.#requests.handle(message, endpoint, trust))
    }
  }

  #answer(
    endpoint: Endpoint,
    request: CoapMessage,
    exchange: string,
    answer: Answer,
    isAcknowledged: boolean,
  ): void {
    const { token, messageId, type, code } = request
    const message = { ...answer, token }
    if (type !== MessageType.confirmable || (isAcknowledged && endpoint.isSilent)) {
      endpoint.send(message)
      return
    }
    if (isAcknowledged) {
      endpoint.confirm(message, () => undefined)
      return
    }
    const reply = encodeMessage({ ...message, type: MessageType.acknowledgement, messageId })
    if (code === Code.get && reply.length > MAX_KEPT_ANSWER_BYTES) this.#duplicates.release(exchange)
    else this.#duplicates.answered(exchange, reply)
    endpoint.sendDatagram(reply)
  }

  #endpoint({ from, address, port, key }: Source): Endpoint {
    const known = this.#endpoints.get(key)
    if (known !== undefined) return known
    const endpoint = new Endpoint({
      address,
      port,
      key,
      ackTimeoutMs: this.#options.config.ackTimeoutMs,
      send: (datagram) => this.#options.send(datagram, from, port),
      unused: () => {
        this.#endpoints.delete(key)
        if (this.isIdle) this.#options.idle()
      },
    })
    this.#endpoints.set(key, endpoint)
    return endpoint
  }
}
