import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import { AuthError, noOpinion, RefuseReason } from './types.ts'

/** Second argument of the function, so that a lone file needs no `import` of this package. */
const tools = Object.freeze({ AuthError, noOpinion, RefuseReason })

const startTimeoutMs = 30_000

export interface ModuleFile {
  /** Absolute, or relative to the working directory: loading the configuration has made it absolute. */
  readonly file: string
  /** Handed to the function that the module exports. */
  readonly options: Readonly<Record<string, unknown>>
  readonly timeoutMs?: number
}

/**
 * The default export of a user's module, or what the function that it is (also async) makes of options and tools.
 * `what` is what it should be, for messages: `a Handler`.
 * @throws {TunnelMQError} TMQ_HANDLER, naming the file.
 */
export async function loadModule(
  { file, options, timeoutMs = startTimeoutMs }: ModuleFile,
  what: string,
): Promise<object> {
  const exported = await importDefault(file)
  const made = typeof exported === 'function' ? await call(file, exported, options, timeoutMs) : exported
  if (typeof made !== 'object' || made === null) {
    throw moduleError(file, `its default export is neither ${what} nor a function that returns one`)
  }
  return made
}

/** Its methods of these names, bound. @throws {TunnelMQError} when one of them is something else. */
export function bindMethods(file: string, made: object, methods: readonly string[]): Record<string, unknown> {
  const bound: Record<string, unknown> = {}
  for (const method of methods) {
    const found: unknown = Reflect.get(made, method)
    if (found === undefined) continue
    if (typeof found !== 'function') throw moduleError(file, `${method} is not a function`)
    bound[method] = found.bind(made)
  }
  return bound
}

export function nameOf(made: object, fallback: string): string {
  return 'name' in made && typeof made.name === 'string' && made.name !== '' ? made.name : fallback
}

/** Every name of a property, also of its classes. */
export function* propertiesOf(made: object): Generator<string> {
  for (let level: unknown = made; isOwner(level); level = Object.getPrototypeOf(level)) {
    yield* Object.getOwnPropertyNames(level)
  }
}

function isOwner(level: unknown): level is object {
  return typeof level === 'object' && level !== null && level !== Object.prototype
}

async function importDefault(file: string): Promise<unknown> {
  let module: object
  try {
    module = (await import(pathToFileURL(resolve(file)).href)) as object
  } catch (error) {
    throw moduleError(file, `cannot be loaded: ${messageOf(error)}`, error)
  }
  if (!('default' in module)) throw moduleError(file, 'has no default export')
  return module.default
}

async function call(
  file: string,
  // oxlint-disable-next-line typescript/no-unsafe-function-type -- a user's function: only calling it shows what it is
  make: Function,
  options: Readonly<Record<string, unknown>>,
  timeoutMs: number,
): Promise<unknown> {
  let timer: NodeJS.Timeout | undefined
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no handler within ${timeoutMs} ms`)), timeoutMs)
  })
  try {
    return await Promise.race([
      Promise.resolve(Reflect.apply(make, undefined, [options, tools]) as unknown),
      deadline,
    ])
  } catch (error) {
    throw moduleError(file, `its function failed: ${messageOf(error)}`, error)
  } finally {
    clearTimeout(timer)
  }
}

export function moduleError(file: string, fault: string, cause?: unknown): TunnelMQError {
  return new TunnelMQError(ErrorCode.handler, `${file}: ${fault}`, { cause })
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
