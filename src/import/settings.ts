import { readFile, readdir } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { Setting } from './draft.ts'

export type Syntax =
  /** `key value`, comments only at the start of a line, `include_dir FOLDER`. */
  | 'mosquitto'
  /** `key = value`, comments anywhere, `include GLOB`. */
  | 'vernemq'

/** Stands for an include of a folder that is not there; no broker has such a key. */
export const MISSING_INCLUDE = 'include of a missing folder'

const MAX_FILE_BYTES = 4 * 1_048_576
const MAX_INCLUDES = 200

/** All settings of a file and of what it includes, in order. Throws TMQ_FILE when one cannot be read or understood. */
export async function readSettings(file: string, syntax: Syntax): Promise<Setting[]> {
  const settings: Setting[] = []
  const seen = new Set<string>()

  async function read(path: string): Promise<void> {
    const absolute = resolve(path)
    if (seen.has(absolute)) return
    if (seen.size >= MAX_INCLUDES) throw fault(path, 0, `more than ${MAX_INCLUDES} included files`)
    seen.add(absolute)
    for (const [index, raw] of (await readText(path)).split(/\r?\n/).entries()) {
      const setting = parseLine(raw, syntax, { file: path, line: index + 1 })
      if (setting === undefined) continue
      if (setting.key === 'include_dir' || (setting.key === 'include' && syntax === 'vernemq')) {
        const included = await includedBy(setting)
        for (const inner of included ?? []) await read(inner)
        if (included === undefined) settings.push({ ...setting, key: MISSING_INCLUDE })
      } else settings.push(setting)
    }
  }

  await read(file)
  return settings
}

function parseLine(raw: string, syntax: Syntax, at: { file: string; line: number }): Setting | undefined {
  // In quotes, `#` begins no comment.
  const quoted = syntax === 'vernemq' ? /^[^#=]*=\s*'[^']*'/.exec(raw)?.[0] : undefined
  const line = (quoted ?? (syntax === 'vernemq' ? raw.replace(/#.*$/, '') : raw)).trim()
  if (line === '' || line.startsWith('#')) return undefined
  const [, key, value] =
    (syntax === 'vernemq'
      ? (/^([\w.$-]+)\s*=\s*(.*)$/.exec(line) ?? /^(include)\s+(.+)$/.exec(line))
      : /^(\S+)(?:\s+(.*))?$/.exec(line)) ?? []
  if (key === undefined)
    throw fault(
      at.file,
      at.line,
      syntax === 'vernemq' ? 'not of the form key = value' : 'not of the form key value',
    )
  const text = (value ?? '').trim()
  return { key, value: syntax === 'vernemq' ? text.replace(/^'([^']*)'$/, '$1') : text, ...at }
}

/** Undefined: there is no such folder. Relative ones start from the folder of the including file, and not from wherever the broker was started. */
async function includedBy({ key, value, file, line }: Setting): Promise<string[] | undefined> {
  const place = resolve(dirname(file), value)
  const [folder, pattern] = key === 'include_dir' ? [place, '*.conf'] : [dirname(place), basename(place)]
  if (key === 'include' && !pattern.includes('*')) return [place]
  const matches = new RegExp(`^${pattern.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*')}$`)
  try {
    const names = await readdir(folder)
    return names
      .filter((name) => matches.test(name) && !name.startsWith('.'))
      .toSorted()
      .map((name) => join(folder, name))
  } catch (error) {
    // Of another machine, maybe: what is in it can be who is let in.
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw fault(file, line, `cannot read ${folder}: ${(error as Error).message}`, error)
  }
}

export async function readText(file: string): Promise<string> {
  try {
    const bytes = await readFile(file)
    if (bytes.byteLength > MAX_FILE_BYTES) throw new Error(`it is larger than ${MAX_FILE_BYTES} bytes`)
    return bytes.toString('utf8')
  } catch (error) {
    throw new TunnelMQError(ErrorCode.file, `${file} cannot be read: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

function fault(file: string, line: number, text: string, cause?: unknown): TunnelMQError {
  return new TunnelMQError(ErrorCode.file, `${file}${line > 0 ? `:${line}` : ''}: ${text}`, { cause })
}
