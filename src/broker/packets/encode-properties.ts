import type { UserProperties } from '../../hooks/types.ts'
import { KINDS, type Kind, type Properties } from './properties.ts'
import { varintBytes, writeVarint } from './varint.ts'

/** With their length in front; one byte 0 for none. What is undefined is left out. */
export function encodeProperties(properties: Readonly<Properties> | undefined): Buffer {
  if (properties === undefined) return NONE
  const listBytes = bytesOfList(properties, KINDS)
  if (listBytes === 0) return NONE
  const bytes = Buffer.allocUnsafe(varintBytes(listBytes) + listBytes)
  writeList(bytes, writeVarint(bytes, 0, listBytes), properties, KINDS)
  return bytes
}

/** What is said of a message in a PUBLISH to a client, but its topic alias. Without length. Fields of stores are passed over. */
export function encodeMessageProperties(properties: Sparse): Buffer {
  const bytes = Buffer.allocUnsafe(bytesOfList(properties, OF_MESSAGE))
  writeList(bytes, 0, properties, OF_MESSAGE)
  return bytes
}

/** A message expiry interval alone, in seconds. Without length. */
export function encodeExpiry(seconds: number): Buffer {
  const bytes = Buffer.allocUnsafe(5)
  bytes[0] = MESSAGE_EXPIRY_INTERVAL
  bytes.writeUInt32BE(seconds, 1)
  return bytes
}

/** What may be undefined. */
type Sparse = { readonly [N in keyof Properties]?: Readonly<Properties[N]> | undefined }
type Value = NonNullable<Sparse[keyof Properties]>

const NONE = Buffer.of(0)
const MESSAGE_EXPIRY_INTERVAL = 0x02
/** Looked for in each message: only what can be there. */
const OF_MESSAGE = KINDS.filter(({ name }) =>
  [
    'payloadFormatIndicator',
    'messageExpiryInterval',
    'contentType',
    'responseTopic',
    'correlationData',
    'subscriptionIdentifiers',
    'userProperties',
  ].includes(name),
)

function bytesOfList(properties: Sparse, kinds: readonly Kind[]): number {
  let bytes = 0
  for (const { name, type } of kinds) {
    const value = properties[name]
    if (value !== undefined) bytes += bytesOf(type, value)
  }
  return bytes
}

function bytesOf(type: Kind['type'], value: Value): number {
  let bytes = 0
  switch (type) {
    case 'bit':
      return 2
    case 'uint16':
      return 3
    case 'uint32':
      return 5
    case 'varint':
      for (const one of value as readonly number[]) bytes += 1 + varintBytes(one)
      return bytes
    case 'string':
    case 'binary':
      return 1 + bytesOfField(value as string | Buffer)
    case 'pair':
      for (const [name, text] of value as UserProperties) bytes += 1 + bytesOfField(name) + bytesOfField(text)
      return bytes
    default:
      return type satisfies never
  }
}

function bytesOfField(field: string | Buffer): number {
  const bytes = Buffer.byteLength(field)
  if (bytes > 65_535) throw new RangeError('a field of a packet takes 65,535 bytes at most')
  return 2 + bytes
}

function writeList(target: Buffer, at: number, properties: Sparse, kinds: readonly Kind[]): void {
  for (const kind of kinds) {
    const value = properties[kind.name]
    if (value !== undefined) at = write(target, at, kind, value)
  }
}

/** Returns the offset behind it. */
function write(target: Buffer, at: number, { id, type }: Kind, value: Value): number {
  switch (type) {
    case 'bit':
      target[at] = id
      return target.writeUInt8(value as number, at + 1)
    case 'uint16':
      target[at] = id
      return target.writeUInt16BE(value as number, at + 1)
    case 'uint32':
      target[at] = id
      return target.writeUInt32BE(value as number, at + 1)
    case 'varint':
      for (const one of value as readonly number[]) {
        target[at] = id
        at = writeVarint(target, at + 1, one)
      }
      return at
    case 'string':
    case 'binary':
      target[at] = id
      return writeField(target, at + 1, value as string | Buffer)
    case 'pair':
      for (const [name, text] of value as UserProperties) {
        target[at] = id
        at = writeField(target, writeField(target, at + 1, name), text)
      }
      return at
    default:
      return type satisfies never
  }
}

function writeField(target: Buffer, at: number, field: string | Buffer): number {
  const start = at + 2
  const bytes = typeof field === 'string' ? target.write(field, start) : field.copy(target, start)
  target.writeUInt16BE(bytes, at)
  return start + bytes
}
