import { MAX_OPEN_BYTES } from './frame.ts'

/** A TCP address as one end has named it. */
export interface OpenSource {
  readonly address: string
  readonly port: number
}

/** The client as TunnelMQ's broker has seen it. */
export interface OpenPeer extends OpenSource {
  readonly username?: string
}

/** The payload of OPEN. docs/tunnel-protocol.md 5.1 */
export interface OpenPayload {
  /** 16 hex digits. */
  readonly token: string
  readonly source?: OpenSource
  readonly peer?: OpenPeer
}

const TOKEN = /^[0-9a-f]{16}$/
/** A longer one is left out by who reads it. */
export const MAX_ADDRESS_CHARS = 253
const MAX_USERNAME_CHARS = 256

/** Members in a fixed order. A username that would not fit is cut. */
export function encodeOpen({ token, source, peer }: OpenPayload): Buffer {
  const { username } = peer ?? {}
  const payload = Buffer.from(
    JSON.stringify({
      v: 1,
      token,
      source,
      peer: username === undefined ? peer : { ...peer, username: username.slice(0, MAX_USERNAME_CHARS) },
    }),
  )
  if (payload.length > MAX_OPEN_BYTES) throw new RangeError(`OPEN of ${payload.length} bytes`)
  return payload
}

/** The payload, or why it is none (4.5). Members that are not known, or not as they should be, are left out. */
export function decodeOpen(bytes: Buffer): OpenPayload | string {
  let value: unknown
  try {
    value = JSON.parse(bytes.toString('utf8'))
  } catch {
    return 'OPEN is not JSON'
  }
  if (typeof value !== 'object' || value === null) return 'OPEN is not a JSON object'
  const { v, token, source, peer } = value as Record<string, unknown>
  if (v !== 1) return 'protocol version is not 1'
  if (typeof token !== 'string' || !TOKEN.test(token)) return 'token is not 16 hex digits'
  const from = toSource(source)
  const seen = toSource(peer)
  const username = seen && (peer as { username?: unknown }).username
  return {
    token,
    ...(from && { source: from }),
    ...(seen && { peer: typeof username === 'string' ? { ...seen, username } : seen }),
  }
}

function toSource(value: unknown): OpenSource | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { address, port } = value as Record<string, unknown>
  if (typeof address !== 'string' || address.length > MAX_ADDRESS_CHARS) return undefined
  if (!Number.isInteger(port) || (port as number) < 0 || (port as number) > 65_535) return undefined
  return { address, port: port as number }
}
