import { statSync, watch, type FSWatcher } from 'node:fs'
import { stat } from 'node:fs/promises'
import { dirname } from 'node:path'

export interface FileWatcher {
  close(): void
}

export interface WatchOptions {
  readonly onChange: () => void
  /** Quiet time after the last sign of a change: a file that is being written is read once, when it is whole. */
  readonly debounceMs?: number
  /** For file systems that tell nothing (network, bind mounts). */
  readonly pollMs?: number
}

/**
 * Tells when what is found under a path changes: written in place, replaced by a rename, or by a swap of symbolic
 * links further up (Kubernetes), removed, or back again. Does not keep the process alive.
 */
export function watchFile(path: string, options: WatchOptions): FileWatcher {
  const { onChange, debounceMs = 100, pollMs = 10_000 } = options
  let seen = fingerprintSync(path)
  let debounce: NodeJS.Timeout | undefined
  let closed = false

  async function compare(): Promise<void> {
    const found = await fingerprint(path)
    if (closed || found === seen) return
    seen = found
    onChange()
  }
  const compareSoon = () => {
    clearTimeout(debounce)
    if (!closed) debounce = setTimeout(() => void compare(), debounceMs).unref()
  }

  const poll = setInterval(() => void compare(), pollMs).unref()
  // The folder, not the file: a watch on a file stays with the inode, and misses the rename of another onto it.
  const watcher = watchFolder(dirname(path), compareSoon)

  return {
    close() {
      closed = true
      clearTimeout(debounce)
      clearInterval(poll)
      watcher?.close()
    },
  }
}

function watchFolder(folder: string, changed: () => void): FSWatcher | undefined {
  try {
    const watcher = watch(folder, { persistent: false }, changed)
    // No more inotify watches, or the folder is gone: polling goes on.
    watcher.on('error', () => watcher.close())
    return watcher
  } catch {
    return undefined
  }
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
