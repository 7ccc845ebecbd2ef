import { isTunnelName } from './protocol/names.ts'

/** An agent, as it says of itself. docs/tunnel-protocol.md 3.1 */
export interface AgentInfo {
  readonly id: string
  readonly online: boolean
  /** Empty when it is offline and nobody has kept them. */
  readonly services: readonly string[]
  readonly protocol?: number
  readonly version?: string
  readonly host?: string
  /** When it came, or, offline, when it was lost. */
  readonly since?: Date
  /** Open streams. */
  readonly streams?: number
}

export interface OwnStatus {
  readonly services: readonly string[]
  readonly version: string
  readonly host: string
  readonly since: Date
  readonly streams: number
}

/** 3.1 */
const MAX_STATUS_BYTES = 4_096
const MAX_TEXT_CHARS = 256

/** 3.1; of more services than fit, the first ones. */
export function encodeStatus(status: OwnStatus): string {
  return encode(status, true)
}

/** 3.2: what is published before an orderly DISCONNECT; `since` is now. */
export function encodeOffline(status: Omit<OwnStatus, 'streams'>): string {
  return encode({ ...status, streams: 0 }, false)
}

function encode({ services, version, host, since, streams }: OwnStatus, online: boolean): string {
  const encodeWith = (names: readonly string[]): string =>
    JSON.stringify({
      online,
      services: names,
      protocol: 1,
      version,
      host: host.slice(0, MAX_TEXT_CHARS),
      since,
      streams,
    })
  let count = services.length
  while (count > 0 && Buffer.byteLength(encodeWith(services.slice(0, count))) > MAX_STATUS_BYTES) count--
  return encodeWith(services.slice(0, count))
}

/** 3.3; undefined for what is not as described. */
export function parseStatus(id: string, payload: Buffer): AgentInfo | undefined {
  if (payload.length > MAX_STATUS_BYTES) return undefined
  let value: unknown
  try {
    value = JSON.parse(payload.toString('utf8'))
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  const { online, services, protocol, version, host, since, streams } = value as Record<string, unknown>
  if (typeof online !== 'boolean' || (online && !Array.isArray(services))) return undefined
  const cameAt = typeof since === 'string' ? new Date(since) : undefined
  return {
    id,
    online,
    services: Array.isArray(services) ? services.filter(isServiceName) : [],
    ...(isCount(protocol) && { protocol }),
    ...(typeof version === 'string' && { version: printable(version) }),
    ...(typeof host === 'string' && { host: printable(host) }),
    ...(cameAt !== undefined && Number.isFinite(cameAt.getTime()) && { since: cameAt }),
    ...(isCount(streams) && { streams }),
  }
}

const isServiceName = (name: unknown): name is string => typeof name === 'string' && isTunnelName(name)
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

/** It ends up on terminals: no control characters, and no marks that turn text around. */
function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex -- that is what is looked for
  const deceptive = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g
  return text.slice(0, MAX_TEXT_CHARS).replace(deceptive, '?')
}
