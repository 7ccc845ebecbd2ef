import type { OpenDoorClient } from '../../broker/door/contract.ts'
import type { ListenerProfile } from '../../broker/listener-profile.ts'
import type { CoapConfig } from '../../config/coap-schema.ts'
import type { Admission, AdmissionListener, AdmissionRefusal } from '../../listeners/admission.ts'
import { canonicalAddress } from '../../listeners/cidr.ts'
import { createRateBook } from './address-rates.ts'
import { answerOf, later, type Answer, type CoapRefusal } from './answer.ts'
import { createCoapCounts, type CoapFigures } from './counts.ts'
import { Duplicates, exchangeKey } from './duplicates.ts'
import { Endpoint } from './endpoint.ts'
import { Code, encodeEmpty, encodeMessage, MessageType, parseMessage, type CoapMessage } from './message.ts'
import { Requests } from './requests.ts'
import { Sessions } from './sessions.ts'
import { Downloads, Uploads } from './transfers.ts'

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
/** One address has at most this part of `maxRequests`. */
const ADDRESS_SHARE = 8

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
  #workingCount = 0
  readonly #workingFor = new Map<string, number>()

  constructor(options: CoapServerOptions) {
    this.#options = options
    const { config, profile, openDoorClient, admission, listener } = options
    const transferLimits = {
      maxPayloadBytes: config.maxPayloadBytes,
      maxTransfers: config.maxTransfers,
      timeoutMs: config.transferTimeoutMs,
    }
    this.#rates = createRateBook(config.datagramsPerSecondPerAddress)
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
      observations,
      uploads: this.#uploads.size,
      downloads: this.#downloads.size,
      remembered: this.#duplicates.size,
      working: this.#workingCount,
    }
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
    } else this.#request(message, exchangeKey(source.key, datagram), source)
  }

  #reject(
    { type, messageId }: { readonly type: MessageType; readonly messageId: number },
    { from, port }: Source,
  ): void {
    if (type !== MessageType.confirmable) return
    this.#options.send(encodeEmpty(MessageType.reset, messageId), from, port)
  }

  #request(message: CoapMessage, exchange: string, source: Source): void {
    const { address } = source
    const { messageId, type } = message
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
    const busy = this.#busy(address)
    if (busy !== undefined) {
      this.#answer(endpoint, message, exchange, answerOf(busy), false)
      endpoint.release()
      return
    }
    this.#work(address, 1)
    let isAcknowledged = false
    const slow = setTimeout(() => {
      if (type !== MessageType.confirmable) return
      isAcknowledged = true
      const acknowledgement = encodeEmpty(MessageType.acknowledgement, messageId)
      this.#duplicates.answered(exchange, acknowledgement)
      endpoint.sendDatagram(acknowledgement)
    }, PIGGYBACK_MS)
    // Never rejects.
    void this.#requests.handle(message, endpoint).then((answer) => {
      clearTimeout(slow)
      this.#work(address, -1)
      this.#answer(endpoint, message, exchange, answer, isAcknowledged)
      endpoint.release()
    })
  }

  /** Who waits for the store, a handler or a limit of its own takes places: of one address no more than its share. */
  #busy(address: string): CoapRefusal | undefined {
    const { maxRequests } = this.#options.config
    if (this.#workingCount >= maxRequests)
      return later(Code.serviceUnavailable, 'too many requests at once', 1)
    const share = Math.ceil(maxRequests / ADDRESS_SHARE)
    return (this.#workingFor.get(address) ?? 0) < share
      ? undefined
      : later(Code.tooManyRequests, 'too many requests of this address at once', 1)
  }

  #work(address: string, change: 1 | -1): void {
    this.#workingCount += change
    const count = (this.#workingFor.get(address) ?? 0) + change
    if (count === 0) this.#workingFor.delete(address)
    else this.#workingFor.set(address, count)
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
      unused: () => this.#endpoints.delete(key),
    })
    this.#endpoints.set(key, endpoint)
    return endpoint
  }
}
