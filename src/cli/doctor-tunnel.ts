import type { Environment } from '../config/overrides.ts'
import type { Config } from '../config/schema.ts'
import type { ClientFlags } from './tunnel-flags.ts'

/** Where an agent is looked for: as the user says, else at the first plain listener of this configuration. */
export function tunnelFlags(
  { broker, username, passwordFile, ca }: ClientFlags,
  config: Config | undefined,
  env: Environment,
): ClientFlags {
  const said: ClientFlags = {
    ...(broker !== undefined && { broker }),
    ...(username !== undefined && { username }),
    ...(passwordFile !== undefined && { passwordFile }),
    ...(ca !== undefined && { ca }),
  }
  const listener = config?.listeners.find(({ type }) => type === 'tcp')
  const isSaid = broker !== undefined || Boolean(env['TUNNEL_BROKER'] || env['TUNNEL_CONFIG'])
  if (isSaid || listener?.type !== 'tcp' || listener.port === 0) return said
  const host = listener.host === '0.0.0.0' ? '127.0.0.1' : listener.host === '::' ? '::1' : listener.host
  return { ...said, broker: `mqtt://${host.includes(':') ? `[${host}]` : host}:${listener.port}` }
}
