import { basename } from 'node:path'
import { bindMethods, loadModule, moduleError, nameOf, propertiesOf, type ModuleFile } from './module-file.ts'
import type { ManagedHandler } from './types.ts'

const methods = [
  'authConnect',
  'authenticate',
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

export interface ModuleOptions extends ModuleFile {
  readonly name?: string
}

/** A user's own module: its default export is a Handler, or a function (also async) of options and tools. */
export async function createModuleHandler(config: ModuleOptions): Promise<ManagedHandler> {
  const { file } = config
  const made = await loadModule(config, 'a Handler')
  refuseUnknownMethods(file, made)
  const bound = bindMethods(file, made, methods)
  if (Object.keys(bound).length === 0) {
    throw moduleError(file, `has none of the methods of a Handler (${methods.slice(0, 11).join(', ')})`)
  }
  const { authMethods } = made as { authMethods?: unknown }
  if (authMethods !== undefined && !isTexts(authMethods))
    throw moduleError(file, 'authMethods is not a list of texts')
  return {
    ...bound,
    ...(authMethods !== undefined && { authMethods }),
    name: nameOf(made, config.name ?? basename(file)),
  }
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}

/** A misspelt auth method would silently allow: `authpublish` is an error. */
function refuseUnknownMethods(file: string, made: object): void {
  const known = new Map<string, string>(
    [...methods, 'authMethods'].map((method) => [method.toLowerCase(), method]),
  )
  for (const property of propertiesOf(made)) {
    const meant = known.get(property.toLowerCase())
    if (meant === property) continue
    if (meant !== undefined) throw moduleError(file, `${property} is not a method of a Handler: ${meant}?`)
    if (/^auth[A-Z]/.test(property)) {
      throw moduleError(
        file,
        `${property} is not a method of a Handler (a name of your own must not begin with "auth")`,
      )
    }
  }
}
