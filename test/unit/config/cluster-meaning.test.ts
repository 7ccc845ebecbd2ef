import { describe, expect, it } from 'vitest'
import { loadConfig, parseConfig } from '../../../src/config/load.ts'
import { ConfigError } from '../../../src/config/mistake.ts'
import { printConfig } from '../../../src/config/print.ts'
import type { ConfigInput } from '../../../src/config/schema.ts'

const listeners: ConfigInput['listeners'] = [{ type: 'tcp', port: 1883, allowAnonymous: true }]

type RedisInput = NonNullable<NonNullable<ConfigInput['store']>['redis']>

function redis(settings: RedisInput, more: Partial<ConfigInput> = {}): ConfigInput {
  return { listeners, store: { type: 'redis', redis: settings }, ...more }
}

async function mistakesOf(input: ConfigInput): Promise<string[]> {
  try {
    await parseConfig(input)
    return []
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.mistakes.map(({ path, message }) => `${path.join('.')}: ${message}`)
  }
}

async function warningsOf(input: ConfigInput): Promise<string[]> {
  const { warnings } = await parseConfig(input)
  return warnings.map(({ path, message }) => `${path.join('.')}: ${message}`)
}

describe('the configuration of Redis', () => {
  it('is right as it comes, with TLS, with a user, and with sentinels', async () => {
    const sound: RedisInput[] = [
      {},
      { url: 'rediss://pods:geheim@redis.example:6380/3', tls: { servername: 'redis' } },
      { url: 'redis://127.0.0.1', username: 'pods', password: 'geheim' },
      { url: 'redis://primary/2', sentinel: { nodes: ['10.0.0.1:26379', '[::1]:26379'] } },
      { url: 'redis://x/0', sentinel: { nodes: ['a:1'], tls: true }, tls: {} },
    ]
    for (const settings of sound) {
      expect(await mistakesOf(redis(settings))).toEqual([])
      expect(await warningsOf(redis(settings))).toEqual([])
    }
  })

  it.each([
    [{ url: 'redis://h/one' }, 'url: ends with "/one", which is not the number of a database, such as /0'],
    [{ url: 'redis:///0' }, 'url: names no host'],
    [{ url: 'redis://h:70000/0' }, 'url: is not a URL: redis://user:password@host:6379/0'],
    [{ url: 'redis://h/0?family=6' }, 'url: has a "?" or "#": settings have keys of their own'],
    [
      { url: 'redis://:a@h', password: 'b' },
      'password: is set, and store.redis.url has one, too: leave one out',
    ],
    [
      { url: 'redis://u@h', username: 'u', password: 'p' },
      'username: is set, and store.redis.url has a user, too: leave one out',
    ],
    [{ username: 'u' }, 'username: needs store.redis.password'],
    [{ url: 'redis://u@h' }, 'url: has a user, and no password'],
    [{ tls: {} }, 'tls: is set, and store.redis.url begins with redis://: TLS is rediss://'],
    [{ url: 'rediss://h', tls: { cert: '/dev/null' } }, 'tls.cert: needs store.redis.tls.key'],
    [{ url: 'rediss://h', tls: { ca: '/nowhere/ca.pem' } }, 'tls.ca: /nowhere/ca.pem does not exist'],
    [{ sentinel: { nodes: [] } }, 'sentinel.nodes: '],
    [{ sentinel: { nodes: ['10.0.0.1'] } }, 'sentinel.nodes.0: '],
    [{ sentinel: { nodes: ['10.0.0.1:70000'] } }, 'sentinel.nodes.0: 70000 is not a port'],
    [{ url: 'http://h' }, 'url: '],
    [{ keyPrefix: 'a*' }, 'keyPrefix: '],
  ] satisfies [RedisInput, string][])('names the key of %j', async (settings, message) => {
    const found = await mistakesOf(redis(settings))
    expect(found).toHaveLength(1)
    expect(found[0]).toContain(`store.redis.${message}`)
  })

  it('does not show a password in what it says', async () => {
    for (const url of ['redis://u:geheim@h/x', 'redis://u:geheim@h:99999', 'http://u:geheim@h']) {
      expect((await mistakesOf(redis({ url }))).join()).not.toContain('geheim')
    }
  })

  it('names sentinels that are missing', async () => {
    const input = redis({ sentinel: {} as NonNullable<RedisInput['sentinel']> })
    expect(await mistakesOf(input)).toEqual([expect.stringContaining('store.redis.sentinel.nodes: ')])
  })

  it('warns of what has no effect with another store', async () => {
    const input: ConfigInput = {
      listeners,
      store: { redis: { url: 'redis://h/0', holdMs: 1 } },
      cluster: { leaseMs: 9_000 },
    }
    expect(await warningsOf(input)).toEqual([
      'store.redis.url: has no effect while store.type is "embedded"',
      'store.redis.holdMs: has no effect while store.type is "embedded"',
      'cluster.leaseMs: has no effect while store.type is "embedded"',
    ])
  })

  it('is found in the environment, the URL in a file as well', async () => {
    const env = {
      TUNNELMQ_STORE_TYPE: 'redis',
      TUNNELMQ_STORE_REDIS_URL: 'redis://pods:geheim@redis:6379/1',
      TUNNELMQ_STORE_REDIS_SENTINEL_NODES: '[a:26379, b:26379]',
      TUNNELMQ_CLUSTER_POD_NAME: 'pod-0',
    }
    const { config } = await loadConfig({ env })
    expect(config.store.redis).toMatchObject({ url: env.TUNNELMQ_STORE_REDIS_URL })
    expect(config.store.redis.sentinel?.nodes).toEqual(['a:26379', 'b:26379'])
    expect(config.cluster.podName).toBe('pod-0')
  })

  it('is printed without its passwords', async () => {
    const settings = { password: 'geheim', sentinel: { nodes: ['a:1'], password: 'geheim' } }
    const hidden = await parseConfig(redis(settings))
    expect(printConfig(hidden.config)).not.toContain('geheim')
    const { config } = await parseConfig(redis({ url: 'rediss://pods:geheim@redis.example:6380/3' }))
    expect(printConfig(config)).toContain('url: rediss://pods:***@redis.example:6380/3')
    expect(printConfig(config)).not.toContain('geheim')
  })
})

describe('the times of a cluster', () => {
  it.each([
    [
      { beatMs: 1_001 },
      'cluster.beatMs: 1001 is more than 1000: between two beats Redis would seem to be frozen',
    ],
    [{ leaseMs: 1_999 }, 'cluster.leaseMs: 1999 is less than 4 beats of cluster.beatMs (500)'],
    [{ leaseMs: 4_000, freshMs: 4_000 }, 'cluster.leaseMs: 4000 is not more than cluster.freshMs (4000)'],
  ])('names the key of %j', async (cluster, message) => {
    expect(await mistakesOf(redis({}, { cluster }))).toEqual([message])
  })

  it('warns of what is allowed, and hardly meant', async () => {
    const found = await warningsOf(
      redis(
        { holdMs: 30_000 },
        { cluster: { leaseMs: 3_000, inboxMaxBytes: 1_000 }, session: { expiryMs: 0 } },
      ),
    )
    expect(found.map((line) => line.split(': ')[0])).toEqual([
      'cluster.leaseMs',
      'store.redis.holdMs',
      'cluster.inboxMaxBytes',
      'session.expiryMs',
    ])
  })
})
