import type { HandlerConfig } from '../config/schema.ts'
import { createBrokerCounters, type BrokerCounters } from '../counters.ts'
import { createAclFileHandler } from './acl-file.ts'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { Directory } from '../identities/directory.ts'
import { createAnonymousHandler } from './anonymous.ts'
import type { HandlerLog } from './log.ts'
import { createModuleHandler } from './module.ts'
import { createPasswordFileHandler } from './password-file.ts'
import type { ManagedHandler } from './types.ts'

export interface BuildDependencies {
  readonly log: HandlerLog
  /** Of the listener whose chain this is; for `%m` in access lists. */
  readonly mountpoint: string
  /** `tls.clientCa` of the listener. */
  readonly clientCa?: string | undefined
  readonly counters?: Pick<BrokerCounters, 'keySet' | 'webhook' | 'webhookEndpoint' | 'revocation'>
  /** Identities, for `dynamic`; read when the store is open. */
  readonly directory?: Directory
}

/** Makes the handlers of one chain, in order. When one fails, those before it are closed. */
export async function buildHandlers(
  configs: readonly HandlerConfig[],
  dependencies: BuildDependencies,
): Promise<ManagedHandler[]> {
  const handlers: ManagedHandler[] = []
  const seen = new Map<string, number>()
  try {
    for (const config of configs) {
      const count = (seen.get(config.type) ?? 0) + 1
      seen.set(config.type, count)
      const name = count === 1 ? config.type : `${config.type}#${count}`
      handlers.push(await buildHandler(config, name, dependencies))
    }
  } catch (error) {
    await Promise.allSettled(handlers.map(async (handler) => handler.close?.()))
    throw error
  }
  return handlers
}

async function buildHandler(
  config: HandlerConfig,
  name: string,
  { log, mountpoint, clientCa, counters = createBrokerCounters(), directory }: BuildDependencies,
): Promise<ManagedHandler> {
  switch (config.type) {
    case 'anonymous':
      return createAnonymousHandler({ allow: config.allow, name })
    case 'password-file':
      return createPasswordFileHandler({ file: config.file, log, name })
    case 'scram': {
      const { createScramHandler } = await import('./scram/handler.ts')
      return createScramHandler({ file: config.file, secretFile: config.secretFile, log, name })
    }
    case 'acl-file':
      return createAclFileHandler({ file: config.file, dialect: config.dialect, mountpoint, log, name })
    case 'dynamic': {
      if (directory === undefined)
        throw new TunnelMQError(ErrorCode.handler, 'There are no identities for a handler `type: dynamic`')
      const { createDynamicHandler } = await import('./dynamic/handler.ts')
      return createDynamicHandler({ directory, name })
    }
    case 'certificate': {
      const { createCertificateHandler } = await import('./certificate/handler.ts')
      const { revocation } = counters
      return createCertificateHandler({ config, listenerCa: clientCa, counters: revocation, log, name })
    }
    case 'module':
      return createModuleHandler({ file: config.file, options: config.options })
    case 'jwt': {
      // Only now: who has no tokens has none of its code in memory.
      const { createJwtHandler } = await import('./jwt/jwt.ts')
      return createJwtHandler({ config, log, counters, name })
    }
    case 'http': {
      const { createWebhookHandler } = await import('./webhook/webhook.ts')
      return createWebhookHandler({ config, mountpoint, log, counters, name })
    }
    default:
      return config satisfies never
  }
}
