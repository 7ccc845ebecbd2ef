import { basename, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import { AuthError, noOpinion, RefuseReason, type ManagedHandler } from './types.ts'

const methods = [
  'authConnect',
  'authPublish',
  'authSubscribe',
  'authDeliver',
  'authTunnel',
  'connect',
  'publish',
  'subscribe',
  'unsubscribe',
  'disconnect',
  'stillAllowed',
  'explain',
  'reload',
  'close',
  'onChange',
] as const

/** Second argument of the function, so that a lone file needs no `import` of this package. */
const tools = Object.freeze({ AuthError, noOpinion, RefuseReason })

const startTimeoutMs = 30_000

export interface ModuleOptions {
  /** Absolute, or relative to the working directory: loading the configuration has made it absolute. */
  readonly file: string
  /** Handed to the function that the module exports. */
  readonly options: Readonly<Record<string, unknown>>
  readonly name?: string
  readonly timeoutMs?: number
}

/** A user's own module: its default export is a Handler, or a function (also async) of options and tools. */
export async function createModuleHandler(config: ModuleOptions): Promise<ManagedHandler> {
  const { file } = config
  const exported = await importDefault(file)
  const made =
    typeof exported === 'function'
      ? await call(file, exported, config.options, config.timeoutMs ?? startTimeoutMs)
      : exported
  if (typeof made !== 'object' || made === null) {
    throw handlerError(file, 'its default export is neither a Handler nor a function that returns one')
  }
  return bind(file, made, config.name ?? basename(file))
}

async function importDefault(file: string): Promise<unknown> {
  let module: object
  try {
    module = (await import(pathToFileURL(resolve(file)).href)) as object
  } catch (error) {
    throw handlerError(file, `cannot be loaded: ${messageOf(error)}`, error)
  }
  if (!('default' in module)) throw handlerError(file, 'has no default export')
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
    throw handlerError(file, `its function failed: ${messageOf(error)}`, error)
  } finally {
    clearTimeout(timer)
  }
}

function bind(file: string, made: object, fallbackName: string): ManagedHandler {
  refuseUnknownMethods(file, made)
  const bound: Record<string, unknown> = {}
  for (const method of methods) {
    const found: unknown = Reflect.get(made, method)
    if (found === undefined) continue
    if (typeof found !== 'function') throw handlerError(file, `${method} is not a function`)
    bound[method] = found.bind(made)
  }
  if (Object.keys(bound).length === 0) {
    throw handlerError(file, `has none of the methods of a Handler (${methods.slice(0, 10).join(', ')})`)
  }
  const name = 'name' in made && typeof made.name === 'string' && made.name !== '' ? made.name : fallbackName
  return { ...bound, name }
}

/** A misspelt auth method would silently allow: `authpublish` is an error. */
function refuseUnknownMethods(file: string, made: object): void {
  const known = new Map<string, string>(methods.map((method) => [method.toLowerCase(), method]))
  for (let level: unknown = made; isOwner(level); level = Object.getPrototypeOf(level)) {
    for (const property of Object.getOwnPropertyNames(level)) {
      const meant = known.get(property.toLowerCase())
      if (meant === property) continue
      if (meant !== undefined) throw handlerError(file, `${property} is not a method of a Handler: ${meant}?`)
      if (/^auth[A-Z]/.test(property)) {
        throw handlerError(
          file,
          `${property} is not a method of a Handler (a name of your own must not begin with "auth")`,
        )
      }
    }
  }
}

function isOwner(level: unknown): level is object {
  return typeof level === 'object' && level !== null && level !== Object.prototype
}

function handlerError(file: string, fault: string, cause?: unknown): TunnelMQError {
  return new TunnelMQError(ErrorCode.handler, `${file}: ${fault}`, { cause })
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
