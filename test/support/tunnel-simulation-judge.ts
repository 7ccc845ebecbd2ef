import {
  FrameFlag,
  FrameType,
  HEADER_BYTES,
  INITIAL_CREDIT_BYTES,
  frameFault,
  type FrameHeader,
} from '../../src/tunnel/protocol/frame.ts'
import { fail, type Conversation, type Talker } from './tunnel-simulation-talker.ts'
import type { Role } from './tunnel-simulation-broker.ts'

/** What one end has said on the wire, and heard, of one stream. */
interface Ledger {
  /** Behind the highest byte or FIN. */
  sentTo: number
  acked: number
  limit: number
  /** The highest credit that has reached it. */
  creditHeard: number
}

/** Reads along on the wire, and fails with an AssertionError at the first frame that an end may not have sent. */
export class WireJudge {
  readonly #conversations = new Map<string, Conversation>()
  readonly #ledgers = new Map<string, Ledger>()
  readonly #maxWindowBytes: number

  constructor(maxWindowBytes: number) {
    this.#maxWindowBytes = maxWindowBytes
  }

  opened(key: string, conversation: Conversation): void {
    if (this.#conversations.has(key)) fail(`the id of ${key} is used again`)
    this.#conversations.set(key, conversation)
  }

  /** The end of this role is another one now: it has said nothing yet. */
  restarted(role: Role): void {
    for (const key of this.#ledgers.keys()) if (key.startsWith(role)) this.#ledgers.delete(key)
  }

  /** A frame has reached `role`. */
  heard(role: Role, key: string, header: FrameHeader): void {
    const ledger = this.#ledger(role, key)
    ledger.creditHeard = Math.max(ledger.creditHeard, header.limit)
  }

  /** A frame has been taken from `role`. */
  said(role: Role, key: string, header: FrameHeader, frame: Buffer): void {
    const fault = frameFault(frame, role)
    if (fault !== undefined) fail(`${role} sends what is no frame: ${fault}`)
    const { type, flags, offset, acked, limit } = header
    if (type === FrameType.reset) {
      if (offset !== 0 || acked !== 0 || limit !== 0) fail(`${role}: RESET with offsets`)
      return
    }
    const conversation = this.#conversations.get(key)
    if (conversation === undefined) return fail(`${role}: frame of the unknown ${key}`)
    const talker = conversation.talker(role)
    const { outcome } = talker
    if (outcome?.kind === 'killed' || outcome?.kind === 'reset') {
      fail(`${talker.name}: frame of type ${type} after its ${outcome.kind}`)
    }
    if (talker.stream === undefined && type !== FrameType.open)
      fail(`${talker.name}: frame before it is open`)
    const ledger = this.#ledger(role, key)

    // 4.4
    if (acked < ledger.acked) fail(`${talker.name}: acked falls from ${ledger.acked} to ${acked}`)
    if (limit < ledger.limit) fail(`${talker.name}: limit falls from ${ledger.limit} to ${limit}`)
    ledger.acked = acked
    ledger.limit = limit
    // A program that still dials is told of nothing.
    const hasFin = talker.isEnded || (talker.peer.isFinished && talker.stream?.phase === 'opening')
    const had = talker.received + (hasFin ? 1 : 0)
    if (acked > had) fail(`${talker.name}: acknowledges ${acked}, but has told its program of ${had}`)
    // 6.3; FIN takes an offset, and no credit
    const most = Math.max(talker.consumed + this.#maxWindowBytes, INITIAL_CREDIT_BYTES) + 1
    if (limit > most) fail(`${talker.name}: credit of ${limit}, ${talker.consumed} read`)

    const place =
      type === FrameType.data ? this.#checkData(conversation, role, header, frame, ledger) : offset
    if (flags & FrameFlag.fin) {
      if (!talker.isFinished) fail(`${talker.name}: FIN before it has finished`)
      if (place !== talker.written + 1) fail(`${talker.name}: FIN up to ${place}, written ${talker.written}`)
    }
    if (type === FrameType.ack || type === FrameType.resume) {
      if (offset > talker.written + (talker.isFinished ? 1 : 0))
        fail(`${talker.name}: offset ${offset} is ahead`)
    }
  }

  #checkData(
    conversation: Conversation,
    role: Role,
    header: FrameHeader,
    frame: Buffer,
    ledger: Ledger,
  ): number {
    const talker = conversation.talker(role)
    const { offset, flags } = header
    const payload = frame.subarray(HEADER_BYTES)
    const end = offset + payload.length
    if (end > ledger.creditHeard) fail(`${talker.name}: DATA up to ${end}, credit ${ledger.creditHeard}`)
    if (end > talker.written) fail(`${talker.name}: DATA up to ${end}, written ${talker.written}`)
    if (offset > ledger.sentTo) fail(`${talker.name}: DATA from ${offset}, sent up to ${ledger.sentTo}`)
    if (!payload.equals(talker.bytesAt(offset, payload.length))) fail(`${talker.name}: sends wrong bytes`)
    const place = end + (flags & FrameFlag.fin)
    ledger.sentTo = Math.max(ledger.sentTo, place)
    return place
  }

  #ledger(role: Role, key: string): Ledger {
    const name = `${role} ${key}`
    const known = this.#ledgers.get(name)
    if (known !== undefined) return known
    const fresh = { sentTo: 0, acked: 0, limit: 0, creditHeard: role === 'client' ? INITIAL_CREDIT_BYTES : 0 }
    this.#ledgers.set(name, fresh)
    return fresh
  }
}

/** What its program has not read waits at an end: at most the window, and what a client may send at first. */
export function checkUnread({ name, role }: Talker, unreadBytes: number, maxWindowBytes: number): void {
  const most = role === 'agent' ? Math.max(maxWindowBytes, INITIAL_CREDIT_BYTES) : maxWindowBytes
  if (unreadBytes > most) fail(`${name}: ${unreadBytes} bytes wait, window ${most}`)
}

export const keyOf = (upTopic: string, id: number): string => `${upTopic}#${id}`
