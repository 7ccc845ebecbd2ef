import { readFile } from 'node:fs/promises'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { Log } from '../log.ts'
import { watchFiles } from '../watch-files.ts'
import { hashKey, isSameHash, LOCAL_KEY_NAME, nameInKey } from './api-key.ts'
import { parseKeyFile, type StoredKey } from './key-file.ts'
import type { Scope } from './api/scopes.ts'

/** The keys that are good now: those of the file, and the one of this process. */
export interface Keys {
  /** The key of that text, unless it has expired. */
  find(text: string): Found
  /** Reads the file again. Rejects with TMQ_FILE, and keeps the keys that there were, if it is bad. */
  reload(): Promise<void>
  setLocal(text: string | undefined): void
  close(): void
}

export type Found =
  | { readonly kind: 'good'; readonly key: StoredKey }
  | { readonly kind: 'wrong' }
  | { readonly kind: 'expired'; readonly key: StoredKey }

export interface KeysOptions {
  /** Undefined: there is none but the local one. */
  readonly file: string | undefined
  readonly log: Log
  /** `Date.now` */
  readonly now: () => number
  readonly watch?: { readonly debounceMs: number; readonly pollMs: number }
}

/** A file that is not there holds no keys yet. Rejects with TMQ_FILE if it cannot be read, or has a mistake. */
export async function openKeys({ file, log, now, watch }: KeysOptions): Promise<Keys> {
  let stored = file === undefined ? new Map<string, StoredKey>() : await read(file)
  let local: StoredKey | undefined

  async function reload(): Promise<void> {
    if (file === undefined) return
    stored = await read(file)
    log.info({ file, keys: stored.size }, 'API keys read')
  }
  const watcher =
    file === undefined
      ? undefined
      : watchFiles([file], {
          ...watch,
          onChange: () =>
            void reload().catch((error: unknown) =>
              log.error({ err: error }, 'API keys not read again: the old ones stay'),
            ),
        })

  return {
    find(text) {
      const name = nameInKey(text)
      const key = name === LOCAL_KEY_NAME ? local : stored.get(name ?? '')
      // Also when there is no such name: which names there are is not told by the time it takes.
      const isRight = isSameHash(hashKey(text), key?.hash ?? noHash)
      if (!isRight || key === undefined) return { kind: 'wrong' }
      const isOver = key.expiresAtMs !== undefined && key.expiresAtMs <= now()
      return { kind: isOver ? 'expired' : 'good', key }
    },
    reload,
    setLocal(text) {
      local = text === undefined ? undefined : localKey(text, now())
    },
    close: () => watcher?.close(),
  }
}

const noHash = Buffer.alloc(32)

function localKey(text: string, nowMs: number): StoredKey {
  const scopes = new Set<Scope>(['admin'])
  return { name: LOCAL_KEY_NAME, hash: hashKey(text), scopes, createdAtMs: nowMs, expiresAtMs: undefined }
}

/** `admin` holds all scopes. */
export function hasScope(key: StoredKey, scope: Scope): boolean {
  return key.scopes.has(scope) || key.scopes.has('admin')
}

async function read(file: string): Promise<Map<string, StoredKey>> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return new Map()
    const why = error instanceof Error ? error.message : String(error)
    throw new TunnelMQError(ErrorCode.file, `${file}: cannot be read: ${why}`, { cause: error })
  }
  return parseKeyFile(text, file)
}
