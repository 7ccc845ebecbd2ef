import type { TlsConfig } from './listener-schema.ts'
import type { ListenerConfig } from './schema.ts'

/** Undefined: it is in clear text. */
export function tlsOf(listener: ListenerConfig): TlsConfig | undefined {
  return 'tls' in listener ? listener.tls : undefined
}
