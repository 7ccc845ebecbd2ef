import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { unavailable } from './refusal.ts'

/** What matters of INFO. */
export interface RedisServer {
  readonly version: string
  /** Another after each start of the server. */
  readonly runId: string
  readonly hasAppendOnlyFile: boolean
}

const MIN_MAJOR_VERSION = 7

/**
 * Reads INFO. Throws TMQ_STORE for what waiting does not mend, and TMQ_STORE_UNAVAILABLE for what it does.
 * Not of CONFIG, which hosted Redis forbids.
 */
export function checkServer(info: string): RedisServer {
  const field = (name: string): string | undefined => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1]
  const version = field('redis_version') ?? ''
  const major = Number.parseInt(version, 10)
  if (!(major >= MIN_MAJOR_VERSION))
    throw new TunnelMQError(
      ErrorCode.store,
      `Redis ${MIN_MAJOR_VERSION}.0 or newer is needed, and this is ${version === '' ? 'something else' : version}`,
    )
  if (field('loading') === '1') throw unavailable('Redis is loading its data')
  if (field('role') === 'slave') throw unavailable('Redis is a replica, and takes no writes')
  const policy = field('maxmemory_policy') ?? 'noeviction'
  if (Number(field('maxmemory') ?? 0) > 0 && policy !== 'noeviction')
    throw new TunnelMQError(
      ErrorCode.store,
      `Redis may evict what is stored: its maxmemory-policy is ${policy}, and must be noeviction`,
    )
  return {
    version,
    runId: field('run_id') ?? '',
    hasAppendOnlyFile: field('aof_enabled') === '1',
  }
}

/**
 * What there is to be said about how it keeps its data: allowed, and hardly meant. `settings` are `save` and
 * `appendfsync`, where CONFIG GET was allowed.
 */
export function persistenceWarning(
  server: RedisServer,
  settings: ReadonlyMap<string, string> | undefined,
): string | undefined {
  if (server.hasAppendOnlyFile)
    return settings?.get('appendfsync') === 'no'
      ? 'Redis leaves it to the operating system when its append-only file is on the disk (appendfsync no): a power loss loses up to half a minute'
      : undefined
  return settings?.get('save') === ''
    ? 'Redis keeps neither an append-only file nor snapshots: a stop of it loses everything'
    : 'Redis keeps no append-only file: a stop of it loses what was acknowledged since its last snapshot'
}
