import { basename } from 'node:path'
import type { ListenerConfig } from '../config/schema.ts'
import type { InterceptorPlace, ManagedInterceptor } from './interceptor.ts'
import { bindMethods, loadModule, moduleError, nameOf, propertiesOf, type ModuleFile } from './module-file.ts'

const methods = ['intercept', 'reload', 'close'] as const

export interface PlacedInterceptor {
  readonly at: InterceptorPlace
  readonly interceptor: ManagedInterceptor
}

/** A user's own module: its default export is an Interceptor, or a function (also async) of options and tools. */
export async function createModuleInterceptor(config: ModuleFile): Promise<ManagedInterceptor> {
  const { file } = config
  const made = await loadModule(config, 'an Interceptor')
  for (const property of propertiesOf(made)) {
    const meant = methods.find((method) => method === property.toLowerCase())
    if (meant !== undefined && meant !== property)
      throw moduleError(file, `${property} is not a method of an Interceptor: ${meant}?`)
  }
  const { intercept, ...rest } = bindMethods(file, made, methods) as Partial<ManagedInterceptor>
  if (intercept === undefined) throw moduleError(file, 'has no method intercept(session, packet, direction)')
  return { ...rest, intercept, name: nameOf(made, basename(file)) }
}

/** Those of one listener, in order. When one fails, those before it are closed. */
export async function buildInterceptors(
  configs: ListenerConfig['interceptors'],
): Promise<PlacedInterceptor[]> {
  const made: PlacedInterceptor[] = []
  try {
    for (const { at, file, options } of configs) {
      made.push({ at, interceptor: await createModuleInterceptor({ file, options }) })
    }
  } catch (error) {
    await Promise.allSettled(made.map(async ({ interceptor }) => interceptor.close?.()))
    throw error
  }
  return made
}
