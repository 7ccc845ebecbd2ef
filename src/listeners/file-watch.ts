import { watch, type FSWatcher } from 'node:fs'
import { realpath } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Editors and tools write in several steps (certificate, then key): wait until they are quiet. */
const QUIET_MS = 300
/** Some file systems tell nothing (NFS), and a folder may be replaced under its watch: look anyway. */
const POLL_MS = 60_000

export interface FileWatch {
  close(): void
}

/**
 * Calls `changed` when one of the files may have changed: only a hint, so the caller compares contents.
 * Folders are watched rather than files, since a file that is replaced by a rename (or, as in Kubernetes, by swapping
 * a symbolic link beside it) leaves a watch on the old one.
 */
export function watchFiles(files: readonly string[], changed: () => void, pollMs = POLL_MS): FileWatch {
  const watchers = new Map<string, FSWatcher>()
  let quietTimer: NodeJS.Timeout | undefined
  let closed = false

  function hint(): void {
    clearTimeout(quietTimer)
    quietTimer = setTimeout(() => {
      void follow()
      changed()
    }, QUIET_MS)
    quietTimer.unref()
  }

  /** The folders change with the links that lead to them. */
  async function follow(): Promise<void> {
    const folders = await foldersOf(files)
    if (closed) return
    for (const [folder, watcher] of watchers) {
      if (folders.has(folder)) continue
      watcher.close()
      watchers.delete(folder)
    }
    for (const folder of folders) {
      if (!watchers.has(folder)) open(folder)
    }
  }

  function open(folder: string): void {
    try {
      const watcher = watch(folder, { persistent: false }, hint)
      // For example, the folder has been removed: the poll goes on without it.
      watcher.on('error', () => {
        watcher.close()
        watchers.delete(folder)
      })
      watchers.set(folder, watcher)
    } catch {
      // No such folder just now, or the system's watches are used up: the poll goes on without it.
    }
  }

  const pollTimer = setInterval(hint, pollMs)
  pollTimer.unref()
  for (const file of files) {
    const folder = dirname(file)
    if (!watchers.has(folder)) open(folder)
  }
  void follow()

  return {
    close() {
      closed = true
      clearTimeout(quietTimer)
      clearInterval(pollTimer)
      for (const watcher of watchers.values()) watcher.close()
    },
  }
}

/** Where each file is named, and where it lies once links are followed. */
async function foldersOf(files: readonly string[]): Promise<Set<string>> {
  const folders = new Set(files.map((file) => dirname(file)))
  for (const file of files) {
    try {
      folders.add(dirname(await realpath(file)))
    } catch {
      // Away for the moment of its replacement: its named folder will tell.
    }
  }
  return folders
}
