import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { Log } from '../log.ts'
import { MAX_ANSWER_BYTES, MAX_TIMEOUT_MS } from './asking.ts'
import type { PodId } from './contract.ts'
import { encodeError, type AnswerPart, type QuestionMessage } from './question-format.ts'
import { answerOfSelf } from './self-answer.ts'

/** Questions of other pods that are being answered, at most. */
const MAX_ANSWERING = 64
/** Answers that are computed and not sent yet; above it a question is answered with an error. */
const MAX_WAITING_BYTES = 16_777_216
/** One message of pub/sub: frames of tunnels on the same lane wait for no more than a few of them. */
const PART_BYTES = 65_536
/** Ids of questions that were answered: none is answered twice. */
const MAX_REMEMBERED = 1_024

export interface AnsweringOptions {
  readonly answer: (pod: PodId, question: Buffer) => Promise<Buffer>
  /** `later`: too much is on its way; {@link Answering.drained} follows. `lost`: there is no way. */
  readonly send: (to: PodId, part: Omit<AnswerPart, 'kind' | 'pod'>) => 'sent' | 'later' | 'lost'
  readonly log: Log
}

interface Outgoing {
  readonly to: PodId
  readonly id: string
  readonly answer: Buffer
  readonly isError: boolean
  /** Nobody waits for it after this. */
  readonly untilMs: number
  nextIndex: number
}

/** Questions of other pods, and the answers on their way to them: each at most once, in parts, one after the other. */
export class Answering {
  readonly #options: AnsweringOptions
  /** Oldest first. */
  readonly #seen = new Set<string>()
  #answering = 0
  #outgoing: Outgoing[] = []
  #waitingBytes = 0
  #isClosed = false

  constructor(options: AnsweringOptions) {
    this.#options = options
  }

  /** False: this question was asked before. */
  take(question: QuestionMessage): boolean {
    const name = `${question.pod} ${question.id}`
    if (this.#seen.has(name)) return false
    this.#seen.add(name)
    if (this.#seen.size > MAX_REMEMBERED)
      for (const oldest of this.#seen) {
        this.#seen.delete(oldest)
        break
      }
    void this.#answer(question, performance.now() + question.timeoutMs)
    return true
  }

  /** Some of what was on its way was taken. */
  drained(): void {
    const nowMs = performance.now()
    for (let first = this.#outgoing[0]; first !== undefined; first = this.#outgoing[0]) {
      const sent = nowMs > first.untilMs ? 'lost' : this.#sendNext(first)
      if (sent === 'later') return
      if (sent === 'more') continue
      this.#outgoing.shift()
      this.#waitingBytes -= first.answer.length
    }
  }

  close(): void {
    this.#isClosed = true
    this.#outgoing = []
  }

  async #answer({ pod, id, bytes, timeoutMs }: QuestionMessage, untilMs: number): Promise<void> {
    const { answer, log } = this.#options
    let said: Buffer
    let isError = false
    this.#answering++
    try {
      if (this.#answering > MAX_ANSWERING) throw limit(`${MAX_ANSWERING} questions are being answered there`)
      // Its bytes lie in what was read from the socket.
      const question = Buffer.from(bytes)
      said = await answerOfSelf(() => answer(pod, question), Math.min(timeoutMs, MAX_TIMEOUT_MS))
      if (said.length > MAX_ANSWER_BYTES) throw limit(`the answer has more than ${MAX_ANSWER_BYTES} bytes`)
      if (this.#waitingBytes + said.length > MAX_WAITING_BYTES) throw limit('too many answers wait there')
    } catch (error) {
      if (!(error instanceof TunnelMQError)) log.error({ err: error, pod }, 'question of another pod failed')
      said = encodeError(error)
      isError = true
    } finally {
      this.#answering--
    }
    if (this.#isClosed) return
    this.#waitingBytes += said.length
    this.#outgoing.push({ to: pod, id, answer: said, isError, untilMs, nextIndex: 0 })
    if (this.#outgoing.length === 1) this.drained()
  }

  #sendNext(outgoing: Outgoing): 'more' | 'done' | 'later' | 'lost' {
    const { to, id, answer, isError, nextIndex: index } = outgoing
    const end = (index + 1) * PART_BYTES
    const isLast = end >= answer.length
    const bytes = answer.subarray(index * PART_BYTES, end)
    const sent = this.#options.send(to, { id, isLast, isError, index, bytes })
    if (sent !== 'sent') return sent
    outgoing.nextIndex++
    return isLast ? 'done' : 'more'
  }
}

function limit(message: string): TunnelMQError {
  return new TunnelMQError(ErrorCode.limit, message)
}
