import { access, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { storeCommand } from '../../../src/cli/store.ts'
import { createSilentLog } from '../../../src/log.ts'
import type { Store } from '../../../src/store/contract.ts'
import { queueKey, sessionKey } from '../../../src/store/embedded/keys.ts'
import { openLevel } from '../../../src/store/embedded/level.ts'
import { createEmbeddedStore } from '../../../src/store/embedded/store.ts'
import { message, publish, testLimits, to } from '../../support/store-fixtures.ts'
import { temporaryFolder } from '../../support/store-folder.ts'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let path: string
let store: Store

/** What the command prints. */
async function run(...args: string[]): Promise<string> {
  let printed = ''
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    printed += String(text)
    return true
  })
  try {
    await storeCommand({}).exitOverride().parseAsync(args, { from: 'user' })
  } finally {
    write.mockRestore()
  }
  return printed
}

beforeEach(async () => {
  folder = await temporaryFolder()
  path = join(folder.path, 'store')
  const log = createSilentLog()
  store = createEmbeddedStore({ path, sync: true, cacheBytes: 1_000_000, limits: testLimits, log })
  await store.open()
  const pump = await store.createSession('client', 'pump')
  await store.sessionConnected(pump, 3_600)
  const group = await store.createSession('group', 'workers/jobs/#')
  await store.putSubscriptions(pump, [{ filter: 'a/#', matchFilter: 'a/#', qos: 1 }])
  await publish(store, { message: message('a/b', 'one'), targets: to(pump, group), retain: true })
  await publish(store, { message: message('a/b', 'two\u001b[2J'), targets: to(pump) })
})

afterEach(async () => {
  process.exitCode = undefined
  await store.close()
  await folder.remove()
})

describe('with the broker stopped', () => {
  beforeEach(() => store.close())

  it('shows how much is stored', async () => {
    expect(JSON.parse(await run('stats', '--path', path, '--json'))).toMatchObject({
      sessions: 1,
      groups: 1,
      subscriptions: 1,
      queuedMessages: 3,
      queuedBytes: 13,
      retainedMessages: 1,
      problems: 0,
    })
    expect(await run('stats', '--path', path)).toMatch(/^queuedMessages +3$/m)
  })

  it('takes the folder from a configuration file', async () => {
    const config = join(folder.path, 'tunnelmq.yaml')
    await writeFile(config, `store: { path: ${path} }\nlisteners: [{ type: tcp, port: 0 }]\n`)
    expect(await run('stats', '--config', config)).toMatch(/^sessions +1$/m)
  })

  it('lists sessions and the queue of one, without control characters for the terminal', async () => {
    const sessions = await run('sessions', '--path', path)
    expect(sessions).toMatch(/^client +pump +1 +2 +10 +\d{4}-/m)
    expect(sessions).toMatch(/^group +workers\/jobs\/# /m)
    const intervals = JSON.parse(await run('sessions', '--path', path, '--json')) as {
      expirySeconds: unknown
    }[]
    expect(intervals.map(({ expirySeconds }) => expirySeconds)).toEqual([3_600, null])
    expect(sessions).toMatch(/^client .* 3600 s$/m)
    const queue = await run('queue', 'pump', '--path', path)
    expect(queue).toMatch(/^ +1 +1 +publish +a\/b +publisher .* 3 +one$/m)
    expect(queue).not.toContain('\u001b')
    const entries: unknown = JSON.parse(await run('queue', 'pump', '-n', '1', '--path', path, '--json'))
    expect(entries).toMatchObject([{ seq: 1, topic: 'a/b', payload: 'one' }])
    expect(await run('queue', 'workers/jobs/#', '--group', '--path', path)).toContain('one')
    await expect(run('queue', 'nobody', '--path', path)).rejects.toThrow('There is no client nobody')
    await expect(run('queue', 'pump', '-n', 'x', '--path', path)).rejects.toThrow('is not a count')
  })

  it('finds nothing wrong with a sound store', async () => {
    expect(await run('check', '--path', path)).toBe('0 problems, 0 mended, 2 sessions\n')
    expect(process.exitCode).toBeUndefined()
  })

  it('names every problem with exit code 1, and mends them when asked to', async () => {
    const level = await openLevel(path, { cacheBytes: 1_000_000, createIfMissing: false })
    const batch = level.begin()
    batch.put(queueKey(1, 1), Buffer.from('garbage'))
    batch.put(Buffer.from('zebra'), Buffer.from('x'))
    batch.del(sessionKey('group', 'workers/jobs/#'))
    await batch.write(true)
    await level.close()
    const found = await run('check', '--path', path)
    expect(found.split('\n')).toEqual([
      'queue entry 1 of session number 1: the value is damaged (repair: set aside)',
      'queue entry 1 of session number 2: belongs to no session (repair: delete)',
      'unknown key 7a65627261: is no key of this store (repair: set aside)',
      '3 problems, 0 mended, 1 sessions',
      '',
    ])
    expect(process.exitCode).toBe(1)
    process.exitCode = undefined
    expect(await run('check', '--path', path, '--repair')).toContain('3 problems, 3 mended')
    expect(await run('check', '--path', path)).toBe('0 problems, 0 mended, 1 sessions\n')
    expect(JSON.parse(await run('stats', '--path', path, '--json'))).toMatchObject({ setAside: 2 })
    expect(process.exitCode).toBeUndefined()
  })

  it.each([
    ['point nowhere', () => writeFile(join(path, 'CURRENT'), 'MANIFEST-999999\n')],
    ['have lost their root', () => rm(join(path, 'CURRENT'))],
  ])('mends files of LevelDB that %s, and starts no empty store in their place', async (_what, damage) => {
    await damage()
    const advice = `tunnelmq store check --repair --path ${path}`
    await expect(run('check', '--path', path)).rejects.toThrow(advice)
    const log = createSilentLog()
    const broken = createEmbeddedStore({ path, sync: true, cacheBytes: 1_000_000, limits: testLimits, log })
    await expect(broken.open()).rejects.toThrow(advice)
    expect(await run('check', '--path', path, '--repair')).toBe('0 problems, 0 mended, 2 sessions\n')
    expect(await run('stats', '--path', path)).toMatch(/^queuedMessages +3$/m)
  })

  it('makes no store where there is none', async () => {
    const nowhere = join(folder.path, 'nowhere')
    await expect(run('stats', '--path', nowhere)).rejects.toThrow(`There is no store at ${nowhere}`)
    await expect(access(nowhere)).rejects.toThrow('ENOENT')
  })
})

it('says that a broker is running when the store is in use', async () => {
  await expect(run('stats', '--path', path)).rejects.toThrow(/in use by another process: stop that broker/)
})
