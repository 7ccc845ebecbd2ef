import { describe, expect, it } from 'vitest'
import { configSchema, type ConfigInput } from '../../../src/config/schema.ts'
import { judgeBroker } from '../../../src/doctor/admin.ts'
import { judgeFiles, judgeMemory } from '../../../src/doctor/capacity.ts'
import { judgeClock } from '../../../src/doctor/clock.ts'
import { examine } from '../../../src/doctor/examine.ts'
import { findingsOf } from '../../../src/doctor/finding.ts'
import { judgeNode } from '../../../src/doctor/node.ts'
import { judgePort } from '../../../src/doctor/ports.ts'
import { listeningInodes, lockHolder } from '../../../src/doctor/processes.ts'
import { judgeProxy, judgeTrust, type ProxyFacts } from '../../../src/doctor/proxy.ts'
import { judgeRedis, type RedisFacts } from '../../../src/doctor/redis.ts'
import { judgeSpace, judgeSync } from '../../../src/doctor/store-folder.ts'

const MIB = 1_048_576

describe('a port', () => {
  const place = { name: 'tcp-1883', host: '127.0.0.1', port: 1883 }
  const broker = { pid: 7, command: 'node tunnelmq broker', isBroker: true }
  const other = { pid: 8, command: 'mosquitto -c x', isBroker: false }
  it.each([
    ['is free', undefined, undefined, false, 'ok', /is free/],
    ['is free, and should be held', undefined, undefined, true, 'warn', /though a broker runs/],
    ['is held by the broker', 'EADDRINUSE', broker, true, 'ok', /pid 7/],
    ['is held by another program', 'EADDRINUSE', other, false, 'fail', /mosquitto -c x \(pid 8\)/],
    ['is held by somebody', 'EADDRINUSE', undefined, false, 'fail', /another user/],
    ['is held, and a broker answers', 'EADDRINUSE', undefined, true, 'ok', /as it seems/],
    ['needs a right', 'EACCES', undefined, false, 'fail', /below 1024/],
    ['is at an address that is not here', 'EADDRNOTAVAIL', undefined, false, 'fail', /no such address/],
  ] as const)('%s', (_, code, holder, isRunning, state, words) => {
    expect(judgePort(place, { code, holder }, isRunning)).toMatchObject({
      state,
      seen: expect.stringMatching(words),
    })
  })

  it('is found in the tables of Linux, and a lock as well', () => {
    const table = [
      '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode',
      '   0: 0100007F:075B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1',
      '   1: 0100007F:075B 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1',
    ].join('\n')
    expect(listeningInodes(table, 1883)).toEqual(['4711'])
    expect(listeningInodes(table, 1884)).toEqual([])
    const locks =
      '1: POSIX  ADVISORY  WRITE 99 08:01:393244 0 EOF\n2: FLOCK  ADVISORY  WRITE 98 08:01:5 0 EOF\n'
    expect(lockHolder(locks, 393_244)).toBe(99)
    expect(lockHolder(locks, 6)).toBeUndefined()
  })
})

describe('a PROXY listener', () => {
  type Listener = Parameters<typeof judgeTrust>[0]
  const listener = (more: object): Listener => {
    const input = { type: 'tcp', port: 1, name: 'p', allowAnonymous: true, ...more }
    const { listeners } = configSchema.parse({ listeners: [input] as ConfigInput['listeners'] })
    return listeners[0] as Listener
  }
  const closed = { failure: { at: 'mqtt', reason: 'the connection was closed' } } as const
  const facts: ProxyFacts = {
    isLoopbackTrusted: false,
    without: closed,
    withHeader: { connack: 0 },
    seenAddress: '192.0.2.77',
  }
  const states = (more: object, changed: Partial<ProxyFacts>): string[] =>
    judgeProxy(listener(more), { ...facts, ...changed }, { noApi: 'no key' }).map(({ state }) => state)

  it('is right when it wants a header and believes it', () => {
    expect(states({ proxyProtocol: 'required' }, {})).toEqual(['ok', 'ok'])
  })
  it('is wrong when it takes a connection without one', () => {
    expect(states({ proxyProtocol: 'required' }, { without: { connack: 0 } })).toEqual(['fail', 'ok'])
  })
  it('is wrong when it sees another address than the header names', () => {
    expect(states({ proxyProtocol: 'required' }, { seenAddress: '127.0.0.1' })).toEqual(['ok', 'fail'])
  })
  it('says when the address is not known', () => {
    const [, second] = judgeProxy(
      listener({ proxyProtocol: 'required' }),
      { ...facts, seenAddress: undefined },
      { noApi: 'no key' },
    )
    expect(second).toMatchObject({ state: 'ok', seen: expect.stringContaining('not known (no key)') })
  })
  it('does not believe this machine, if it trusts others only', () => {
    const trusted = { proxyProtocol: 'trusted', trustedProxies: ['10.0.0.0/8'] }
    expect(states(trusted, { without: { connack: 0 }, withHeader: closed })).toEqual(['ok', 'ok'])
    expect(states(trusted, { without: closed, withHeader: { connack: 0 } })).toEqual(['fail', 'fail'])
  })
  it('warns when everyone may claim any address', () => {
    const wide = { proxyProtocol: 'trusted', trustedProxies: ['0.0.0.0/0', '10.0.0.0/8', '::/0'] }
    expect(judgeTrust(listener(wide))[0]?.seen).toContain('0.0.0.0/0, ::/0')
    expect(judgeTrust(listener({ proxyProtocol: 'required', host: '0.0.0.0' }))[0]?.state).toBe('warn')
    expect(judgeTrust(listener({ proxyProtocol: 'required' }))).toEqual([])
    expect(
      judgeTrust(listener({ proxyProtocol: 'trusted', trustedProxies: ['10.1.2.3', 'fd00::/8'] }))[0]?.seen,
    ).toContain('fd00::/8')
  })
})

