import { statSync, watch, type FSWatcher } from 'node:fs'
import { realpath, stat } from 'node:fs/promises'
import { dirname } from 'node:path'

export interface FileWatcher {
  close(): void
}

export interface WatchOptions {
  readonly onChange: () => void
  /** Quiet time after the last sign of a change: files that are being written (certificate, then key) are read once. */
  readonly debounceMs?: number
  /** For file systems that tell nothing (network, bind mounts). */
  readonly pollMs?: number
}

/**
 * Tells when what is found under one of the paths changes: written in place, replaced by a rename, or by a swap of
 * symbolic links further up (Kubernetes), removed, or back again. Does not keep the process alive.
 */
export function watchFiles(paths: readonly string[], options: WatchOptions): FileWatcher {
  const { onChange, debounceMs = 200, pollMs = 10_000 } = options
  const watchers = new Map<string, FSWatcher>()
  let seen = paths.map(fingerprintSync).join()
  let debounce: NodeJS.Timeout | undefined
  let closed = false

  async function compare(): Promise<void> {
    const found = (await Promise.all(paths.map(fingerprint))).join()
    await follow()
    if (closed || found === seen) return
    seen = found
    onChange()
  }
  const compareSoon = (): void => {
    clearTimeout(debounce)
    if (!closed) debounce = setTimeout(() => void compare(), debounceMs).unref()
  }

  /** Folders, not files: a watch on a file stays with the inode. They change with the links that lead to them. */
  async function follow(): Promise<void> {
    const folders = await foldersOf(paths)
    if (closed) return
    for (const [folder, watcher] of watchers) {
      if (folders.has(folder)) continue
      watcher.close()
      watchers.delete(folder)
    }
    for (const folder of folders) open(folder)
  }

  function open(folder: string): void {
    if (watchers.has(folder)) return
    try {
      const watcher = watch(folder, { persistent: false }, compareSoon)
      // For example, the folder has been removed: polling goes on without it.
      watcher.on('error', () => {
        watcher.close()
        watchers.delete(folder)
      })
      watchers.set(folder, watcher)
    } catch {
      // No such folder just now, or no more inotify watches: polling goes on without it.
    }
  }

  const poll = setInterval(() => void compare(), pollMs).unref()
  for (const path of paths) open(dirname(path))
  void follow()

  return {
    close() {
      closed = true
      clearTimeout(debounce)
      clearInterval(poll)
      for (const watcher of watchers.values()) watcher.close()
    },
  }
}

/** Where each file is named, and where it lies once links are followed. */
async function foldersOf(paths: readonly string[]): Promise<Set<string>> {
  const folders = new Set(paths.map((path) => dirname(path)))
  for (const path of paths) {
    try {
      folders.add(dirname(await realpath(path)))
    } catch {
      // Away for the moment of its replacement: its named folder will tell.
    }
  }
  return folders
}

interface FileFacts {
  readonly dev: bigint
  readonly ino: bigint
  readonly size: bigint
  readonly mtimeNs: bigint
  readonly ctimeNs: bigint
}

async function fingerprint(path: string): Promise<string> {
  return stat(path, { bigint: true }).then(describe, () => 'missing')
}

function fingerprintSync(path: string): string {
  const facts = statSync(path, { bigint: true, throwIfNoEntry: false })
  return facts === undefined ? 'missing' : describe(facts)
}

function describe({ dev, ino, size, mtimeNs, ctimeNs }: FileFacts): string {
  return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`
}
