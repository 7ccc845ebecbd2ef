import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, readdir, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { createSilentLog } from '../../../src/log.ts'
import type { Store } from '../../../src/store/contract.ts'
import { createEmbeddedStore } from '../../../src/store/embedded/store.ts'
import { message, publish, testLimits, to, wholeQueue } from '../../support/store-fixtures.ts'
import { temporaryFolder } from '../../support/store-folder.ts'
import { type CompiledProgram, compileProgram } from '../../support/compile-program.ts'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let program: CompiledProgram
let child: ChildProcess | undefined

const limits = { ...testLimits, queueMaxMessages: 1e9, queueMaxBytes: 1e12 }
const create = (path: string): Store =>
  createEmbeddedStore({ path, sync: true, cacheBytes: 1_000_000, limits, log: createSilentLog() })

async function storedNumbers(path: string): Promise<number[]> {
  const store = create(path)
  await store.open()
  const session = store.sessions.get('client')
  const entries = session === undefined ? [] : await wholeQueue(store, session)
  await store.close()
  return entries.map((entry) => Number.parseInt(entry.message?.payload.toString() ?? '', 10))
}

beforeAll(async () => {
  const source = new URL('../../support/store-writer.ts', import.meta.url)
  program = await compileProgram(fileURLToPath(source))
})

afterAll(() => program.remove())

beforeEach(async () => {
  folder = await temporaryFolder()
})

afterEach(async () => {
  child?.kill('SIGKILL')
  await folder.remove()
})

it('loses nothing that it has said to be safe, killed 20 times', async () => {
  const path = join(folder.path, 'store')
  const safe = new Set<number>()
  let first = 1
  for (let round = 0; round < 20; round++) {
    const writer = spawn(process.execPath, [program.file, path, String(first)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    child = writer
    // Killed once it has said so many: in the middle of a commit, wherever that is.
    const killAfter = 1 + Math.floor(Math.random() * 150)
    let said = 0
    for await (const line of createInterface({ input: writer.stdout })) {
      const number = Number(line.replace('safe ', ''))
      safe.add(number)
      first = Math.max(first, number + 1_000)
      if (++said === killAfter) writer.kill('SIGKILL')
    }
    if (writer.exitCode === null && writer.signalCode === null) await once(writer, 'exit')
    expect(writer.signalCode).toBe('SIGKILL')
  }
  const stored = await storedNumbers(path)
  expect(new Set(stored).size).toBe(stored.length)
  expect([...safe].filter((number) => !stored.includes(number))).toEqual([])
  expect(safe.size).toBeGreaterThan(20)
  expect(stored).toEqual([...stored].sort((a, b) => a - b))
})

it('opens with a log that was cut anywhere, with all that was synced before the cut', async () => {
  const path = join(folder.path, 'store')
  const store = create(path)
  await store.open()
  const session = await store.createSession('client', 'client')
  const newestLog = async (): Promise<string> => {
    const logs = (await readdir(path)).filter((name) => name.endsWith('.log')).sort()
    return join(path, logs.at(-1) ?? '')
  }
  const syncedBytes: number[] = []
  for (let i = 0; i < 200; i++) {
    await publish(store, { message: message('a', `${i}`), targets: to(session) })
    syncedBytes.push((await stat(await newestLog())).size)
  }
  const log = await newestLog()
  for (let round = 0; round < 15; round++) {
    const copy = join(folder.path, `copy-${round}`)
    await cp(path, copy, { recursive: true, filter: (file) => !file.endsWith('LOCK') })
    const keptBytes = Math.floor(Math.random() * (syncedBytes.at(-1) ?? 0))
    await truncate(log.replace(path, copy), keptBytes)
    const expected = syncedBytes.flatMap((bytes, i) => (bytes <= keptBytes ? [i] : []))
    expect(await storedNumbers(copy)).toEqual(expected)
  }
  await store.close()
})
