import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type { ScriptArgument, ScriptReply } from './contract.ts'
import { Refusal } from './refusal.ts'

/** The Lua files stand beside this module, in src as in dist. */
const folder = new URL('./lua/', import.meta.url)

export interface ScriptBounds {
  /** Entries of the log that are kept. */
  readonly logMax: number
  readonly inboxMaxBytes: number
}

export interface Script {
  readonly name: string
  readonly text: string
  readonly sha: string
}

/** Sends one command; rejects with {@link Refusal} when Redis refuses it. */
export type SendCommand = (name: string, args: readonly ScriptArgument[]) => Promise<ScriptReply>

/**
 * The scripts of lua/, as Redis gets them: a `#!lua` line, the bounds, lib.lua, lib-*.lua, and the file. The file's own first
 * line may say `#!lua flags=...`. Without flags Redis refuses a script as a whole while it is out of memory, before
 * anything is written; that is what makes a batch atomic.
 *
 * `apply` has all op-*.lua above it, and a variant that goes on when memory is out, for ops that free it.
 */
export class Scripts {
  readonly #bounds: string
  readonly #lib: string
  readonly #made = new Map<string, Script>()

  constructor(bounds: ScriptBounds) {
    this.#bounds = `local LOG_MAX, INBOX_MAX_BYTES = ${bounds.logMax}, ${bounds.inboxMaxBytes}`
    this.#lib = [read('lib.lua'), ...filesOf('lib-')].join('\n')
  }

  /** Throws TMQ_USAGE when there is no such file. */
  get(name: string): Script {
    const made = this.#made.get(name) ?? this.#make(name)
    this.#made.set(name, made)
    return made
  }

  /** For batches whose ops all free memory. */
  get applyFreeing(): Script {
    return this.get('apply allow-oom')
  }

  /** Every script there is: Redis compiles it when it is loaded, and says what is wrong. */
  all(): readonly Script[] {
    const names = readdirSync(folder).filter(
      (file) => file.endsWith('.lua') && !/^(op-|lib-|lib\.)/.test(file),
    )
    const mains = names.map((file) => file.slice(0, -'.lua'.length))
    return [...mains.map((name) => this.get(name)), this.applyFreeing]
  }

  #make(name: string): Script {
    const [file = '', flags] = name.split(' ')
    let main: string
    try {
      main = read(`${file}.lua`)
    } catch (error) {
      throw new TunnelMQError(ErrorCode.usage, `There is no Redis script ${file}`, { cause: error })
    }
    const shebang = main.startsWith('#!') ? main.slice(0, main.indexOf('\n')) : '#!lua'
    const ops = file === 'apply' ? filesOf('op-') : []
    const text = [
      flags === undefined ? shebang : `${shebang} flags=${flags}`,
      this.#bounds,
      this.#lib,
      // Each in a scope of its own: a function has room for 200 local names.
      ...ops.map((op) => `do\n${op}\nend`),
      main.startsWith('#!') ? main.slice(main.indexOf('\n')) : main,
    ].join('\n')
    return { name, text, sha: createHash('sha1').update(text).digest('hex') }
  }
}

function read(file: string): string {
  return readFileSync(new URL(file, folder), 'utf8')
}

function filesOf(kind: 'op-' | 'lib-'): string[] {
  const files = readdirSync(folder).filter((file) => file.startsWith(kind) && file.endsWith('.lua'))
  return files.toSorted().map(read)
}

/** Runs a script with the prefix as its only key. Redis forgets scripts when it starts, and is told again. */
export async function runScript(
  send: SendCommand,
  script: Script,
  prefix: string,
  args: readonly ScriptArgument[],
): Promise<ScriptReply> {
  try {
    return await send('evalsha', [script.sha, 1, prefix, ...args])
  } catch (error) {
    if (!(error instanceof Refusal) || error.kind !== 'NOSCRIPT') throw error
    return send('eval', [script.text, 1, prefix, ...args])
  }
}
