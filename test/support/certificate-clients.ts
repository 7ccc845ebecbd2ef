import { readFile } from 'node:fs/promises'
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt'
import { onTestFinished } from 'vitest'
import type { Handler, Session } from '../../src/hooks/types.ts'
import type { IssuedFiles } from './openssl-ca.ts'

export interface Arrivals {
  /** Sees who was let in; has no opinion. */
  readonly handler: Handler
  /** `username clientId`, or the code of the CONNACK that refuses. */
  come(url: string, files?: IssuedFiles, options?: IClientOptions): Promise<string | number>
  /** As `come`, for one that stays: it has to be let in. */
  stay(url: string, files: IssuedFiles, options?: IClientOptions): Promise<MqttClient>
}

/** Clients with certificates, for brokers whose own certificate is of `ca`. */
export function createArrivals(ca: string): Arrivals {
  const sessions = new Map<string, Session>()
  let count = 0

  async function connect(
    url: string,
    files?: IssuedFiles,
    options: IClientOptions = {},
  ): Promise<[MqttClient, string]> {
    const mark = `client-${++count}`
    // The keep alive is the only field that no handler changes, and that the broker tells.
    const client = await mqtt.connectAsync(url, {
      reconnectPeriod: 0,
      clientId: mark,
      keepalive: 1_000 + count,
      ca: await readFile(ca),
      ...(files && { cert: await readFile(files.cert), key: await readFile(files.key) }),
      ...options,
    })
    const session = sessions.get(String(1_000 + count))
    return [client, `${session?.username} ${session?.id}`]
  }

  return {
    handler: { connect: (session) => void sessions.set(String(session.keepalive), session) },
    async come(url, files, options) {
      try {
        const [client, who] = await connect(url, files, options)
        await client.endAsync(true)
        return who
      } catch (error) {
        const { code } = error as { code?: unknown }
        if (typeof code === 'number') return code
        throw error
      }
    },
    async stay(url, files, options) {
      const [client] = await connect(url, files, options)
      onTestFinished(() => client.endAsync(true))
      return client
    },
  }
}
