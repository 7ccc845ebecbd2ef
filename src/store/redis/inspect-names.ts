import { buffersOf, type DirectRedis } from './direct.ts'
import type { Findings } from './inspect-findings.ts'

/** Keys that there is one of. */
const singles = new Set([
  'epoch',
  'format',
  'fence',
  'log',
  'logpos',
  'sessions',
  'expiry',
  'qexpiry',
  'owner',
  'wills',
  'willdue',
  'retained',
  'retainedbytes',
  'rexpiry',
  'pods',
  'podinfo',
  'inboxpos',
  'inboxbytes',
  'bans',
  'identities',
  'identityrev',
  'dying',
  'lastbeat',
  'graceuntil',
  'claimuser',
  'aside',
])
/** What is named behind the colon. */
const families: ReadonlyMap<string, 'session' | 'group' | 'pod' | 'timed' | 'free'> = new Map([
  ['s', 'session'],
  ['f', 'session'],
  ['q', 'session'],
  ['r', 'session'],
  ['i', 'session'],
  ['gr', 'group'],
  ['gl', 'group'],
  ['gm', 'group'],
  ['owned', 'pod'],
  ['inbox', 'pod'],
  ['wants', 'pod'],
  ['groups', 'pod'],
  ['seats', 'pod'],
  ['batch', 'pod'],
  ['failures', 'timed'],
  ['u', 'free'],
])

/** Every key under the prefix: those that belong to nobody, and those that are not ours. */
export async function inspectNames(
  redis: DirectRedis,
  found: Findings,
  kids: ReadonlySet<string>,
  isLive: boolean,
): Promise<void> {
  const [pods, dying] = await redis.commands([
    ['hkeys', redis.key('pods')],
    ['smembers', redis.key('dying')],
  ])
  const known = new Set([...buffersOf(pods), ...buffersOf(dying)].map(String))
  const seen = new Set<string>()
  for await (const names of redis.names()) {
    for (const bytes of names) {
      const name = bytes.toString()
      if (seen.has(name)) continue
      seen.add(name)
      if (singles.has(name)) continue
      const at = name.indexOf(':')
      const [family, rest] = [families.get(name.slice(0, Math.max(at, 0))), name.slice(at + 1)]
      if (family === undefined) found.add(`key ${JSON.stringify(name)}: is none of this store`, 'none')
      else if (family === 'timed') await inspectTimed(redis, found, name)
      else if (!isLive && isOrphan(family, rest, kids, known)) {
        found.add(`key ${JSON.stringify(name)}: belongs to no ${family}`, 'delete', [
          'unlink',
          redis.key(name),
        ])
      }
    }
  }
}

function isOrphan(
  family: string,
  rest: string,
  kids: ReadonlySet<string>,
  pods: ReadonlySet<string>,
): boolean {
  if (family === 'session') return !kids.has(rest)
  if (family === 'group') return !kids.has(`g${rest}`)
  return family === 'pod' && !pods.has(rest)
}

async function inspectTimed(redis: DirectRedis, found: Findings, name: string): Promise<void> {
  if (Number(await redis.command('pttl', redis.key(name))) !== -1) return
  found.add(`key ${JSON.stringify(name)}: has no time to live`, 'delete', ['unlink', redis.key(name)])
}
