import type { ClientRef } from './api/resources.ts'
import { ErrorCode, TunnelMQError } from '../errors.ts'

/**
 * Cursors of the pages of clients: the last client that was shown. They mean the same at every pod, whether that client
 * is still there or not, so that pages of several pods can be put together, and the next page be asked of another pod.
 */

/** The order of clients: by id, then mountpoint, in code units. Negative: `a` comes first. */
export function compareClients(a: ClientRef, b: ClientRef): number {
  if (a.id !== b.id) return a.id < b.id ? -1 : 1
  if (a.mountpoint !== b.mountpoint) return a.mountpoint < b.mountpoint ? -1 : 1
  return 0
}

/** `after` of the page that begins behind this client. */
export function clientCursor({ id, mountpoint }: ClientRef): string {
  return Buffer.from(JSON.stringify([id, mountpoint])).toString('base64url')
}

/** @throws {TunnelMQError} TMQ_USAGE when it is none of ours. */
export function readClientCursor(cursor: string): ClientRef {
  try {
    const read: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString())
    if (Array.isArray(read) && read.length === 2) {
      const [id, mountpoint] = read as unknown[]
      if (typeof id === 'string' && typeof mountpoint === 'string') return { id, mountpoint }
    }
  } catch {
    // Said below, in the same words.
  }
  throw new TunnelMQError(ErrorCode.usage, 'after: is not the `next` of a page of clients')
}
