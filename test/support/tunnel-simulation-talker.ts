import { AssertionError } from 'node:assert'
import { ResetCode, resetName } from '../../src/tunnel/protocol/reset-code.ts'
import type { Stream, StreamEvent } from '../../src/tunnel/protocol/streams.ts'
import { seededRandom } from './tunnel-simulation-clock.ts'
import type { Role } from './tunnel-simulation-broker.ts'

/** What the program at one end of a stream does. */
export interface TalkPlan {
  /** One behind the other; it waits for room. Then it finishes. */
  readonly writes: readonly { readonly waitMs: number; readonly bytes: number }[]
  /** It finishes only when the peer has. */
  readonly finishesLast: boolean
  /** The reader takes so many bytes, every so often; all at once with a pause of 0. */
  readonly portionBytes: number
  readonly pauseMs: number
  /** It begins to read so late. */
  readonly stallMs: number
  readonly resetAfterMs: number | undefined
}

export interface StreamPlan {
  readonly openAtMs: number
  readonly dialMs: number
  readonly isRefused: boolean
  readonly client: TalkPlan
  readonly agent: TalkPlan
}

export interface TalkWorld {
  readonly nowMs: number
  /** `role` is of the end that the program is at: it is settled afterwards. */
  after(delayMs: number, role: Role, run: () => void): void
}

export type Outcome =
  | { readonly kind: 'closed' }
  /** `program`: we have reset it ourselves. */
  | { readonly kind: 'reset'; readonly code: ResetCode; readonly by: 'peer' | 'us' | 'program' }
  /** The whole end went away. */
  | { readonly kind: 'killed' }

export function fail(message: string): never {
  throw new AssertionError({ message })
}

/** A prime, so that no shift by a round number gives the same bytes again. */
const PATTERN_PERIOD = 65_521
const MAX_WRITE_BYTES = 300_000
const pattern = createPattern()

function createPattern(): Buffer {
  const random = seededRandom(48)
  const once = Buffer.from(Array.from({ length: PATTERN_PERIOD }, () => random() * 256))
  return Buffer.concat(Array.from({ length: Math.ceil(MAX_WRITE_BYTES / PATTERN_PERIOD) + 2 }, () => once))
}

/** The program at one end of a stream: it writes, reads and resets as planned, and believes nothing that it is told. */
export class Talker {
  readonly role: Role
  readonly name: string
  readonly plan: TalkPlan
  stream: Stream | undefined
  outcome: Outcome | undefined
  written = 0
  received = 0
  consumed = 0
  isAccepted = false
  isFinished = false
  /** The peer's FIN has been told. */
  isEnded = false
  /** Its end was started anew: nothing of it is remembered there. */
  isForgotten = false
  peer!: Talker
  readonly #world: TalkWorld
  readonly #shift: number
  #writeIndex = 0
  #isWriting = false
  #isReading = false
  #waitsForRoom = false

  constructor(world: TalkWorld, index: number, role: Role, plan: TalkPlan) {
    this.#world = world
    this.role = role
    this.name = `${role} of stream ${index}`
    this.plan = plan
    this.#shift = (index * 2 + (role === 'agent' ? 1 : 0)) * 7919
  }

  get isLive(): boolean {
    return this.stream !== undefined && this.outcome === undefined
  }

