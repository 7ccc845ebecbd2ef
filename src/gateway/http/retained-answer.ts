import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import type { MessageDescription } from '../../broker/door/contract.ts'

/**
 * The type that a payload is given: bytes, unless its publisher has named one that a browser only shows; or the client asks
 * for text or JSON and that is what it is. No other type is ever taken over: a browser would run what people publish
 * (`text/html`, `image/svg+xml`). `published`: the content type of the message (MQTT 5).
 */
export function contentTypeOf(payload: Buffer, accept = '', published?: string): string {
  const told = published === undefined ? undefined : harmlessType(published, payload)
  for (const part of accept.split(',')) {
    const [type = '', ...parameters] = part.split(';').map((text) => text.trim().toLowerCase())
    if (parameters.some((parameter) => /^q=0(?:\.0*)?$/.test(parameter))) continue
    if (told !== undefined && (type === '*/*' || type === told.split(';', 1)[0])) return told
    if (type === 'application/octet-stream' || type === '*/*') return BYTES
    if (type === 'application/json' && isUtf8(payload) && isJson(payload)) return type
    if (type === 'text/plain' && isUtf8(payload)) return TEXT
  }
  return accept === '' && told !== undefined ? told : BYTES
}

const BYTES = 'application/octet-stream'
const TEXT = 'text/plain; charset=utf-8'

/** Without parameters; undefined: not one of these. */
function harmlessType(contentType: string, payload: Buffer): string | undefined {
  const [type = ''] = contentType.split(';', 1)
  const name = type.trim().toLowerCase()
  if (name === 'text/plain' || name === 'text/csv')
    return isUtf8(payload) ? `${name}; charset=utf-8` : undefined
  return HARMLESS.has(name) || /^application\/[a-z0-9.-]+\+(?:json|cbor)$/.test(name) ? name : undefined
}

const HARMLESS: ReadonlySet<string> = new Set([
  'application/json',
  'application/cbor',
  'application/x-protobuf',
  'image/png',
  'image/jpeg',
  'image/gif',
  'image/webp',
])

/** What a request says about the message that it publishes. */
export function describedBy({ headers }: IncomingMessage, asked: MessageDescription): MessageDescription {
  const contentType = headers['content-type']
  // What curl and forms say when nobody has said anything.
  if (contentType === undefined || contentType.startsWith('application/x-www-form-urlencoded')) return asked
  return { ...asked, properties: { ...asked.properties, contentType } }
}

function isJson(payload: Buffer): boolean {
  try {
    JSON.parse(payload.toString())
    return true
  } catch {
    return false
  }
}
