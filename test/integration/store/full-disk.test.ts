import { execFile, spawn } from 'node:child_process'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { createSilentLog } from '../../../src/log.ts'
import { createEmbeddedStore } from '../../../src/store/embedded/store.ts'
import { type CompiledProgram, compileProgram } from '../../support/compile-program.ts'
import { testLimits, wholeQueue } from '../../support/store-fixtures.ts'
import { temporaryFolder } from '../../support/store-folder.ts'

const run = promisify(execFile)

let program: CompiledProgram
let folder: Awaited<ReturnType<typeof temporaryFolder>>
/** Takes away what fills the disk. */
let makeRoom: ((writerId: number) => Promise<void>) | undefined
let mounted: string | undefined

/**
 * A small disk: a tmpfs where we may mount one; else a limit on the size of files (`prlimit`), which fails
 * writes in the same place, and can be raised from outside.
 */
async function smallDisk(): Promise<{ path: string; command: [file: string, ...words: string[]] }> {
  const disk = join(folder.path, 'disk')
  await mkdir(disk)
  try {
    await run('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', disk])
    mounted = disk
    const filler = join(disk, 'filler')
    await writeFile(filler, Buffer.alloc(2_000_000))
    makeRoom = () => rm(filler)
    return { path: join(disk, 'store'), command: [process.execPath] }
  } catch (error) {
    if (mounted !== undefined) throw error
    // A soft limit: its owner may raise it again. Without prlimit the spawn fails, and so does the test.
    makeRoom = async (writerId) => {
      await run('prlimit', ['--pid', String(writerId), '--fsize=unlimited:unlimited'])
    }
    return {
      path: join(disk, 'store'),
      command: ['prlimit', '--fsize=500000:unlimited', process.execPath],
    }
  }
}

beforeAll(async () => {
  program = await compileProgram(fileURLToPath(new URL('../../support/store-writer.ts', import.meta.url)))
})

afterAll(() => program.remove())

beforeEach(async () => {
  folder = await temporaryFolder()
})

afterEach(async () => {
  if (mounted !== undefined) await run('umount', [mounted])
  mounted = undefined
  await folder.remove()
})

it('acknowledges nothing on a full disk, says why, and goes on when there is room', async () => {
  const { path, command } = await smallDisk()
  const [file, ...words] = command
  const writer = spawn(file, [...words, program.file, path, '1', 'recover', '2000'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = new Promise<number | null>((resolve) => writer.once('exit', resolve))
  const safe: number[] = []
  const reasons: string[] = []
  let again = 0
  try {
    for await (const line of createInterface({ input: writer.stdout })) {
      const [word = '', ...rest] = line.split(' ')
      if (word === 'safe') safe.push(Number(rest[0]))
      else if (word === 'again') again = Number(rest[0])
      else if (reasons.push(rest.join(' ')) === 1) await makeRoom?.(writer.pid ?? 0)
    }
    expect(await exited).toBe(0)
  } finally {
    writer.kill('SIGKILL')
  }
  expect(reasons[0]).toMatch(/not available: .*(No space left on device|File too large)/)
  expect(safe.length).toBeGreaterThan(50)
  expect(again).toBeGreaterThan(safe.length)
  const limits = { ...testLimits, queueMaxMessages: 1e9, queueMaxBytes: 1e12 }
  const store = createEmbeddedStore({
    path,
    sync: true,
    cacheBytes: 1_000_000,
    limits,
    log: createSilentLog(),
  })
  await store.open()
  const session = store.sessions.get('client')
  const stored = session === undefined ? [] : await wholeQueue(store, session)
  await store.close()
  const numbers = new Set(stored.map((entry) => Number.parseInt(entry.message?.payload.toString() ?? '', 10)))
  expect([...safe, again].filter((number) => !numbers.has(number))).toEqual([])
})
