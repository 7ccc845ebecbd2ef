import { isUtf8 } from 'node:buffer'

/**
 * The type that a payload is given: MQTT tells none, so it is bytes, unless the client asks for text or JSON and that is
 * what it is. No other type is ever taken over: a browser would run what people publish (`text/html`, `image/svg+xml`).
 */
export function contentTypeOf(payload: Buffer, accept = ''): string {
  for (const part of accept.split(',')) {
    const [type = '', ...parameters] = part.split(';').map((text) => text.trim().toLowerCase())
    if (parameters.some((parameter) => /^q=0(?:\.0*)?$/.test(parameter))) continue
    if (type === 'application/octet-stream' || type === '*/*') return BYTES
    if (type === 'application/json' && isUtf8(payload) && isJson(payload)) return type
    if (type === 'text/plain' && isUtf8(payload)) return 'text/plain; charset=utf-8'
  }
  return BYTES
}

const BYTES = 'application/octet-stream'

function isJson(payload: Buffer): boolean {
  try {
    JSON.parse(payload.toString())
    return true
  } catch {
    return false
  }
}
