import type { CoapOption } from './message.ts'
import { OptionNumber, readUint, uintOption } from './options.ts'

/** The value of a Block1 or Block2 option (RFC 7959, 2.2). */
export interface Block {
  readonly num: number
  readonly hasMore: boolean
  /** 16 to 1,024, a power of two. */
  readonly sizeBytes: number
}

/** The largest block there is; with it a message stays within 1,280 bytes, and so within every path's MTU. */
export const MAX_BLOCK_BYTES = 1_024
/** The smallest. */
export const MIN_BLOCK_BYTES = 16
const MIN_BLOCK_EXPONENT = Math.log2(MIN_BLOCK_BYTES)
const MAX_NUM = 2 ** 20 - 1

/** Undefined: the size is reserved (SZX 7). At most 3 bytes. */
export function parseBlock(value: Buffer): Block | undefined {
  const bits = readUint(value)
  const exponent = bits & 0x7
  if (exponent === 7) return undefined
  return { num: bits >> 4, hasMore: (bits & 0x8) !== 0, sizeBytes: 2 ** (exponent + MIN_BLOCK_EXPONENT) }
}

export function blockOption(number: 23 | 27, { num, hasMore, sizeBytes }: Block): CoapOption {
  const exponent = Math.log2(sizeBytes) - MIN_BLOCK_EXPONENT
  return uintOption(number, (num << 4) | (hasMore ? 0x8 : 0) | exponent)
}

/** One block of a body, and the option that says which; undefined: the body has no such block. */
export function cutBlock(
  body: Buffer,
  asked: Block,
): { readonly payload: Buffer; readonly option: CoapOption } | undefined {
  const from = asked.num * asked.sizeBytes
  if (asked.num > MAX_NUM || (from >= body.length && asked.num > 0)) return undefined
  const to = Math.min(from + asked.sizeBytes, body.length)
  const block = { num: asked.num, hasMore: to < body.length, sizeBytes: asked.sizeBytes }
  return { payload: body.subarray(from, to), option: blockOption(OptionNumber.block2, block) }
}
