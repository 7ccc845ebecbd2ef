import {
  encodeFrame,
  FrameFlag,
  FrameType,
  FrameView,
  HEADER_BYTES,
  type FrameHeader,
} from '../../src/tunnel/protocol/frame.ts'
import { decodeReset, encodeReset, resetName, type ResetCode } from '../../src/tunnel/protocol/reset-code.ts'

/** Frames of tunnels made by hand, so that tests can break the rules, and taken apart. */

type Fields = Partial<Omit<FrameHeader, 'type' | 'flags' | 'stream'>> & { readonly fin?: boolean }

export const TOKEN = '00112233445566ff'

function frame(type: FrameType, stream: number, fields: Fields = {}, payload?: Buffer): Buffer {
  const { offset = 0, acked = 0, limit = 0, fin = false } = fields
  return encodeFrame({ type, flags: fin ? FrameFlag.fin : 0, stream, offset, acked, limit }, payload)
}

export interface OpenFields {
  readonly limit?: number
  readonly token?: string
  /** Whatever a client may write into its OPEN. */
  readonly more?: object
}

export const frames = {
  open: (stream: number, { limit = 1_048_576, token = TOKEN, more = {} }: OpenFields = {}): Buffer =>
    frame(FrameType.open, stream, { limit }, Buffer.from(JSON.stringify({ v: 1, token, ...more }))),
  accept: (stream: number, limit = 1_048_576): Buffer => frame(FrameType.accept, stream, { limit }),
  data: (stream: number, offset: number, payload: string | Buffer, fields: Fields = {}): Buffer =>
    frame(FrameType.data, stream, { ...fields, offset }, Buffer.from(payload)),
  ack: (stream: number, fields: Fields = {}): Buffer => frame(FrameType.ack, stream, fields),
  resume: (stream: number, fields: Fields = {}): Buffer => frame(FrameType.resume, stream, fields),
  reset: (stream: number, code: ResetCode, reason = ''): Buffer =>
    frame(FrameType.reset, stream, {}, encodeReset(code, reason)),
  ping: (stream: number, fields: Fields = {}): Buffer => frame(FrameType.ping, stream, fields),
  pong: (stream: number, fields: Fields = {}): Buffer => frame(FrameType.pong, stream, fields),
}

const NAMES = Object.fromEntries(
  Object.entries(FrameType).map(([name, type]) => [type, name as keyof typeof FrameType]),
)

/** A frame, as tests look at it. */
export interface SeenFrame {
  readonly type: keyof typeof FrameType
  readonly stream: number
  readonly fin: boolean
  readonly offset: number
  readonly acked: number
  readonly limit: number
  readonly payload: string
  /** Of RESET. */
  readonly code?: string
  readonly reason?: string
}

export function seen(bytes: Buffer): SeenFrame {
  const view = new FrameView()
  view.read(bytes)
  const { stream, flags, offset, acked, limit } = view
  const type = NAMES[view.type]!
  const payload = bytes.subarray(HEADER_BYTES)
  const fin = (flags & FrameFlag.fin) !== 0
  const header = { type, stream, fin, offset, acked, limit }
  if (type !== 'reset') return { ...header, payload: payload.toString() }
  const { code, reason } = decodeReset(payload)
  return { ...header, payload: '', code: resetName(code), reason }
}

/** In a line: `data 7 @0 "hello" fin`, `reset 7 forbidden`, `open 7`. */
export function brief(bytes: Buffer): string {
  const { type, stream, fin, offset, payload, code } = seen(bytes)
  const end = fin ? ' fin' : ''
  if (type === 'data') return `data ${stream} @${offset} ${JSON.stringify(payload)}${end}`
  return type === 'reset' ? `reset ${stream} ${code}` : `${type} ${stream}${end}`
}
