/** 3.1 */
const MAX_STATUS_BYTES = 4_096

/** What an agent says of itself, or why it is not that (docs/tunnel-protocol.md 3.1). */
export function parseStatus(payload: Buffer): Record<string, unknown> | string {
  if (payload.length > MAX_STATUS_BYTES) return `status of ${payload.length} bytes`
  let value: unknown
  try {
    value = JSON.parse(payload.toString('utf8'))
  } catch {
    return 'status is not JSON'
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return 'status is not a JSON object'
  if (typeof (value as { online?: unknown }).online !== 'boolean') return 'status without `online`'
  return value as Record<string, unknown>
}

/** The same agent, gone (3.2). What would make it too large to be read is left out. */
export function offlineStatus(status: Record<string, unknown>, since: Date): Buffer {
  const gone = { online: false, streams: 0, since: since.toISOString() }
  const full = Buffer.from(JSON.stringify({ ...status, ...gone }))
  return full.length <= MAX_STATUS_BYTES ? full : Buffer.from(JSON.stringify({ services: [], ...gone }))
}
