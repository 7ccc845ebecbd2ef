import { readFile } from 'node:fs/promises'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { HandlerLog } from './log.ts'
import type { ManagedHandler } from './types.ts'
import { watchFiles, type FileWatcher, type WatchOptions } from '../watch-files.ts'

/** A parsed file of rights that is read again when it changes. */
export interface RightsFile<Rights> {
  readonly current: Rights
  /** Reads again; rejects when the file is not usable, and `current` stays. */
  reload(): Promise<void>
  /** The listener runs after `current` has changed. */
  onChange(listener: () => void): void
  close(): void
}

/** What a handler leaves to its file. */
export function partsOfRightsFile(
  rights: RightsFile<unknown>,
): Required<Pick<ManagedHandler, 'reload' | 'onChange' | 'close'>> {
  return {
    reload: () => rights.reload(),
    onChange: (listener) => rights.onChange(listener),
    close: () => {
      rights.close()
      return Promise.resolve()
    },
  }
}

export interface RightsFileOptions<Rights> {
  readonly file: string
  /** Throws a TunnelMQError that names file and line. */
  readonly parse: (text: string) => Rights
  readonly log: HandlerLog
  readonly watch?: Omit<WatchOptions, 'onChange'>
}

export async function openRightsFile<Rights>(
  options: RightsFileOptions<Rights>,
): Promise<RightsFile<Rights>> {
  const { file, parse, log } = options
  const listeners: (() => void)[] = []
  let closed = false
  // Before the first read, so that no change falls between the two.
  const watcher: FileWatcher = watchFiles([file], {
    ...options.watch,
    onChange: () => {
      reload().catch((error: unknown) =>
        log.error({ file, err: error }, 'file not usable; the rights from before stay in force'),
      )
    },
  })

  let text: string
  let current: Rights
  try {
    text = await readText(file)
    current = parse(text)
  } catch (error) {
    watcher.close()
    throw error
  }

  let queue: Promise<void> = Promise.resolve()
  function reload(): Promise<void> {
    const next = queue.then(readAgain)
    queue = next.catch(() => undefined)
    return next
  }

  async function readAgain(): Promise<void> {
    const found = await readText(file)
    if (closed || found === text) return
    current = parse(found)
    text = found
    log.info({ file }, 'file read again')
    for (const listener of listeners) listener()
  }

  return {
    get current() {
      return current
    },
    reload,
    onChange(listener) {
      listeners.push(listener)
    },
    close() {
      closed = true
      watcher.close()
    },
  }
}

async function readText(file: string): Promise<string> {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(await readFile(file))
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new TunnelMQError(ErrorCode.file, `${file}: cannot be read: ${why}`, { cause: error })
  }
}

/** A mistake in a file, with the place an editor can jump to. */
export function lineError(file: string, lineNumber: number, fault: string): TunnelMQError {
  return new TunnelMQError(ErrorCode.file, `${file}:${lineNumber}: ${fault}`)
}
