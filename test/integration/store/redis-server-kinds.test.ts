import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { createLog } from '../../../src/log.ts'
import type { RedisLink } from '../../../src/store/redis/contract.ts'
import { FORMAT } from '../../../src/store/redis/format.ts'
import { createCa } from '../listeners/certificates.ts'
import { eventually } from '../../support/eventually.ts'
import { freePort } from '../../support/mosquitto.ts'
import { countKey, submitCount, testLink, type TestLinkOptions } from '../../support/redis-link.ts'
import { startSentinelWorld } from '../../support/redis-sentinel.ts'
import { startRedis, type RedisServer } from '../../support/redis-server.ts'

const endings: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const end of endings.splice(0).toReversed()) await end()
})

async function server(...args: string[]): Promise<RedisServer> {
  const redis = await startRedis({ args })
  endings.push(() => redis.remove())
  return redis
}

const quick = { commandTimeoutMs: 500, connectTimeoutMs: 500, holdMs: 1_000 }

function create(url: string, options: TestLinkOptions = {}): RedisLink {
  const link = testLink(url, { ...options, redis: { ...quick, ...options.redis } })
  endings.push(() => link.close())
  return link
}

async function works(link: RedisLink): Promise<void> {
  await link.open()
  link.start()
  expect(await submitCount(link, 'a')).toBe(1)
  await eventually(() => link.failure).toBeUndefined()
}

function withUser(url: string, user: string, path = ''): string {
  return url.replace('redis://', `redis://${user}@`) + path
}

describe('opening', () => {
  it('waits for as long as Redis is not there, and says so', async () => {
    const lines: string[] = []
    const log = createLog(
      { level: 'info', format: 'json' },
      { write: (line: string) => void lines.push(line) },
    )
    const port = await freePort()
    const link = create(`redis://user:geheim@127.0.0.1:${port}`, { log })
    const opening = link.open()
    await eventually(() => link.failure).toBe('Redis is not there (connection refused)')
    await eventually(() => lines.join('')).toContain('redis is away')
    const redis = await startRedis({ port, args: ['--user', 'user', 'on', '>geheim', '~*', '&*', '+@all'] })
    endings.push(() => redis.remove())
    await opening
    await eventually(() => lines.join('')).toContain('redis is back')
    expect(lines.join('')).not.toContain('geheim')
  })

  it('refuses a wrong password, and none where one is needed', async () => {
    const redis = await server('--requirepass', 'geheim')
    const message = /^redis:\/\/127\.0\.0\.1:\d+\/0: Redis does not accept this user and password$/
    await expect(create(withUser(redis.url, ':falsch')).open()).rejects.toMatchObject({
      code: 'TMQ_STORE',
      message: expect.stringMatching(message) as string,
    })
    await expect(create(redis.url).open()).rejects.toThrow('Redis wants a password')
    await works(create(redis.url, { redis: { password: 'geheim' } }))
  })

  it('refuses a user without the rights', async () => {
    const redis = await server()
    await redis.command('ACL', 'SETUSER', 'reader', 'on', '>p', '~*', '&*', '+@all', '-evalsha', '-eval')
    await redis.command('ACL', 'SETUSER', 'blind', 'on', '>p', '~*', '&*', '+@all', '-info')
    await redis.command(
      'ACL',
      'SETUSER',
      'fit',
      'on',
      '>p',
      '~{tunnelmq}:*',
      '&{tunnelmq}:*',
      '+@all',
      '-config',
    )
    await expect(create(withUser(redis.url, 'reader:p')).open()).rejects.toThrow('no right')
    await expect(create(withUser(redis.url, 'blind:p')).open()).rejects.toThrow('no right')
    await works(create(withUser(redis.url, 'fit:p')))
  })

  it('uses the database of the URL, and a password that nobody asks for does no harm', async () => {
    const redis = await server()
    await works(create(withUser(redis.url, ':unasked', '/3')))
    expect(await redis.command('GET', countKey('a'))).toBeNull()
    expect(await redis.command('INFO', 'keyspace')).toMatch(/db3:keys=\d+/)
  })

  it('refuses a Redis that may evict', async () => {
    const redis = await server('--maxmemory', '100mb', '--maxmemory-policy', 'allkeys-lru')
    await expect(create(redis.url).open()).rejects.toMatchObject({
      code: 'TMQ_STORE',
      message: expect.stringContaining('maxmemory-policy is allkeys-lru') as string,
    })
  })

  it('refuses data of a later format, and writes nothing; reads what was before MQTT 5, once its pods are gone', async () => {
    const redis = await server()
    const format = '{tunnelmq}:format'
    const later = `has format ${FORMAT + 1}, and this TunnelMQ reads 1 to ${FORMAT}: use the version that wrote it`
    await redis.command('SET', format, FORMAT + 1)
    await expect(create(redis.url).open()).rejects.toMatchObject({
      code: 'TMQ_STORE',
      message: expect.stringContaining(later) as string,
    })
    expect(await redis.command('KEYS', '*')).toEqual([format])
    await redis.flush()

    const old = create(redis.url, { cluster: { beatMs: 60_000 } })
    await works(old)
    await redis.command('SET', format, 1)
    await expect(create(redis.url).open()).rejects.toMatchObject({
      code: 'TMQ_STORE',
      message: expect.stringContaining(
        `of an earlier version use this Redis (${old.pod}): stop all`,
      ) as string,
    })
    expect(await redis.command('GET', format)).toBe('1')
    expect(await redis.command('HKEYS', '{tunnelmq}:pods')).toEqual([old.pod])
    // As if it were frozen, for longer than its lease.
    await redis.command('HSET', '{tunnelmq}:pods', old.pod, 1)
    await create(redis.url).open()
    expect(await redis.command('GET', format)).toBe(String(FORMAT))
    expect(await redis.command('SMEMBERS', '{tunnelmq}:dying')).toEqual([old.pod])
    await expect(submitCount(old, 'a')).rejects.toThrow('declared dead')
  })

  it('warns of a Redis that keeps nothing', async () => {
    const said = async (...args: string[]): Promise<string> => {
      const redis = await server(...args)
      let text = ''
      const log = createLog(
        { level: 'warn', format: 'json' },
        { write: (line: string) => void (text += line) },
      )
      await create(redis.url, { log }).open()
      return text
    }
    expect(await said('--appendonly', 'no')).toContain('neither an append-only file nor snapshots')
    expect(await said('--appendonly', 'no', '--save', '60 1')).toContain('no append-only file')
    expect(await said('--appendfsync', 'no')).toContain('appendfsync no')
    expect(await said()).toBe('')
  })

  it('refuses URLs that mean nothing, and does not repeat the password', () => {
    const fault = (url: string): string => {
      try {
        testLink(url)
        return ''
      } catch (error) {
        return String(error)
      }
    }
    expect(fault('redis://127.0.0.1:6379/zero')).toContain('not a database number')
    expect(fault('redis://:geheim@127.0.0.1:99999')).toContain('not a URL')
    expect(fault('redis://:ge%heim@127.0.0.1')).toContain('%')
    expect(fault('redis://user@127.0.0.1')).toContain('no password')
    expect(fault('redis://:geheim@127.0.0.1:99999') + fault('redis://:ge%heim@x')).not.toContain('heim')
  })
})