  /** The bytes of this direction from `offset` on. */
  bytesAt(offset: number, length: number): Buffer {
    const at = (offset + this.#shift) % PATTERN_PERIOD
    return pattern.subarray(at, at + length)
  }

  begin(stream: Stream): void {
    this.stream = stream
    stream.attachment = this
    if (this.plan.resetAfterMs !== undefined) {
      this.#later(this.plan.resetAfterMs, () => this.reset(ResetCode.reset))
    }
  }

  reset(code: ResetCode): void {
    this.outcome = { kind: 'reset', code, by: 'program' }
    this.stream!.reset(code, 'as planned', this.#world.nowMs)
  }

  startWriting(): void {
    const write = this.plan.writes[this.#writeIndex]
    if (write !== undefined) return this.#later(write.waitMs, () => this.#write())
    this.#maybeFinish()
  }

  handle(event: StreamEvent): void {
    if (this.outcome !== undefined) fail(`${this.name}: ${event.kind} after its end`)
    switch (event.kind) {
      case 'opened':
        return
      case 'accepted':
        if (this.isAccepted || this.role === 'agent') fail(`${this.name}: accepted again`)
        this.isAccepted = true
        return
      case 'data':
        return this.#take(event.bytes)
      case 'end':
        if (this.isEnded) fail(`${this.name}: ended again`)
        if (!this.peer.isFinished) fail(`${this.name}: ended before its peer has finished`)
        this.#expectAll('ended')
        this.isEnded = true
        return this.#maybeFinish()
      case 'room':
        if (!this.#waitsForRoom) fail(`${this.name}: room that was not waited for`)
        if (!event.stream.hasRoom) fail(`${this.name}: told of room where there is none`)
        this.#waitsForRoom = false
        return this.#isWriting ? undefined : this.#write()
      case 'closed':
        this.outcome = { kind: 'closed' }
        if (!this.isEnded || !this.isFinished) fail(`${this.name}: closed with an open direction`)
        this.#expectAll('closed')
        if (this.peer.received !== this.written) fail(`${this.name}: closed, and its peer lacks bytes`)
        if (event.stream.sentBytes !== this.written) fail(`${this.name}: sentBytes is wrong`)
        return
      case 'reset':
        this.outcome = { kind: 'reset', code: event.code, by: event.by }
        return
      default:
        return event satisfies never
    }
  }

  describe(): string {
    const { outcome } = this
    const end = outcome === undefined ? (this.stream?.phase ?? 'never opened') : outcome.kind
    const why = outcome?.kind === 'reset' ? ` ${resetName(outcome.code)} by ${outcome.by}` : ''
    const planned = this.plan.writes.reduce((sum, write) => sum + write.bytes, 0)
    return `${this.name}: ${end}${why}, written ${this.written} of ${planned}, received ${this.received}, read ${this.consumed}, finished ${this.isFinished}, ended ${this.isEnded}`
  }

  #take(bytes: Buffer): void {
    if (this.role === 'client' && !this.isAccepted) fail(`${this.name}: data before accepted`)
    if (this.isEnded) fail(`${this.name}: data behind the end`)
    if (bytes.length === 0) fail(`${this.name}: empty data`)
    if (this.received + bytes.length > this.peer.written) fail(`${this.name}: more than was written`)
    if (!bytes.equals(this.peer.bytesAt(this.received, bytes.length))) {
      fail(`${this.name}: wrong bytes at ${this.received}`)
    }
    this.received += bytes.length
    if (this.stream!.receivedBytes < this.received) fail(`${this.name}: receivedBytes is too low`)
    this.#read(this.consumed === 0 ? this.plan.stallMs : 0)
  }

  #read(stallMs: number): void {
    if (this.#isReading || this.consumed === this.received) return
    const delayMs = stallMs + this.plan.pauseMs
    if (delayMs === 0) return this.#consume(this.received - this.consumed)
    this.#isReading = true
    this.#later(delayMs, () => {
      this.#isReading = false
      this.#consume(Math.min(this.received - this.consumed, this.plan.portionBytes))
      this.#read(0)
    })
  }

  #consume(byteCount: number): void {
    this.consumed += byteCount
    this.stream!.consumed(byteCount, this.#world.nowMs)
  }

  #write(): void {
    if (this.isFinished || this.#waitsForRoom || this.#isWriting) return
    const stream = this.stream!
    if (!stream.hasRoom) {
      this.#waitsForRoom = true
      return
    }
    const write = this.plan.writes[this.#writeIndex++]
    if (write === undefined) return this.#maybeFinish()
    const bytes = this.bytesAt(this.written, Math.min(write.bytes, MAX_WRITE_BYTES))
    this.written += bytes.length
    stream.write(bytes, this.#world.nowMs)
    if (!stream.hasRoom) this.#waitsForRoom = true
    const next = this.plan.writes[this.#writeIndex]
    this.#isWriting = true
    this.#later(next?.waitMs ?? 0, () => {
      this.#isWriting = false
      this.#write()
    })
  }

  #maybeFinish(): void {
    if (this.isFinished || this.#isWriting || this.#writeIndex < this.plan.writes.length) return
    if (this.plan.finishesLast && !this.isEnded) return
    this.isFinished = true
    this.stream!.finish(this.#world.nowMs)
  }

  #expectAll(what: string): void {
    if (this.received !== this.peer.written) {
      fail(`${this.name}: ${what} with ${this.received} of ${this.peer.written} bytes`)
    }
  }

  #later(delayMs: number, run: () => void): void {
    this.#world.after(delayMs, this.role, () => {
      if (this.isLive) run()
    })
  }
}

/** Both ends of a stream, as a judge sees them who reads along. */
export class Conversation {
  readonly index: number
  readonly plan: StreamPlan
  readonly client: Talker
  agent: Talker
  #wasReplaced = false

  constructor(world: TalkWorld, index: number, plan: StreamPlan) {
    this.index = index
    this.plan = plan
    this.client = new Talker(world, index, 'client', plan.client)
    this.agent = new Talker(world, index, 'agent', plan.agent)
    this.client.peer = this.agent
    this.agent.peer = this.client
  }

  /** Its end was started anew before the client had an answer: the stream begins once more. */
  replaceAgent(world: TalkWorld): void {
    this.#wasReplaced = true
    this.agent = new Talker(world, this.index, 'agent', this.plan.agent)
    this.agent.peer = this.client
    this.client.peer = this.agent
  }

  talker(role: Role): Talker {
    return role === 'client' ? this.client : this.agent
  }

  get isOver(): boolean {
    return this.client.outcome !== undefined && !this.agent.isLive
  }

  /**
   * What is wrong with the way it has ended, or undefined.
   * @param excuses codes that the whole scenario makes possible
   * @param openExcuses codes that it makes possible for a stream that was not open yet
   */
  verdict(excuses: ReadonlySet<ResetCode>, openExcuses: ReadonlySet<ResetCode>): string | undefined {
    for (const talker of [this.client, this.agent]) {
      const { outcome } = talker
      if (outcome?.kind !== 'reset' || outcome.by === 'program') continue
      const other = talker.peer.outcome
      const { code } = outcome
      if (excuses.has(code)) continue
      if (!this.client.isAccepted && openExcuses.has(code)) continue
      // Asked for what it has forgotten, the new agent has said so, and then the OPEN came again: the first word holds.
      if (!this.client.isAccepted && this.#wasReplaced && code === ResetCode.unknownStream) continue
      if (other?.kind === 'reset' && other.by === 'program' && code === other.code) continue
      if (talker.peer.isForgotten && (code === ResetCode.unknownStream || code === ResetCode.timeout))
        continue
      return `reset without a reason:\n${this.client.describe()}\n${this.agent.describe()}`
    }
    return undefined
  }
}
