import { randomInt } from 'node:crypto'
import { encodeEmpty, encodeMessage, MessageType, type CoapMessage } from './message.ts'

/** What became of a confirmable message. A ping is answered with a Reset (RFC 7252, 4.3). */
export type Outcome = 'acknowledged' | 'reset' | 'lost'

export type Outgoing = Pick<CoapMessage, 'code' | 'token' | 'options' | 'payload'>

export interface EndpointOptions {
  /** As people and limits know it. */
  readonly address: string
  readonly port: number
  readonly key: string
  /** ACK_TIMEOUT. */
  readonly ackTimeoutMs: number
  send(datagram: Buffer): void
  /** Nothing needs it any more. */
  unused(): void
}

/** RFC 7252, 4.8. */
const ACK_RANDOM_FACTOR = 1.5
const MAX_RETRANSMIT = 4
/**
 * A ping that asks whether an address is true is sent again so often, and sooner: somebody waits for an answer meanwhile,
 * and libcoap 4.3 leaves one without a Reset that comes in the first 250 ms of its first second.
 */
const PROOF = { ackTimeoutPart: 1 / 4, maxRetransmit: 2 }
const PATIENT = { ackTimeoutPart: 1, maxRetransmit: MAX_RETRANSMIT }
/** Non-confirmable messages whose Reset would still be understood. */
const MAX_REMEMBERED = 32
const MESSAGE_IDS = 65_536
/** At once; about 1 KiB each. */
const MAX_CONFIRMABLES = 16

interface Confirmable {
  readonly datagram: Buffer
  readonly outcome: (outcome: Outcome) => void
  readonly maxRetransmit: number
  waitMs: number
  sentCount: number
  timer: NodeJS.Timeout | undefined
}

/**
 * The other end of CoAP messages: an address and a port (RFC 7252, 1.2). Counts its message ids, and sends confirmable
 * messages again until they are acknowledged. Exists while somebody holds it.
 */
export class Endpoint {
  readonly address: string
  readonly port: number
  /** For maps. */
  readonly key: string
  /** It has answered what only it can have received. Before, the address may be forged. */
  isProven = false
  readonly #options: EndpointOptions
  readonly #confirmables = new Map<number, Confirmable>()
  readonly #resets = new Map<number, () => void>()
  #proof: Promise<boolean> | undefined
  #nextId = randomInt(MESSAGE_IDS)
  #holdCount = 0

  constructor(options: EndpointOptions) {
    this.#options = options
    this.address = options.address
    this.port = options.port
    this.key = options.key
  }

  /** NSTART is 1 (RFC 7252, 4.7): who has something new to say waits for the outcome of what was said before. */
  get isConfirming(): boolean {
    return this.#confirmables.size > 0
  }

  /** Who leaves so many messages without an Acknowledgement is given no more of them. */
  get isSilent(): boolean {
    return this.#confirmables.size >= MAX_CONFIRMABLES
  }

  hold(): void {
    this.#holdCount++
  }

  release(): void {
    if (--this.#holdCount === 0) this.#options.unused()
  }

  /** As it is: an answer that carries the message id of what it answers. */
  sendDatagram(datagram: Buffer): void {
    this.#options.send(datagram)
  }

  /** Non-confirmable. `reset`: the other end says that it does not know what this is about. */
  send(message: Outgoing, reset?: () => void): void {
    const messageId = this.#takeId()
    if (reset !== undefined) {
      this.#resets.set(messageId, reset)
      if (this.#resets.size > MAX_REMEMBERED) this.#resets.delete(this.#resets.keys().next().value!)
    }
    this.#options.send(encodeMessage({ ...message, type: MessageType.nonConfirmable, messageId }))
  }

  /** Confirmable: the outcome comes once, later. */
  confirm(message: Outgoing, outcome: (outcome: Outcome) => void): void {
    const messageId = this.#takeId()
    this.#begin(messageId, encodeMessage({ ...message, type: MessageType.confirmable, messageId }), outcome)
  }

  /** Is anybody there? */
  ping(outcome: (outcome: Outcome) => void, patience = PATIENT): void {
    const messageId = this.#takeId()
    this.#begin(messageId, encodeEmpty(MessageType.confirmable, messageId), outcome, patience)
  }

  /**
   * Does what is sent to this address come to who asks? Resolves after an answer to a ping, or about twice
   * ACK_TIMEOUT. A forger would have to guess its message id, of which there are 65,536.
   */
  prove(): Promise<boolean> {
    if (this.isProven) return Promise.resolve(true)
    this.#proof ??= new Promise<boolean>((resolve) =>
      this.ping((outcome) => resolve(outcome !== 'lost'), PROOF),
    ).finally(() => (this.#proof = undefined))
    return this.#proof
  }

  /** An Acknowledgement or Reset came. */
  answered(type: MessageType, messageId: number): void {
    const confirmable = this.#confirmables.get(messageId)
    if (confirmable !== undefined) {
      this.isProven = true
      this.#end(messageId, type === MessageType.reset ? 'reset' : 'acknowledged')
    } else if (type === MessageType.reset) {
      const reset = this.#resets.get(messageId)
      this.#resets.delete(messageId)
      reset?.()
    }
  }

  /** The socket is gone: nothing is sent again. */
  close(): void {
    for (const messageId of [...this.#confirmables.keys()]) this.#end(messageId, 'lost')
  }

  #takeId(): number {
    this.#nextId = (this.#nextId + 1) % MESSAGE_IDS
    return this.#nextId
  }

  #begin(
    messageId: number,
    datagram: Buffer,
    outcome: (outcome: Outcome) => void,
    { ackTimeoutPart, maxRetransmit } = PATIENT,
  ): void {
    this.hold()
    const ackTimeoutMs = this.#options.ackTimeoutMs * ackTimeoutPart
    const waitMs = ackTimeoutMs * (1 + Math.random() * (ACK_RANDOM_FACTOR - 1))
    const confirmable: Confirmable = {
      datagram,
      outcome,
      maxRetransmit,
      waitMs,
      sentCount: 0,
      timer: undefined,
    }
    this.#confirmables.set(messageId, confirmable)
    this.#transmit(messageId, confirmable)
  }

  #transmit(messageId: number, confirmable: Confirmable): void {
    if (confirmable.sentCount > confirmable.maxRetransmit) {
      this.#end(messageId, 'lost')
      return
    }
    confirmable.timer = setTimeout(() => this.#transmit(messageId, confirmable), confirmable.waitMs)
    confirmable.sentCount++
    confirmable.waitMs *= 2
    this.#options.send(confirmable.datagram)
  }

  #end(messageId: number, outcome: Outcome): void {
    const confirmable = this.#confirmables.get(messageId)
    if (confirmable === undefined) return
    clearTimeout(confirmable.timer)
    this.#confirmables.delete(messageId)
    confirmable.outcome(outcome)
    this.release()
  }
}
