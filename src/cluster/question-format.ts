import { ErrorCode, TunnelMQError } from '../errors.ts'
import { isPodId } from './other-pods.ts'

/**
 * What pods say to each other by questions: one message of pub/sub each.
 *
 *     question  1  pod (8)  id (8)  timeout, ms (4)  bytes
 *     answer    2  pod (8)  id (8)  flags (1)  index of this part (2)  bytes
 *
 * `pod` is who says it; the id is random, of the asker. An error is JSON `{code, message}`.
 */
const Kind = { question: 1, answer: 2 } as const
const Flag = { last: 1, error: 2 } as const

const QUESTION_HEAD_BYTES = 21
const ANSWER_HEAD_BYTES = 20
/** Of the text of an error; what is longer is cut. */
const MAX_ERROR_CHARACTERS = 4_096

export interface QuestionMessage {
  readonly kind: 'question'
  readonly pod: string
  /** 16 characters of hex. */
  readonly id: string
  readonly timeoutMs: number
  readonly bytes: Buffer
}

export interface AnswerPart {
  readonly kind: 'answer'
  readonly pod: string
  readonly id: string
  readonly isLast: boolean
  readonly isError: boolean
  /** From 0. */
  readonly index: number
  readonly bytes: Buffer
}

export function encodeQuestion(question: Omit<QuestionMessage, 'kind'>): Buffer {
  const head = headOf(Kind.question, question.pod, question.id, QUESTION_HEAD_BYTES)
  head.writeUInt32BE(question.timeoutMs, 17)
  return Buffer.concat([head, question.bytes])
}

export function encodeAnswerPart(part: Omit<AnswerPart, 'kind'>): Buffer {
  const head = headOf(Kind.answer, part.pod, part.id, ANSWER_HEAD_BYTES)
  head[17] = (part.isLast ? Flag.last : 0) | (part.isError ? Flag.error : 0)
  head.writeUInt16BE(part.index, 18)
  return Buffer.concat([head, part.bytes])
}

/** Undefined: garbage. `bytes` are a part of the message. */
export function decodeQuestionMessage(message: Buffer): QuestionMessage | AnswerPart | undefined {
  const kind = message[0]
  if (message.length < (kind === Kind.question ? QUESTION_HEAD_BYTES : ANSWER_HEAD_BYTES)) return undefined
  const pod = message.toString('hex', 1, 9)
  const id = message.toString('hex', 9, 17)
  if (kind === Kind.question) {
    const timeoutMs = message.readUInt32BE(17)
    return { kind: 'question', pod, id, timeoutMs, bytes: message.subarray(QUESTION_HEAD_BYTES) }
  }
  const flags = message[17]!
  if (kind !== Kind.answer || flags > (Flag.last | Flag.error)) return undefined
  return {
    kind: 'answer',
    pod,
    id,
    isLast: (flags & Flag.last) !== 0,
    isError: (flags & Flag.error) !== 0,
    index: message.readUInt16BE(18),
    bytes: message.subarray(ANSWER_HEAD_BYTES),
  }
}

export function encodeError(error: unknown): Buffer {
  const code = error instanceof TunnelMQError ? error.code : ''
  const message = error instanceof Error ? error.message : String(error)
  return Buffer.from(JSON.stringify({ code, message: message.slice(0, MAX_ERROR_CHARACTERS) }))
}

/** Undefined: garbage. An error without a code of ours is one that the other pod did not expect. */
export function decodeError(bytes: Buffer): Error | undefined {
  let said: unknown
  try {
    said = JSON.parse(bytes.toString())
  } catch {
    return undefined
  }
  if (typeof said !== 'object' || said === null || !('code' in said) || !('message' in said)) return undefined
  const { code, message } = said
  if (typeof message !== 'string') return undefined
  const known = Object.values(ErrorCode).find((one) => one === code)
  return known === undefined ? new Error(message) : new TunnelMQError(known, message)
}

function headOf(kind: number, pod: string, id: string, bytes: number): Buffer {
  const head = Buffer.alloc(bytes)
  head[0] = kind
  head.write(isPodId(pod) ? pod : '', 1, 'hex')
  head.write(id, 9, 'hex')
  return head
}
