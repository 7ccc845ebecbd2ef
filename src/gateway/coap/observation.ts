import { createHash } from 'node:crypto'
import type { DoorMessage } from '../../broker/door/contract.ts'
import { parseShare, topicMatches } from '../../broker/topics.ts'
import type { QoS } from '../../hooks/types.ts'
import { contentFormatOption } from './content-format.ts'
import type { CoapOption } from './message.ts'
import { OptionNumber } from './options.ts'
import type { Body } from './transfers.ts'

/** What an observer is told next. `taken` is called once: when it has it, or will not get it any more. */
export interface Notice {
  readonly message: DoorMessage
  readonly taken: () => void
}

export interface ObservationOptions {
  readonly token: Buffer
  readonly filter: string
  readonly qos: QoS
  /** Of its block-wise transfers. */
  readonly downloadKey: string
  /** As the client asked for. */
  readonly blockBytes: number
  readonly maxQueued: number
}

/** RFC 7641, 3.4: 24 bits, and so many that the first is not taken for an old one after a restart of ours. */
const SEQUENCES = 2 ** 24

/**
 * One client that observes one filter (RFC 7641): what it has not been told yet. Observing is about the state that holds
 * now: of one topic only the newest message waits, so a client that is slow skips the others.
 */
export class Observation {
  readonly token: Buffer
  readonly filter: string
  readonly qos: QoS
  readonly downloadKey: string
  readonly blockBytes: number
  /** Until its request is answered, nothing is told. */
  isEstablished = false
  readonly #maxQueued: number
  readonly #plainFilter: string
  /** By topic; oldest first. */
  readonly #notices = new Map<string, Notice>()
  #sequence = 1

  constructor(options: ObservationOptions) {
    this.token = options.token
    this.filter = options.filter
    this.qos = options.qos
    this.downloadKey = options.downloadKey
    this.blockBytes = options.blockBytes
    this.#maxQueued = options.maxQueued
    const share = parseShare(options.filter)
    this.#plainFilter = typeof share === 'object' ? share.filter : options.filter
  }

  matches(topic: string): boolean {
    return topicMatches(this.#plainFilter, topic)
  }

  get hasNotice(): boolean {
    return this.#notices.size > 0
  }

  /** How many were let go to make room for this one: 0 or 1. */
  push(notice: Notice): number {
    const { topic } = notice.message
    const older = this.#notices.get(topic)
    if (older === undefined && this.#notices.size < this.#maxQueued) {
      this.#notices.set(topic, notice)
      return 0
    }
    const [skippedTopic, skipped] = older === undefined ? [...this.#notices][0]! : [topic, older]
    // In the place of the one that it replaces, so that a busy topic does not put itself behind all others for ever.
    if (older === undefined) this.#notices.delete(skippedTopic)
    this.#notices.set(topic, notice)
    skipped.taken()
    return 1
  }

  next(): Notice | undefined {
    for (const [topic, notice] of this.#notices) {
      this.#notices.delete(topic)
      return notice
    }
    return undefined
  }

  /** RFC 7641, 4.4: larger for each notification. */
  nextSequence(): number {
    this.#sequence = (this.#sequence + 1) % SEQUENCES
    return this.#sequence
  }

  clear(): void {
    for (const { taken } of this.#notices.values()) taken()
    this.#notices.clear()
  }
}

const ETAG_BYTES = 4

export function bodyOf(message: DoorMessage): Body {
  const { contentType } = message.properties ?? {}
  const hash = createHash('sha256').update(message.topic).update('\0').update(message.payload)
  if (contentType !== undefined) hash.update('\0').update(contentType)
  const format = contentFormatOption(contentType)
  return { bytes: message.payload, eTag: hash.digest().subarray(0, ETAG_BYTES), format }
}

/** Of which topic it is, for who observes several. */
export function locationOf(topic: string): readonly CoapOption[] {
  return topic.split('/').map((level) => ({ number: OptionNumber.locationPath, value: Buffer.from(level) }))
}
