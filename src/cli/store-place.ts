import type { Environment } from '../config/overrides.ts'
import { defaultConfig, loadConfig, parseConfig } from '../config/load.ts'
import type { RedisConfig } from '../config/cluster-schema.ts'
import type { Config } from '../config/schema.ts'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import { inspectLevel } from '../store/embedded/inspect.ts'
import { openLevel } from '../store/embedded/level.ts'
import { openEmbeddedSource } from '../store/embedded/migration-source.ts'
import { openEmbeddedTarget } from '../store/embedded/migration-target.ts'
import type { StoreInspector } from '../store/inspection.ts'
import type { StoreSource, StoreTarget } from '../store/migration/contract.ts'
import { openAedesSource } from '../store/redis/aedes-source.ts'
import { openRedisInspector } from '../store/redis/inspect.ts'
import { openRedisSource } from '../store/redis/migration-source.ts'
import { openRedisTarget } from '../store/redis/migration-target.ts'
import { configFile } from './config-flags.ts'

const CACHE_BYTES = 8 * 1024 * 1024

/** Which store is meant. */
export type StorePlace =
  | { readonly kind: 'embedded'; readonly path: string; readonly config: Config }
  | { readonly kind: 'redis' | 'aedes'; readonly redis: RedisConfig; readonly config: Config }

export interface PlaceFlags {
  readonly path?: string
  readonly redis?: string
  readonly prefix?: string
  readonly config?: string
}

/** The store of the flags, or of the configuration. Throws TMQ_USAGE, TMQ_CONFIG. */
export async function placeOf(flags: PlaceFlags, env: Environment): Promise<StorePlace> {
  if (flags.path !== undefined && flags.redis !== undefined)
    throw new TunnelMQError(ErrorCode.usage, '--path and --redis are two stores: name one')
  if (flags.path !== undefined) return { kind: 'embedded', path: flags.path, config: defaultConfig() }
  if (flags.redis !== undefined) return redisPlace('redis', flags.redis, flags.prefix)
  return configuredPlace(configFile(flags, env), env)
}

/**
 * A store as `migrate` names it: a folder, `redis://...`, `aedes+redis://...`, or `config:` and a configuration file.
 * Throws TMQ_USAGE, TMQ_CONFIG.
 */
export async function parsePlace(
  text: string,
  prefix: string | undefined,
  env: Environment,
): Promise<StorePlace> {
  if (text.startsWith('config:')) return configuredPlace(text.slice('config:'.length), env)
  if (/^rediss?:/.test(text)) return redisPlace('redis', text, prefix)
  if (/^aedes\+rediss?:/.test(text)) return redisPlace('aedes', text.slice('aedes+'.length), prefix ?? '')
  if (text === '' || text.includes('://'))
    throw new TunnelMQError(
      ErrorCode.usage,
      'a store is a folder, redis://host:6379/0, aedes+redis://host:6379/0, or config:FILE',
    )
  return { kind: 'embedded', path: text, config: defaultConfig() }
}

/** Opens it to be looked into. Throws TMQ_STORE, TMQ_STORE_UNAVAILABLE. */
export async function inspectPlace(place: StorePlace): Promise<StoreInspector> {
  if (place.kind === 'embedded') {
    const level = await openLevel(place.path, { cacheBytes: CACHE_BYTES, createIfMissing: false })
    return inspectLevel(level, place.path)
  }
  if (place.kind === 'aedes') throw new TunnelMQError(ErrorCode.usage, 'this is not a store of TunnelMQ')
  const { cluster, session } = place.config
  return openRedisInspector(place.redis, cluster.leaseMs, session.expiryMs)
}

/** Opens it to be copied. `expiryMs`: for sessions that have no end where they come from. */
export function openSource(place: StorePlace, expiryMs: number): Promise<StoreSource> {
  if (place.kind === 'embedded') return openEmbeddedSource(place.path)
  if (place.kind === 'aedes') return openAedesSource(place.redis, expiryMs)
  return openRedisSource(place.redis, place.config.cluster.leaseMs)
}

/** Opens it to be filled. */
export function openTarget(place: StorePlace): Promise<StoreTarget> {
  if (place.kind === 'embedded') return openEmbeddedTarget(place.path)
  if (place.kind === 'redis') return openRedisTarget(place.redis, place.config.cluster.leaseMs)
  throw new TunnelMQError(ErrorCode.usage, 'nothing is written for aedes-persistence-redis')
}

async function configuredPlace(file: string | undefined, env: Environment): Promise<StorePlace> {
  const { config } = await loadConfig({ file, env })
  const { type, path, redis } = config.store
  if (type === 'memory')
    throw new TunnelMQError(ErrorCode.usage, 'store.type is memory: there is nothing to look into')
  return type === 'redis' ? { kind: 'redis', redis, config } : { kind: 'embedded', path, config }
}

/** As in a configuration, so that mistakes have the same words. */
async function redisPlace(
  kind: 'redis' | 'aedes',
  url: string,
  prefix: string | undefined,
): Promise<StorePlace> {
  const redis = { url, ...(prefix === undefined ? {} : { keyPrefix: prefix }) }
  const { config } = await parseConfig({ store: { type: 'redis', redis } })
  return { kind, redis: config.store.redis, config }
}
