import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createSilentLog } from '../../../src/log.ts'
import { createEmbeddedStore } from '../../../src/store/embedded/store.ts'
import { FORMAT } from '../../../src/store/redis/format.ts'
import { startRedis, type RedisServer } from '../../support/redis-server.ts'
import { askStore, runStore } from '../../support/store-command.ts'
import { message, publish, testLimits, to } from '../../support/store-fixtures.ts'
import { temporaryFolder } from '../../support/store-folder.ts'

let redis: RedisServer
let folder: Awaited<ReturnType<typeof temporaryFolder>>
let url: string
const pod = '0123456789abcdef'
const at = (name: string): string => `{tunnelmq}:${name}`

beforeAll(async () => {
  redis = await startRedis()
  url = `${redis.url}/0`
  folder = await temporaryFolder()
  const path = join(folder.path, 'store')
  const options = { path, sync: false, cacheBytes: 1_000_000, limits: testLimits, log: createSilentLog() }
  const store = createEmbeddedStore(options)
  await store.open()
  const pump = await store.createSession('client', 'pump')
  const group = await store.createSession('group', 'workers/jobs/#')
  await store.putSubscriptions(pump, [
    { filter: 'a/#', matchFilter: 'a/#', qos: 1 },
    { filter: '$share/workers/jobs/#', matchFilter: 'jobs/#', shareGroup: 'workers', qos: 1 },
  ])
  for (const text of ['one', 'two', 'three']) {
    await publish(store, { message: message('a/b', text), targets: to(pump, group), retain: true })
  }
  await store.putWill({ clientId: 'pump', message: message('gone', 'x') })
  await store.close()
})
afterAll(async () => {
  await redis.remove()
  await folder.remove()
})
beforeEach(async () => {
  await redis.flush()
  await runStore('migrate', '--from', join(folder.path, 'store'), '--to', url)
})
afterEach(() => {
  process.exitCode = undefined
})

async function problems(): Promise<string[]> {
  const { problems: found } = await askStore<{ problems: { problem: string; repair: string }[] }>(
    'check',
    '--redis',
    url,
  )
  return found.map(({ problem, repair }) => `${problem} (${repair})`)
}

