import { appendFile, mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { watchFiles, type FileWatcher } from '../../src/watch-files.ts'
import { PATIENCE } from '../support/eventually.ts'

let folder: string
let file: string
let watcher: FileWatcher | undefined
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tunnelmq-'))
  file = join(folder, 'file')
  await writeFile(file, 'one')
})
afterEach(async () => {
  watcher?.close()
  watcher = undefined
  await rm(folder, { recursive: true })
})

function watched(path: string, pollMs = 60_000) {
  const onChange = vi.fn()
  watcher = watchFiles([path], { onChange, debounceMs: 5, pollMs })
  return {
    onChange,
    /** It has told since the last look. More than once is possible: creating and writing are two changes. */
    told: async () => {
      await vi.waitFor(() => expect(onChange).toHaveBeenCalled(), PATIENCE)
      onChange.mockClear()
    },
  }
}

describe('watchFiles', () => {
  it('tells of a file that is written in place, removed, and there again', async () => {
    const { told } = watched(file)
    await appendFile(file, 'more')
    await told()
    await rm(file)
    await told()
    await writeFile(file, 'third')
    await told()
  })

  it('goes on telling after the file was replaced by a rename', async () => {
    const { told } = watched(file)
    for (const round of [1, 2, 3]) {
      await writeFile(join(folder, 'new'), `round ${round}`)
      await rename(join(folder, 'new'), file)
      await told()
    }
  })

  it('tells of a swap of symbolic links, as Kubernetes does it', async () => {
    for (const version of ['v1', 'v2']) {
      await mkdir(join(folder, version))
      await writeFile(join(folder, version, 'secret'), version)
    }
    await symlink('v1', join(folder, '..data'))
    await symlink('..data/secret', join(folder, 'secret'))
    const { told } = watched(join(folder, 'secret'))
    await symlink('v2', join(folder, '..data_tmp'))
    await rename(join(folder, '..data_tmp'), join(folder, '..data'))
    await told()
  })

  it('finds by polling what the file system does not tell', async () => {
    const elsewhere = await mkdtemp(join(tmpdir(), 'tunnelmq-'))
    await writeFile(join(elsewhere, 'target'), 'one')
    await symlink(join(elsewhere, 'target'), join(folder, 'link'))
    const { told } = watched(join(folder, 'link'), 10)
    await writeFile(join(elsewhere, 'target'), 'two!')
    await told()
    await rm(elsewhere, { recursive: true })
  })

  it('waits for a folder that is not there yet', async () => {
    const { told } = watched(join(folder, 'later', 'file'), 10)
    await mkdir(join(folder, 'later'))
    await writeFile(join(folder, 'later', 'file'), 'x')
    await told()
  })

  it('says nothing of other files in the folder, nor after it was closed', async () => {
    const { onChange } = watched(file)
    const other = vi.fn()
    const otherWatcher = watchFiles([join(folder, 'other')], { onChange: other, debounceMs: 20 })
    await writeFile(join(folder, 'other'), 'x')
    await vi.waitFor(() => expect(other).toHaveBeenCalled(), PATIENCE)
    other.mockClear()
    expect(onChange).not.toHaveBeenCalled()
    watcher?.close()
    await writeFile(file, 'changed')
    await appendFile(join(folder, 'other'), 'y')
    await vi.waitFor(() => expect(other).toHaveBeenCalled(), PATIENCE)
    otherWatcher.close()
    expect(onChange).not.toHaveBeenCalled()
  })
})
