import { access } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Environment } from '../config/overrides.ts'
import { loadClientConfig } from '../config/tunnel-endpoint.ts'
import type { ClientConfig } from '../config/tunnel-endpoint-schema.ts'
import { createLog, type Log } from '../log.ts'
import type { TunnelClient } from '../tunnel/client.ts'
import { createTunnelClient } from '../tunnel/connect.ts'
import { readCredentials } from './tunnel-credentials.ts'
import { configFileOf, tunnelOverrides, type ClientFlags } from './tunnel-flags.ts'
import { clientIdOf, linkSettings, logWarnings } from './tunnel-link.ts'

export interface StartedClient {
  readonly client: TunnelClient
  readonly config: ClientConfig
  readonly log: Log
}

/** Longer than an attempt may take, so that its own words are heard. */
const CONNECT_TIMEOUT_MS = 30_000

/**
 * A client that is connected. The first attempt decides: somebody waits for it. Later it comes back by itself.
 * Rejects with what was in the way. `check` may throw, before anything is connected.
 */
export async function startClient(
  flags: ClientFlags,
  env: Environment,
  check?: (config: ClientConfig) => void,
): Promise<StartedClient> {
  const { config, warnings } = await loadClientConfig({
    file: configFileOf(flags, env) ?? (await ownConfigFile(env)),
    env,
    flags: tunnelOverrides(flags),
  })
  check?.(config)
  const credentials = await readCredentials(config)
  const log = createMessageLog(config)
  logWarnings(log, warnings, credentials)
  let hasConnected = false
  let giveUp!: (error: Error) => void
  const failed = new Promise<never>((_resolve, reject) => (giveUp = reject))
  const client = createTunnelClient({
    ...linkSettings(config, credentials),
    id: clientIdOf(config),
    log: {
      debug: (fields, message) => log.debug(fields, message),
      info: (fields, message) => log.info(fields, message),
      // Of the first attempt its error tells.
      warn: (fields, message) => hasConnected && log.warn(fields, message),
      error: (fields, message) => log.error(fields, message),
    },
    onConnectFailed: ({ error, wasUp }) => {
      if (!wasUp) giveUp(error)
    },
  })
  try {
    await Promise.race([client.connected(CONNECT_TIMEOUT_MS), failed])
    hasConnected = true
  } catch (error) {
    await client.close()
    throw error
  }
  return { client, config, log }
}

/** Standard output belongs to what the command is for, so all words go beside it. */
function createMessageLog({ log: { level, format } }: ClientConfig): Log {
  const resolved = format === 'auto' && process.stderr.isTTY ? 'pretty' : format
  return createLog({ level, format: resolved }, process.stderr)
}

/** So that `ssh pi7.tunnel` needs no options: the file of the one who runs it. */
async function ownConfigFile(env: Environment): Promise<string | undefined> {
  const folder = env['XDG_CONFIG_HOME'] || join(env['HOME'] || homedir(), '.config')
  const file = join(folder, 'tunnelmq', 'client.yaml')
  const isThere = await access(file).then(
    () => true,
    () => false,
  )
  return isThere ? file : undefined
}
