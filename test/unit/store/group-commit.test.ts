import { expect, it, vi } from 'vitest'
import { GroupCommit } from '../../../src/store/embedded/group-commit.ts'
import { PATIENCE } from '../../support/eventually.ts'

/** A disk that finishes each write when the test says so. */
function setUp() {
  const log: string[] = []
  const pending: { succeed(): void; fail(): void }[] = []
  const commit = new GroupCommit<ReturnType<typeof begin>, ReturnType<typeof write>>({
    sync: true,
    begin,
    onFailure: (error, writes) => {
      log.push(`failure ${error.message}`)
      for (const one of writes) one.settle(error)
    },
    onFault: () => log.push('fault'),
  })

  function begin() {
    const names: string[] = []
    return {
      names,
      get isEmpty() {
        return names.length === 0
      },
      get bytes() {
        return names.join('').length
      },
      write: (sync: boolean) =>
        new Promise<void>((resolve, reject) => {
          log.push(`write ${names.join()}${sync ? ' synced' : ''}`)
          pending.push({ succeed: resolve, fail: () => reject(new Error('broken')) })
        }),
      discard: () => void log.push(`discard ${names.join()}`),
    }
  }

  function write(name: string, durable = true) {
    return {
      durable,
      putInto: (batch: { names: string[] }) => {
        if (name === 'bad') throw new Error('cannot be encoded')
        if (name !== '') batch.names.push(name)
      },
      settle: (error: Error | undefined) => {
        log.push(`${name || 'nothing'} ${error === undefined ? 'done' : 'failed'}`)
        if (name === 'throws') throw new Error('from a callback')
      },
    }
  }

  const add = (...args: Parameters<typeof write>): void => commit.add(write(...args))
  const disk = async (what: 'succeed' | 'fail'): Promise<void> => {
    await vi.waitFor(() => expect(pending.length).toBeGreaterThan(0), PATIENCE)
    pending.shift()?.[what]()
  }
  const until = (length: number): Promise<void> => vi.waitFor(() => expect(log.length).toBe(length), PATIENCE)
  return { commit, log, add, disk, until }
}

it('writes what came in one turn together, and what came meanwhile in the next commit', async () => {
  const { commit, log, add, disk, until } = setUp()
  add('a')
  add('b')
  expect(log).toEqual([])
  await until(1)
  add('c')
  add('d')
  expect(commit).toMatchObject({ pendingWrites: 4, pendingBytes: 4 })
  await disk('succeed')
  await disk('succeed')
  await until(6)
  expect(log).toEqual(['write a,b synced', 'write c,d synced', 'a done', 'b done', 'c done', 'd done'])
  expect(commit).toMatchObject({ pendingWrites: 0, pendingBytes: 0, commits: 2 })
})

it('syncs only when a write of the commit asks for it', async () => {
  const { log, add, disk, until } = setUp()
  add('acknowledge', false)
  await disk('succeed')
  await until(2)
  add('acknowledge', false)
  add('publish', true)
  await disk('succeed')
  await until(5)
  expect(log.filter((line) => line.startsWith('write'))).toEqual([
    'write acknowledge',
    'write acknowledge,publish synced',
  ])
})

it('answers a write of nothing in its turn, without the disk when nothing goes with it', async () => {
  const { commit, log, add, disk, until } = setUp()
  add('')
  await until(2)
  expect(log).toEqual(['discard ', 'nothing done'])
  add('a')
  add('')
  await disk('succeed')
  await until(5)
  expect(log.slice(2)).toEqual(['write a synced', 'a done', 'nothing done'])
  expect(commit.commits).toBe(1)
})

it('fails everything that waits when a commit fails, and starts nothing more until it is resumed', async () => {
  const { commit, log, add, disk, until } = setUp()
  add('a')
  await until(1)
  add('b')
  await disk('fail')
  await until(5)
  expect(log).toEqual(['write a synced', 'discard b', 'failure broken', 'a failed', 'b failed'])
  expect(commit.pendingWrites).toBe(0)
  commit.resume()
  add('c')
  await disk('succeed')
  await until(7)
  expect(log.slice(5)).toEqual(['write c synced', 'c done'])
})

it('goes on with the others when a callback throws, and does not take a write that cannot be encoded', async () => {
  const { log, add, disk, until } = setUp()
  add('throws')
  expect(() => add('bad')).toThrow('cannot be encoded')
  add('b')
  await disk('succeed')
  await until(4)
  expect(log).toEqual(['write throws,b synced', 'throws done', 'fault', 'b done'])
})
