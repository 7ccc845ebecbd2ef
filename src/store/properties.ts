import type { StoredProperties } from './contract.ts'

/** A string or binary field of MQTT takes no more (MQTT 5, 1.5.4 and 1.5.6). */
const MAX_FIELD_BYTES = 65_535
/** Largest variable byte integer (MQTT 5, 1.5.5). */
const MAX_IDENTIFIER = 268_435_455

/**
 * Properties of a message as JSON, in queues, as retained and between pods; correlation data in base64. Binary fields would
 * save little: most messages have none of it.
 */
export function encodeStoredProperties(properties: StoredProperties): string {
  const { correlationData } = properties
  if (correlationData === undefined) return JSON.stringify(properties)
  return JSON.stringify({ ...properties, correlationData: correlationData.toString('base64') })
}

/** Undefined: not what {@link encodeStoredProperties} writes. What it gives can be put into a packet. */
export function decodeStoredProperties(json: string): StoredProperties | undefined {
  const fields = parseObject(json)
  if (fields === undefined) return undefined
  const properties: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(fields)) {
    const read = READERS.get(name)?.(value)
    if (read === undefined) return undefined
    properties[name] = read
  }
  return properties
}

/** What a value stands for; undefined: it is none. */
type Reader = (value: unknown) => unknown

const READERS: ReadonlyMap<string, Reader> = new Map(
  Object.entries({
    payloadFormatIndicator: (value) => (value === 0 || value === 1 ? value : undefined),
    contentType: readText,
    responseTopic: (value) => (readText(value) === undefined || !isTopicName(value) ? undefined : value),
    correlationData: readBase64,
    userProperties: (value) => (Array.isArray(value) && value.every(isPair) ? value : undefined),
    subscriptionIdentifiers: (value) =>
      Array.isArray(value) && value.every(isIdentifier) ? value : undefined,
    retain: (value) => (value === true ? value : undefined),
    packet: (value) => (isObject(value) ? value : undefined),
    text: (value) => (value === true ? value : undefined),
  } satisfies Record<keyof StoredProperties, Reader>),
)

function readText(value: unknown): string | undefined {
  if (typeof value !== 'string' || value.includes('\0')) return undefined
  // A lone surrogate has no UTF-8 [MQTT-1.5.4-1].
  return !/\p{Cs}/u.test(value) && Buffer.byteLength(value) <= MAX_FIELD_BYTES ? value : undefined
}

/** [MQTT-3.3.2-14]. */
function isTopicName(value: unknown): boolean {
  return typeof value === 'string' && value !== '' && !value.includes('+') && !value.includes('#')
}

function readBase64(value: unknown): Buffer | undefined {
  if (typeof value !== 'string') return undefined
  const bytes = Buffer.from(value, 'base64')
  return bytes.length <= MAX_FIELD_BYTES && bytes.toString('base64') === value ? bytes : undefined
}

function isPair(value: unknown): boolean {
  return Array.isArray(value) && value.length === 2 && value.every((text) => readText(text) !== undefined)
}

function isIdentifier(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) > 0 && (value as number) <= MAX_IDENTIFIER
}

function parseObject(json: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(json)
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
