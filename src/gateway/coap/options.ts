import { NO_BYTES, type CoapOption } from './message.ts'

/** RFC 7252, 12.2; Observe RFC 7641; Block and Size RFC 7959; Echo and Request-Tag RFC 9175. Odd numbers are critical. */
export const OptionNumber = {
  uriHost: 3,
  eTag: 4,
  observe: 6,
  uriPort: 7,
  locationPath: 8,
  uriPath: 11,
  contentFormat: 12,
  maxAge: 14,
  uriQuery: 15,
  accept: 17,
  block2: 23,
  block1: 27,
  size2: 28,
  proxyUri: 35,
  proxyScheme: 39,
  size1: 60,
  echo: 252,
  requestTag: 292,
  /** Ours, of the range for experiments: critical, so that no other server takes a request and loses these. */
  password: 65_001,
  username: 65_005,
} as const
export type OptionNumber = (typeof OptionNumber)[keyof typeof OptionNumber]

interface Shape {
  readonly minBytes: number
  readonly maxBytes: number
  readonly isRepeatable?: true
}

/** What a request may bring. Lengths as RFC 7252, table 4, and those that added more say. */
const shapes = new Map<number, Shape>([
  [OptionNumber.uriHost, { minBytes: 1, maxBytes: 255 }],
  [OptionNumber.eTag, { minBytes: 1, maxBytes: 8, isRepeatable: true }],
  [OptionNumber.observe, { minBytes: 0, maxBytes: 3 }],
  [OptionNumber.uriPort, { minBytes: 0, maxBytes: 2 }],
  [OptionNumber.uriPath, { minBytes: 0, maxBytes: 255, isRepeatable: true }],
  [OptionNumber.contentFormat, { minBytes: 0, maxBytes: 2 }],
  [OptionNumber.uriQuery, { minBytes: 0, maxBytes: 255, isRepeatable: true }],
  [OptionNumber.accept, { minBytes: 0, maxBytes: 2 }],
  [OptionNumber.block2, { minBytes: 0, maxBytes: 3 }],
  [OptionNumber.block1, { minBytes: 0, maxBytes: 3 }],
  [OptionNumber.size2, { minBytes: 0, maxBytes: 4 }],
  [OptionNumber.size1, { minBytes: 0, maxBytes: 4 }],
  [OptionNumber.requestTag, { minBytes: 0, maxBytes: 8, isRepeatable: true }],
  [OptionNumber.password, { minBytes: 0, maxBytes: 4_096 }],
  [OptionNumber.username, { minBytes: 0, maxBytes: 1_024 }],
])

/**
 * The options of a request that we know, by number. One that is unknown, of a wrong length or there twice is left out
 * if it is elective; if it is critical its number comes back instead (RFC 7252, 5.4.1, 5.4.3 and 5.4.5).
 */
export function sortOptions(
  options: readonly CoapOption[],
): ReadonlyMap<number, readonly Buffer[]> | { readonly bad: number } {
  const known = new Map<number, Buffer[]>()
  for (const { number, value } of options) {
    const shape = shapes.get(number)
    const values = known.get(number)
    const isGood =
      shape !== undefined &&
      value.length >= shape.minBytes &&
      value.length <= shape.maxBytes &&
      (values === undefined || shape.isRepeatable === true)
    if (!isGood) {
      if (number % 2 === 1) return { bad: number }
    } else if (values === undefined) known.set(number, [value])
    else values.push(value)
  }
  return known
}

/** RFC 7252, 3.2: big-endian, without leading zeros; 0 has no byte. */
export function uintOption(number: OptionNumber, value: number): CoapOption {
  if (value === 0) return { number, value: NO_BYTES }
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return { number, value: bytes.subarray(Math.clz32(value) >> 3) }
}

/** At most 4 bytes; leading zeros are borne with. */
export function readUint(value: Buffer): number {
  return value.length === 0 ? 0 : value.readUIntBE(0, value.length)
}
