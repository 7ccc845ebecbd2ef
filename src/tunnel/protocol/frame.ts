/** Frame types. docs/tunnel-protocol.md 4.3 */
export const FrameType = {
  open: 1,
  accept: 2,
  data: 3,
  ack: 4,
  resume: 5,
  reset: 6,
  ping: 7,
  pong: 8,
} as const
export type FrameType = (typeof FrameType)[keyof typeof FrameType]

/** 4.1 */
export const FrameFlag = { fin: 1, gap: 2 } as const

/** 4.1 */
export const HEADER_BYTES = 24
/** 4.3: payload of DATA, at most. */
export const MAX_DATA_BYTES = 65_536
/** 4.3: payload of OPEN, at most. */
export const MAX_OPEN_BYTES = 2_048
/** 4.3: payload of RESET, at most: the code, and 512 bytes of reason. */
export const MAX_RESET_BYTES = 514
/** 7.4: payload of an ACK with GAP. */
export const GAP_BYTES = 6
/** 5.3: what a client may send before ACCEPT. */
export const INITIAL_CREDIT_BYTES = 65_536

/** The header of a frame (4.1), without its payload. Offsets are byte positions in a direction of the stream. */
export interface FrameHeader {
  readonly type: FrameType
  readonly flags: number
  /** u32 */
  readonly stream: number
  /** u48, as the three below */
  readonly offset: number
  readonly acked: number
  readonly limit: number
}

/** Writes {@link HEADER_BYTES} bytes; returns the offset behind them. */
export function writeFrameHeader(target: Buffer, at: number, header: FrameHeader): number {
  target[at] = header.type
  target[at + 1] = header.flags
  target.writeUInt32BE(header.stream, at + 2)
  writeUInt48(target, at + 6, header.offset)
  writeUInt48(target, at + 12, header.acked)
  writeUInt48(target, at + 18, header.limit)
  return at + HEADER_BYTES
}

/** A header that is read again and again into the same object, so that a frame costs no allocation. */
export class FrameView implements FrameHeader {
  type: FrameType = FrameType.data
  flags = 0
  stream = 0
  offset = 0
  acked = 0
  limit = 0

  /** Reads the header of `frame`; call {@link frameFault} first. */
  read(frame: Buffer): void {
    this.type = frame[0] as FrameType
    this.flags = frame[1]!
    this.stream = frame.readUInt32BE(2)
    this.offset = readUInt48(frame, 6)
    this.acked = readUInt48(frame, 12)
    this.limit = readUInt48(frame, 18)
  }
}

/** A whole frame. */
export function encodeFrame(header: FrameHeader, payload?: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + (payload?.length ?? 0))
  writeFrameHeader(frame, 0, header)
  payload?.copy(frame, HEADER_BYTES)
  return frame
}

/** Why a message is not a frame (4.5), or undefined. `from` is the end that has sent it. */
export function frameFault(frame: Buffer, from: 'client' | 'agent'): string | undefined {
  if (frame.length < HEADER_BYTES) return `${frame.length} bytes are no frame`
  const flags = frame[1]!
  const size = frame.length - HEADER_BYTES
  switch (frame[0]) {
    case FrameType.data:
      if ((flags & ~FrameFlag.fin) !== 0) return unknownFlags(flags)
      if (size > MAX_DATA_BYTES) return `DATA of ${size} bytes`
      return size === 0 && flags === 0 ? 'DATA without payload' : undefined
    case FrameType.ack:
      if ((flags & ~(FrameFlag.fin | FrameFlag.gap)) !== 0) return unknownFlags(flags)
      return size === (flags & FrameFlag.gap ? GAP_BYTES : 0) ? undefined : wrongSize(size)
    case FrameType.resume:
      if ((flags & ~FrameFlag.fin) !== 0) return unknownFlags(flags)
      return size === 0 ? undefined : wrongSize(size)
    case FrameType.open:
      if (from !== 'client') return 'OPEN from an agent'
      if (flags !== 0) return unknownFlags(flags)
      return size > 0 && size <= MAX_OPEN_BYTES ? undefined : wrongSize(size)
    case FrameType.reset:
      if (flags !== 0) return unknownFlags(flags)
      return size >= 2 && size <= MAX_RESET_BYTES ? undefined : wrongSize(size)
    case FrameType.accept:
      if (from !== 'agent') return 'ACCEPT from a client'
      if (flags !== 0) return unknownFlags(flags)
      return size === 0 ? undefined : wrongSize(size)
    case FrameType.ping:
    case FrameType.pong:
      if (flags !== 0) return unknownFlags(flags)
      return size === 0 ? undefined : wrongSize(size)
    default:
      return `unknown frame type ${frame[0]}`
  }
}

const unknownFlags = (flags: number): string => `unknown flags 0x${flags.toString(16)}`
const wrongSize = (size: number): string => `payload of ${size} bytes`

/** Faster than `writeUIntBE`, which checks what we know. */
export function writeUInt48(target: Buffer, at: number, value: number): void {
  const high = Math.floor(value / 0x1_0000_0000)
  target[at] = high >>> 8
  target[at + 1] = high
  target.writeUInt32BE(value % 0x1_0000_0000, at + 2)
}

export function readUInt48(source: Buffer, at: number): number {
  return (source[at]! * 256 + source[at + 1]!) * 0x1_0000_0000 + source.readUInt32BE(at + 2)
}
