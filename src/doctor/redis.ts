import type { Config } from '../config/schema.ts'
import { openDirect, type DirectRedis } from '../store/redis/direct.ts'
import { checkServer, persistenceWarning } from '../store/redis/server-check.ts'
import { findingsOf, mebibytes, median, messageOf, msText, type Finding } from './finding.ts'

const { ok, warn, fail } = findingsOf('redis')

const PINGS = 20
const SLOW_MS = 10
const CLOCK_MS = 1_000

/** What was seen of a Redis that answers. */
export interface RedisFacts {
  readonly name: string
  readonly info: string
  /** Of CONFIG GET; undefined: hosted Redis forbids it. */
  readonly settings: ReadonlyMap<string, string> | undefined
  readonly pingsMs: readonly number[]
  /** Its clock less ours. */
  readonly clockMs: number
}

/** Redis, if that is the store. */
export async function checkRedis({ store }: Config): Promise<readonly Finding[]> {
  if (store.type !== 'redis') return []
  let redis: DirectRedis
  try {
    redis = await openDirect(store.redis)
  } catch (error) {
    return [fail(messageOf(error), adviceOn(messageOf(error)))]
  }
  try {
    return judgeRedis(await look(redis))
  } finally {
    redis.close()
  }
}

async function look(redis: DirectRedis): Promise<RedisFacts> {
  const pingsMs: number[] = []
  for (let ping = 0; ping < PINGS; ping++) {
    const startedAt = performance.now()
    await redis.command('ping')
    pingsMs.push(performance.now() - startedAt)
  }
  const before = Date.now()
  const time = (await redis.command('time')) as readonly unknown[]
  const after = Date.now()
  const [seconds = 0, micros = 0] = time.map((part) => Number(String(part)))
  const info = String(await redis.command('info'))
  return {
    name: redis.name,
    info,
    settings: await settingsOf(redis),
    pingsMs,
    clockMs: seconds * 1_000 + micros / 1_000 - (before + after) / 2,
  }
}

async function settingsOf(redis: DirectRedis): Promise<ReadonlyMap<string, string> | undefined> {
  try {
    const flat = (await redis.command('config', 'get', 'save', 'appendfsync')) as readonly unknown[]
    const words = flat.map(String)
    return new Map(words.flatMap((word, index) => (index % 2 === 0 ? [[word, words[index + 1] ?? '']] : [])))
  } catch {
    return undefined
  }
}

/** Pure. */
export function judgeRedis({ name, info, settings, pingsMs, clockMs }: RedisFacts): readonly Finding[] {
  const server = checkServer(info)
  const field = (key: string): string => new RegExp(`^${key}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? ''
  const findings: Finding[] = [ok(`${name}: Redis ${server.version}`)]

  const middle = median(pingsMs)
  const latency = `round trip ${msText(middle)} (median of ${pingsMs.length}; most ${msText(Math.max(...pingsMs))})`
  findings.push(
    middle > SLOW_MS
      ? warn(
          latency,
          'every QoS 1 and 2 message waits for it: put Redis nearer, or see `redis-cli --latency` and SLOWLOG',
        )
      : ok(latency),
  )
  findings.push(judgeMemory(field))

  const persistence = persistenceWarning(server, settings)
  findings.push(
    persistence === undefined
      ? ok(
          `it keeps an append-only file${settings === undefined ? '' : ` (appendfsync ${settings.get('appendfsync')})`}`,
        )
      : warn(persistence, 'appendonly yes and appendfsync everysec (docs/operations.md, Redis)'),
  )
  const failed = ['aof_last_write_status', 'aof_last_bgrewrite_status', 'rdb_last_bgsave_status'].filter(
    (key) => field(key).startsWith('err'),
  )
  if (failed.length > 0)
    findings.push(
      fail(
        `it cannot write its files: ${failed.join(', ')} is err`,
        "see Redis' log; is its disk full, or not writable?",
      ),
    )

  const clock = `its clock is ${msText(Math.abs(clockMs))} ${clockMs < 0 ? 'behind' : 'before'} ours`
  findings.push(
    Math.abs(clockMs) > CLOCK_MS
      ? warn(clock, 'set both clocks by NTP: sessions and messages expire by them')
      : ok(clock),
  )
  return findings
}

function judgeMemory(field: (key: string) => string): Finding {
  const used = Number(field('used_memory'))
  const most = Number(field('maxmemory'))
  const policy = field('maxmemory_policy')
  const uses = `it uses ${mebibytes(used)}`
  if (most > 0 && used > most * 0.8)
    return warn(
      `${uses} of ${mebibytes(most)} (maxmemory)`,
      'raise maxmemory: when it is full, nothing is acknowledged',
    )
  if (most === 0 && policy !== '' && policy !== 'noeviction')
    return warn(
      `${uses}; maxmemory-policy is ${policy}, which has no effect without maxmemory`,
      'set maxmemory-policy noeviction: with maxmemory the broker refuses this Redis',
    )
  return ok(
    `${uses}${most > 0 ? ` of ${mebibytes(most)}` : ''}; it evicts nothing (maxmemory-policy ${policy})`,
  )
}

function adviceOn(message: string): string {
  if (message.includes('maxmemory-policy'))
    return 'redis-cli CONFIG SET maxmemory-policy noeviction, and in redis.conf'
  if (/NOAUTH|WRONGPASS|password/i.test(message))
    return 'compare store.redis.username and password with the ACL of Redis'
  if (/or newer is needed/.test(message)) return 'update Redis'
  if (/replica/.test(message)) return 'name the master, or Sentinel (store.redis.sentinel)'
  if (/certificate|TLS|SSL/i.test(message))
    return 'compare rediss:// and store.redis.tls with the TLS settings of Redis'
  return 'is Redis running, is store.redis.url right, and does a firewall let this machine through? `redis-cli -u URL ping`'
}
