import type { SecureContextOptions } from 'node:tls'
import type { AdminConfig } from '../config/admin-schema.ts'
import { openTlsFiles, type TlsFiles } from '../listeners/tls-files.ts'
import type { Log } from '../log.ts'
import type { Api } from './api/api.ts'
import { createGuard } from './api/guard.ts'
import type { Audit } from './audit.ts'
import { openKeys } from './keys.ts'
import { writeLocalKey } from './local-key.ts'
import type { PodCalls } from './operations.ts'
import type { BrokerReadModel } from './read-model.ts'
import { createRequestLimits } from './request-limits.ts'
import { startAdminServer } from './server.ts'

export interface AdminOptions {
  readonly config: AdminConfig
  readonly model: BrokerReadModel
  readonly podCalls: PodCalls
  readonly audit: Audit
  /** Of a client id or topic. */
  readonly longestNameBytes: number
  readonly log: Log
}

export interface Admin {
  readonly url: string
  /** Certificate and keys. Rejects with the first that failed; what was good before stays. */
  reload(): Promise<void>
  close(): Promise<void>
}

/** Opens keys and certificate, and serves. Rejects with TMQ_LISTEN or TMQ_FILE. */
export async function startAdmin(options: AdminOptions): Promise<Admin> {
  const { config, model, podCalls, audit, longestNameBytes, log } = options
  const keys = await openKeys({ file: config.api ? config.keysFile : undefined, log, now: Date.now })
  let tls: TlsFiles | undefined
  try {
    let useTls: (context: SecureContextOptions) => void = () => undefined
    tls =
      config.tls &&
      (await openTlsFiles(
        { ...config.tls, minVersion: 'TLSv1.2', requireClientCertificate: false },
        {
          changed: (context) => useTls(context),
          failed: (error) => log.error({ err: error }, 'admin certificate not read again: the old one stays'),
        },
      ))
    const limits = createRequestLimits({ ...config, now: () => performance.now() })
    const guard = createGuard({ keys, limits, log })
    const { maxBodyBytes } = config
    const { version } = model
    const notReadyReasons = (): readonly string[] => model.notReadyReasons()
    let api: Promise<Api> | undefined
    // With the first request: who does not use it has neither its memory nor its part of the start.
    const loadApi = (): Promise<Api> =>
      (api ??= import('./api/api.ts').then(({ createApi }) =>
        createApi({ podCalls, notReadyReasons, guard, audit, maxBodyBytes, version, log }),
      ))
    const server = await startAdminServer({
      host: config.host,
      port: config.port,
      tls: tls?.context,
      model,
      api: config.api ? loadApi : undefined,
      metricsGuard: config.metricsNeedKey ? guard : undefined,
      hasDashboard: config.dashboard && config.api,
      longestNameBytes,
      log,
    })
    useTls = (context) => server.setTls(context)

    const hasLocalKey = config.localKey && config.api
    const local = hasLocalKey
      ? await writeLocalKey({ file: config.localKeyFile, url: server.url, log })
      : undefined
    keys.setLocal(local?.text)

    return {
      url: server.url,
      async reload() {
        const results = await Promise.allSettled([keys.reload(), tls?.reload()])
        const failed = results.find((result) => result.status === 'rejected')
        if (failed !== undefined) throw failed.reason
      },
      async close() {
        await local?.remove()
        keys.close()
        tls?.close()
        await server.close()
      },
    }
  } catch (error) {
    keys.close()
    tls?.close()
    throw error
  }
}
