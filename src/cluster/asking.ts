import { randomBytes } from 'node:crypto'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import { decodeError, type AnswerPart } from './question-format.ts'
import type { PodId } from './contract.ts'

/** Questions of this pod that are not answered yet, at most. Memory <= this x {@link MAX_ANSWER_BYTES}. */
const MAX_ASKED = 256
/** Of those, to one pod: one that hangs must not keep the others from being asked. */
const MAX_ASKED_OF_POD = 64
const MAX_QUESTION_BYTES = 262_144
export const MAX_ANSWER_BYTES = 4_194_304
/** Of setTimeout, and of the field in the question. */
export const MAX_TIMEOUT_MS = 2_147_483_647

export interface AskingOptions {
  readonly isThere: (pod: PodId) => boolean
  /** Undefined: it is on its way; else why not. */
  readonly send: (
    pod: PodId,
    question: { id: string; timeoutMs: number; bytes: Buffer },
  ) => string | undefined
  readonly garbage: () => void
}

interface Asked {
  readonly pod: PodId
  readonly timer: NodeJS.Timeout
  readonly resolve: (answer: Buffer) => void
  readonly reject: (error: Error) => void
  parts: Buffer[]
  byteCount: number
}

/** Questions to other pods, until their answers are whole. */
export class Asking {
  readonly #options: AskingOptions
  readonly #asked = new Map<string, Asked>()

  constructor(options: AskingOptions) {
    this.#options = options
  }

  ask(pod: PodId, question: Buffer, timeoutMs: number): Promise<Buffer> {
    const { isThere, send } = this.#options
    if (question.length > MAX_QUESTION_BYTES)
      return failed(ErrorCode.limit, `the question has more than ${MAX_QUESTION_BYTES} bytes`)
    if (!isThere(pod)) return failed(ErrorCode.unreachable, `there is no pod ${pod}`)
    const count = [...this.#asked.values()].filter((asked) => asked.pod === pod).length
    if (count >= MAX_ASKED_OF_POD || this.#asked.size >= MAX_ASKED)
      return failed(ErrorCode.limit, `${count} questions to pod ${pod} are not answered yet`)
    const id = randomBytes(8).toString('hex')
    const waitMs = Math.min(Math.max(1, Math.trunc(timeoutMs)), MAX_TIMEOUT_MS)
    const fault = send(pod, { id, timeoutMs: waitMs, bytes: question })
    if (fault !== undefined) return failed(ErrorCode.unreachable, `pod ${pod} was not asked: ${fault}`)
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => this.#fail(id, ErrorCode.timeout, `pod ${pod} did not answer within ${waitMs} ms`),
        waitMs,
      )
      this.#asked.set(id, { pod, timer, resolve, reject, parts: [], byteCount: 0 })
    })
  }

  /** What comes too late, from a pod that was not asked, or not in order, is no answer. */
  take(part: AnswerPart): void {
    const asked = this.#asked.get(part.id)
    // Most of them are late, and the others cannot be told from those.
    if (asked === undefined) return
    if (asked.pod !== part.pod) return this.#options.garbage()
    if (part.isError) {
      const error = decodeError(part.bytes)
      if (error === undefined) return this.#options.garbage()
      return this.#settle(part.id, () => asked.reject(error))
    }
    if (part.index !== asked.parts.length)
      return this.#fail(part.id, ErrorCode.unreachable, `a part of the answer of pod ${part.pod} was lost`)
    asked.parts.push(part.bytes)
    asked.byteCount += part.bytes.length
    if (asked.byteCount > MAX_ANSWER_BYTES)
      return this.#fail(
        part.id,
        ErrorCode.limit,
        `pod ${part.pod} answers with more than ${MAX_ANSWER_BYTES} bytes`,
      )
    if (part.isLast) this.#settle(part.id, () => asked.resolve(Buffer.concat(asked.parts)))
  }

  podGone(pod: PodId): void {
    for (const [id, asked] of this.#asked)
      if (asked.pod === pod) this.#fail(id, ErrorCode.unreachable, `pod ${pod} is gone`)
  }

  close(): void {
    for (const id of this.#asked.keys()) this.#fail(id, ErrorCode.stopped, 'this pod is stopping')
  }

  #fail(id: string, code: ErrorCode, message: string): void {
    const asked = this.#asked.get(id)
    if (asked !== undefined) this.#settle(id, () => asked.reject(new TunnelMQError(code, message)))
  }

  #settle(id: string, settle: () => void): void {
    clearTimeout(this.#asked.get(id)?.timer)
    this.#asked.delete(id)
    settle()
  }
}

function failed(code: ErrorCode, message: string): Promise<never> {
  return Promise.reject(new TunnelMQError(code, message))
}