describe('Redis', () => {
  const info = (more: string): string =>
    `redis_version:7.2.4\r\nrole:master\r\naof_enabled:1\r\nused_memory:${MIB}\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n${more}`
  const facts: RedisFacts = {
    name: 'redis://r:6379/0',
    info: info(''),
    settings: new Map([['appendfsync', 'everysec']]),
    pingsMs: [1, 2, 3],
    clockMs: 5,
  }
  const problems = (changed: Partial<RedisFacts>): string[] =>
    judgeRedis({ ...facts, ...changed })
      .filter(({ state }) => state !== 'ok')
      .map(({ seen }) => seen)

  it('is right', () => expect(problems({})).toEqual([]))
  it('is slow', () => expect(problems({ pingsMs: [15, 20, 25] })).toEqual([expect.stringContaining('20 ms')]))
  it('has another time', () =>
    expect(problems({ clockMs: -5_000 })).toEqual(['its clock is 5000 ms behind ours']))
  it('is nearly full', () =>
    expect(problems({ info: info('').replace('maxmemory:0', `maxmemory:${MIB}`) })).toEqual([
      'it uses 1.0 MiB of 1.0 MiB (maxmemory)',
    ]))
  it('cannot write its files', () =>
    expect(problems({ info: info('aof_last_write_status:err\r\n') })).toEqual([
      expect.stringContaining('aof_last_write_status'),
    ]))
})

describe('the machine', () => {
  it.each([
    ['20.19.0', 'ok'],
    ['24.1.0', 'ok'],
    ['20.18.9', 'fail'],
    ['18.20.0', 'fail'],
    ['23.0.0', 'warn'],
  ])('with Node %s: %s', (version, state) => expect(judgeNode(version)[0]?.state).toBe(state))

  it.each([
    [400, 100_000, 'fail'],
    [1_024, 100_000, 'warn'],
    [20_000, 100_000, 'ok'],
    [20_000, 50_000, 'warn'],
    [20_000, 1_000, 'ok'],
    [Infinity, 100_000, 'ok'],
  ])('with %d open files for %d connections: %s', (limit, connections, state) =>
    expect(judgeFiles(limit, connections, 'x').state).toBe(state),
  )

  it.each([
    [512 * MIB, 300 * MIB, 'ok'],
    [512 * MIB, 30 * MIB, 'warn'],
    [300 * MIB, 200 * MIB, 'warn'],
    [300 * MIB, Number.NaN, 'warn'],
  ])('with %d bytes of memory, %d available: %s', (all, available, state) =>
    expect(judgeMemory({ all, available }, configSchema.parse({})).state).toBe(state),
  )

  it.each([
    [1_024 * MIB, 10_000 * MIB, 'ok'],
    [500 * MIB, 10_000 * MIB, 'warn'],
    [500 * MIB, 1_000 * MIB, 'ok'],
    [50 * MIB, 100 * MIB, 'fail'],
  ])('with %d bytes of %d free: %s', (free, all, state) => expect(judgeSpace(free, all).state).toBe(state))

  it('with a slow disk', () => {
    expect(judgeSync([1, 2, 300]).state).toBe('ok')
    expect(judgeSync([40, 50, 60]).state).toBe('warn')
  })

  it.each([
    [Date.UTC(2026, 10, 21), 0, true, ['ok', 'ok']],
    [Date.UTC(1970, 0, 1), 0, false, ['fail', 'warn']],
    [Date.UTC(2026, 10, 21), 3_000, undefined, ['ok', 'warn', 'skipped']],
  ])('at %d, %d ms jumped, synchronized %s', (nowMs, jumpMs, isSynchronized, states) =>
    expect(judgeClock({ nowMs, jumpMs, isSynchronized }).map(({ state }) => state)).toEqual(states),
  )
})

describe('the broker', () => {
  const view = {
    adminUrl: 'http://x',
    version: '1',
    notReadyReasons: [],
    pid: 1,
    api: undefined,
    noApi: 'no key',
  }
  const states = (...words: Parameters<typeof judgeBroker>): string[] =>
    judgeBroker(...words).map(({ state }) => state)
  const config = configSchema.parse({})
  it('that does not run is no mistake; one whose ports are held, and which does not answer, is', () => {
    expect(states(config, undefined, false)).toEqual(['skipped'])
    expect(states(config, undefined, true)).toEqual(['fail'])
  })
  it('that is not ready fails, with its reasons', () => {
    expect(states(config, { ...view, notReadyReasons: ['store'] }, true)).toEqual(['ok', 'fail', 'warn'])
  })
})

describe('the examination', () => {
  const { ok } = findingsOf('x')
  it('goes on behind a check that fails in itself', async () => {
    const told: string[] = []
    const all = await examine(
      [
        { name: 'broken', run: () => Promise.reject(new Error('no such thing')) },
        { name: 'x', run: () => Promise.resolve([ok('fine')]) },
      ],
      (findings) => told.push(...findings.map(({ seen }) => seen)),
    )
    expect(all.map(({ check, state }) => [check, state])).toEqual([
      ['broken', 'fail'],
      ['x', 'ok'],
    ])
    expect(told).toEqual(['this could not be looked at: no such thing', 'fine'])
  })
})
