import type { StoredMessage, StoredProperties } from './contract.ts'
import { encodeStoredProperties } from './properties.ts'

/** Length in front of the properties of a message at rest. */
const LENGTH_BYTES = 4

/** Properties do not change, and belong to one message or to very many. */
const known = new WeakMap<StoredProperties, number>()

/**
 * What a message counts for where bytes are bounded: payload and properties, as they are at rest (codec.ts, and
 * `countedBytes` in redis/lua/lib-session.lua). Without properties, the payload.
 */
export function countedBytes({ payload, properties }: Pick<StoredMessage, 'payload' | 'properties'>): number {
  if (properties === undefined) return payload.length
  let bytes = known.get(properties)
  if (bytes === undefined) {
    bytes = LENGTH_BYTES + Buffer.byteLength(encodeStoredProperties(properties))
    known.set(properties, bytes)
  }
  return payload.length + bytes
}
