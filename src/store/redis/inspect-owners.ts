import { buffersOf, type DirectRedis } from './direct.ts'
import type { Findings } from './inspect-findings.ts'
import { decodeWill } from './stored-session.ts'

/** Claims and wills; gives the number of wills. Claims of pods that are dead are ended by the next pod that starts. */
export async function inspectOwners(redis: DirectRedis, found: Findings, isLive: boolean): Promise<number> {
  const [pods, dying] = await redis.commands([
    ['hkeys', redis.key('pods')],
    ['smembers', redis.key('dying')],
  ])
  const known = new Set([...buffersOf(pods), ...buffersOf(dying)].map(String))
  const owned = new Set<string>()
  for await (const portion of redis.hashes(redis.key('owner'))) {
    for (const [id, value] of portion) {
      const pod = /^\d+:([0-9a-f]+)$/.exec(value.toString())?.[1]
      owned.add(id.toString())
      if (isLive || (pod !== undefined && known.has(pod))) continue
      const what = `claim of ${JSON.stringify(id.toString())}: its pod is not there, so its session would never end`
      found.add(what, 'delete', ['hdel', redis.key('owner'), id])
    }
  }
  return inspectWills(redis, found, owned, isLive)
}

async function inspectWills(
  redis: DirectRedis,
  found: Findings,
  owned: ReadonlySet<string>,
  isLive: boolean,
): Promise<number> {
  const seen = new Set<string>()
  for await (const portion of redis.hashes(redis.key('wills'))) {
    for (const [id, value] of portion) {
      const name = id.toString()
      if (seen.has(name)) continue
      seen.add(name)
      if (decodeWill(id, value) === undefined) {
        const damaged = { name: 'wills', field: id, value }
        found.add(
          `will of ${JSON.stringify(name)}: is damaged`,
          'set aside',
          ['hdel', redis.key('wills'), id],
          damaged,
        )
        continue
      }
      if (isLive || owned.has(name)) continue
      if ((await redis.command('zscore', redis.key('willdue'), id)) !== null) continue
      const what = `will of ${JSON.stringify(name)}: its client has gone, and nobody would publish it`
      found.add(what, 'correct', ['zadd', redis.key('willdue'), Date.now(), id])
    }
  }
  return seen.size
}