describe('tunnelmq store check on Redis', () => {
  it('finds nothing wrong with what is sound, and does not join', async () => {
    expect(await runStore('check', '--redis', url)).toBe('0 problems, 0 mended, 2 sessions\n')
    expect(process.exitCode).toBeUndefined()
    expect(await redis.command('EXISTS', at('pods'), at('podinfo'), at('log'))).toBe(0)
  })

  it.each<[string, (string | number | Buffer)[][], string[]]>([
    [
      'counts that do not agree',
      [
        ['HSET', at('s:cpump'), 'n', 7, 'b', 1, 'seq', 2],
        ['SET', at('retainedbytes'), 77],
      ],
      [
        'client "pump": n is 7, and should be 3 (correct)',
        'client "pump": b is 1, and should be 11 (correct)',
        'client "pump": seq is 2, and should be 3 (correct)',
        'retainedbytes: is 77, and should be 5 (correct)',
      ],
    ],
    [
      'values that cannot be read',
      [
        ['XADD', at('q:cpump'), '9-0', 'e', 'garbage'],
        ['HSET', at('s:cpump'), 'seq', 9],
        ['HSET', at('f:cpump'), 'b/#', '{"qos":7}'],
        ['SADD', at('i:cpump'), 'seventy'],
        ['HSET', at('retained'), 'x', 'garbage'],
        ['HSET', at('wills'), 'ghost', 'garbage'],
      ],
      [
        'subscription "b/#" of client "pump": is damaged (set aside)',
        'incoming id "seventy" of client "pump": is damaged (set aside)',
        'queue entry 9-0 of client "pump": is damaged (set aside)',
        'retained "x": is damaged (set aside)',
        'will of "ghost": is damaged (set aside)',
      ],
    ],
    [
      'what belongs to nobody',
      [
        ['HSET', at('owner'), 'pump', '7:ffffffffffffffff'],
        ['ZREM', at('willdue'), 'pump'],
        ['XADD', at('q:cgone'), '1-0', 'e', 'x'],
        ['DEL', at('gm:workers/jobs/#')],
        ['SADD', at('owned:ffffffffffffffff'), 'pump'],
        ['SET', at('failures:192.0.2.1'), 3],
        ['SET', at('zebra'), 1],
      ],
      [
        'claim of "pump": its pod is not there, so its session would never end (delete)',
        'group "workers/jobs/#": nobody is a member (delete)',
        'key "failures:192.0.2.1": has no time to live (delete)',
        'key "owned:ffffffffffffffff": belongs to no pod (delete)',
        'key "q:cgone": belongs to no session (delete)',
        'key "zebra": is none of this store (none)',
      ],
    ],
    [
      'a session without an end',
      [
        ['ZREM', at('expiry'), 'cpump'],
        ['HSET', at('s:cpump'), 'expires', 0],
      ],
      ['client "pump": is not connected, and never ends (correct)'],
    ],
  ])('names %s, with exit code 1, and mends them when asked to', async (_what, damage, expected) => {
    for (const command of damage) await redis.command(...command)
    expect((await problems()).toSorted()).toEqual(expected.toSorted())
    expect(process.exitCode).toBe(1)
    await runStore('check', '--redis', url, '--repair')
    const left = expected.filter((line) => line.endsWith('(none)'))
    // What a repair has uncovered is found by the next one.
    await runStore('check', '--redis', url, '--repair')
    expect(await problems()).toEqual(left)
  })

  it('keeps damaged values where nobody reads them', async () => {
    await redis.command('HSET', at('retained'), 'x', 'garbage')
    await redis.command('HSET', at('f:cpump'), 'b/#', 'rubbish')
    await runStore('check', '--redis', url, '--repair')
    expect(await redis.command('HGET', at('aside'), 'retained x')).toBe('garbage')
    expect(await redis.command('HGET', at('aside'), 'f:cpump b/#')).toBe('rubbish')
    expect(await askStore('stats', '--redis', url)).toMatchObject({ setAside: 2, problems: 0 })
  })

  it('looks while pods live, and mends only when they are gone', async () => {
    await redis.command('HSET', at('pods'), pod, Date.now())
    expect(await problems()).toEqual([])
    await redis.command('HSET', at('s:cpump'), 'n', 7)
    expect(await problems()).toEqual(['client "pump": n is 7, and should be 3 (correct)'])
    await expect(runStore('check', '--redis', url, '--repair')).rejects.toThrow('is in use by 1 broker')
    expect(await redis.command('HGET', at('s:cpump'), 'n')).toBe('7')
  })

  it('refuses a later format, as migrations do, and changes nothing; reads an earlier one', async () => {
    await redis.command('SET', at('format'), FORMAT + 1)
    await redis.command('HSET', at('retained'), 'later', 'what this version cannot read')
    const refusal = `has format ${FORMAT + 1}, and this TunnelMQ reads 1 to ${FORMAT}: use the version that wrote it`
    for (const command of [
      ['stats', '--redis', url],
      ['queue', 'pump', '--redis', url],
      ['check', '--repair', '--redis', url],
      ['migrate', '--from', url, '--to', join(folder.path, 'elsewhere')],
      ['migrate', '--from', join(folder.path, 'store'), '--to', url, '--merge'],
    ])
      await expect(runStore(...command)).rejects.toThrow(refusal)
    expect(await redis.command('GET', at('format'))).toBe(String(FORMAT + 1))
    expect(await redis.command('HLEN', at('aside'))).toBe(0)
    await redis.command('HDEL', at('retained'), 'later')
    await redis.command('SET', at('format'), 1)
    expect(await problems()).toEqual([])
    expect(await redis.command('GET', at('format'))).toBe('1')
  })

  it('says when Redis is not there, or holds nothing of ours', async () => {
    await expect(runStore('stats', '--redis', 'redis://127.0.0.1:1/0')).rejects.toMatchObject({
      code: 'TMQ_STORE_UNAVAILABLE',
    })
    expect(await runStore('check', '--redis', `${redis.url}/5`)).toContain('format: is missing')
    await expect(runStore('queue', 'nobody', '--redis', url)).rejects.toThrow('There is no client nobody')
    await expect(runStore('stats', '--redis', url, '--path', 'x')).rejects.toThrow('name one')
  })
})
