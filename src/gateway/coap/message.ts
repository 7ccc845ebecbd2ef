/** RFC 7252, 3: the second field of the header. */
export const MessageType = { confirmable: 0, nonConfirmable: 1, acknowledgement: 2, reset: 3 } as const
export type MessageType = (typeof MessageType)[keyof typeof MessageType]

/** Class in the upper three bits, detail in the lower five: 0x44 is 2.04. RFC 7252, 12.1; 4.08 RFC 7959; 4.29 RFC 8516. */
export const Code = {
  empty: 0x00,
  get: 0x01,
  post: 0x02,
  put: 0x03,
  delete: 0x04,
  deleted: 0x42,
  valid: 0x43,
  changed: 0x44,
  content: 0x45,
  continue: 0x5f,
  badRequest: 0x80,
  unauthorized: 0x81,
  badOption: 0x82,
  forbidden: 0x83,
  notFound: 0x84,
  methodNotAllowed: 0x85,
  requestEntityIncomplete: 0x88,
  requestEntityTooLarge: 0x8d,
  tooManyRequests: 0x9d,
  internalServerError: 0xa0,
  serviceUnavailable: 0xa3,
  proxyingNotSupported: 0xa5,
} as const
export type Code = (typeof Code)[keyof typeof Code]

export interface CoapOption {
  readonly number: number
  readonly value: Buffer
}

export interface CoapMessage {
  readonly type: MessageType
  /** One of {@link Code} in what we send; anything in what comes. */
  readonly code: number
  readonly messageId: number
  readonly token: Buffer
  /** In ascending order of their numbers, as they stand in the message. */
  readonly options: readonly CoapOption[]
  readonly payload: Buffer
}

export const NO_BYTES = Buffer.alloc(0)

const VERSION = 1
const HEADER_BYTES = 4
const MAX_TOKEN_BYTES = 8
const PAYLOAD_MARKER = 0xff
/** More than any client of ours needs: a topic has its levels as options, and queries a handful. */
const MAX_OPTIONS = 256
const MAX_OPTION_NUMBER = 65_535

/** What is in a datagram that is no CoAP message. With a header that could be read, a Reset may answer it. */
export interface Malformed {
  readonly fault: string
  readonly header:
    | { readonly type: MessageType; readonly code: number; readonly messageId: number }
    | undefined
}

/**
 * Reads one datagram, strictly (RFC 7252, 3): what is cut off, runs over or is reserved is malformed.
 * The parts are views into the datagram.
 */
export function parseMessage(datagram: Buffer): CoapMessage | Malformed {
  if (datagram.length < HEADER_BYTES) return { fault: 'shorter than a header', header: undefined }
  const first = datagram[0]!
  // "Messages with unknown version numbers MUST be silently ignored."
  if (first >> 6 !== VERSION) return { fault: 'unknown version', header: undefined }
  const type = ((first >> 4) & 0x3) as MessageType
  const code = datagram[1]!
  const messageId = datagram.readUInt16BE(2)
  const header = { type, code, messageId }
  const tokenBytes = first & 0xf
  if (tokenBytes > MAX_TOKEN_BYTES) return { fault: 'token of a reserved length', header }
  if (code === Code.empty && datagram.length !== HEADER_BYTES)
    return { fault: 'an empty message with more than a header', header }
  let at = HEADER_BYTES + tokenBytes
  if (at > datagram.length) return { fault: 'token is cut off', header }
  const token = datagram.subarray(HEADER_BYTES, at)

  const options: CoapOption[] = []
  let number = 0
  while (at < datagram.length) {
    const byte = datagram[at++]!
    if (byte === PAYLOAD_MARKER) {
      if (at === datagram.length) return { fault: 'payload marker without payload', header }
      break
    }
    const delta = extended(datagram, at, byte >> 4)
    if (delta === undefined) return { fault: 'option delta', header }
    at += delta.bytes
    const length = extended(datagram, at, byte & 0xf)
    if (length === undefined) return { fault: 'option length', header }
    at += length.bytes
    number += delta.value
    if (number > MAX_OPTION_NUMBER) return { fault: 'option number', header }
    if (at + length.value > datagram.length) return { fault: 'option is cut off', header }
    if (options.length === MAX_OPTIONS) return { fault: `more than ${MAX_OPTIONS} options`, header }
    options.push({ number, value: datagram.subarray(at, at + length.value) })
    at += length.value
  }
  return { type, code, messageId, token, options, payload: datagram.subarray(at) }
}

/** RFC 7252, 3.1: 13 has one byte more, 14 two, 15 is reserved. */
function extended(
  datagram: Buffer,
  at: number,
  nibble: number,
): { readonly value: number; readonly bytes: number } | undefined {
  if (nibble < 13) return { value: nibble, bytes: 0 }
  if (nibble === 13) return at < datagram.length ? { value: datagram[at]! + 13, bytes: 1 } : undefined
  if (nibble === 14)
    return at + 1 < datagram.length ? { value: datagram.readUInt16BE(at) + 269, bytes: 2 } : undefined
  return undefined
}

/** The options may be in any order; those of one number keep theirs. */
export function encodeMessage(message: CoapMessage): Buffer {
  const { type, code, messageId, token, payload } = message
  const header = Buffer.alloc(HEADER_BYTES)
  header[0] = (VERSION << 6) | (type << 4) | token.length
  header[1] = code
  header.writeUInt16BE(messageId, 2)
  const parts: Buffer[] = [header, token]
  let last = 0
  for (const { number, value } of [...message.options].sort((a, b) => a.number - b.number)) {
    const delta = nibbleOf(number - last)
    const length = nibbleOf(value.length)
    parts.push(Buffer.of((delta.nibble << 4) | length.nibble), delta.more, length.more, value)
    last = number
  }
  if (payload.length > 0) parts.push(Buffer.of(PAYLOAD_MARKER), payload)
  return Buffer.concat(parts)
}

function nibbleOf(value: number): { readonly nibble: number; readonly more: Buffer } {
  if (value < 13) return { nibble: value, more: NO_BYTES }
  if (value < 269) return { nibble: 13, more: Buffer.of(value - 13) }
  const more = Buffer.alloc(2)
  more.writeUInt16BE(value - 269)
  return { nibble: 14, more }
}

/** An Acknowledgement or Reset without anything else (RFC 7252, 4.2), or, as a CON, a ping (4.3). */
export function encodeEmpty(type: MessageType, messageId: number): Buffer {
  return encodeMessage({ type, code: Code.empty, messageId, token: NO_BYTES, options: [], payload: NO_BYTES })
}

/** `2.05`, as people write it. */
export function codeText(code: number): string {
  return `${code >> 5}.${String(code & 0x1f).padStart(2, '0')}`
}