describe('TLS', () => {
  it('trusts only the CA that it was told of, and shows a certificate where one is wanted', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tmq-redis-tls-'))
    endings.push(() => Promise.resolve(rmSync(folder, { recursive: true })))
    const ca = await createCa(folder)
    const foreign = await createCa(folder, 'foreign')
    const ours = await ca.issue('server')
    const client = await ca.issue('client')
    const tlsPort = await freePort()
    const redis = await server(
      ...['--tls-port', String(tlsPort), '--tls-ca-cert-file', ca.cert],
      ...['--tls-cert-file', ours.cert, '--tls-key-file', ours.key],
    )
    const url = `rediss://127.0.0.1:${tlsPort}`
    const untrusting = create(url, { redis: { tls: { ca: foreign.cert, ...client } } })
    untrusting.open().catch(() => undefined)
    await eventually(() => untrusting.failure).toContain('certificate')
    const nameless = create(url, { redis: { tls: { ca: ca.cert, ...client, servername: 'other.example' } } })
    nameless.open().catch(() => undefined)
    await eventually(() => nameless.failure).toContain("does not match certificate's altnames")
    await works(create(url, { redis: { tls: { ca: ca.cert, ...client } } }))
    expect(Number(await redis.command('GET', countKey('a')))).toBe(1)
    expect(() => testLink(url, { redis: { tls: { ca: join(folder, 'none.crt') } } })).toThrow(
      'cannot be read',
    )
  })
})

describe('Sentinel', () => {
  it('finds the primary, and the next one when that dies', async () => {
    const world = await startSentinelWorld()
    endings.push(() => world.remove())
    const sentinel = { name: world.name, nodes: ['127.0.0.1:1', world.node], tls: false }
    const link = create('redis://unused', { redis: { sentinel, waitReplicas: 0 } })
    await works(link)
    await eventually(() => world.replica.command('GET', countKey('a'))).toBe('1')
    await world.primary.kill()
    const write = submitCount(link, 'a', { patience: 'keep' })
    expect(await write).toBe(2)
    expect(await world.replica.command('GET', countKey('a'))).toBe('2')
    await eventually(() => link.reloads).toBe(1)
    await eventually(() => link.failure).toBeUndefined()
    expect(link.emptied).toBe(0)
  })

  it('says that no sentinel is there', async () => {
    const sentinel = { name: 'x', nodes: ['127.0.0.1:1'], tls: false }
    const link = create('redis://unused', { redis: { sentinel } })
    link.open().catch(() => undefined)
    await eventually(() => link.failure).toContain('sentinel')
  })
})
