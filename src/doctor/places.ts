import { listenerName } from '../config/listener-name.ts'
import { splitHostPort } from '../config/network-names.ts'
import type { Config } from '../config/schema.ts'

/** A port that the configuration asks for. */
export interface Place {
  readonly name: string
  /** As it is bound. */
  readonly host: string
  readonly port: number
  /** Default: TCP. */
  readonly protocol?: 'udp'
}

/** All ports of the broker. Those that the system chooses cannot be looked at before. */
export function placesOf({ listeners, admin, tunnel }: Config): readonly Place[] {
  const places: Place[] = listeners.flatMap((listener) =>
    listener.type === 'unix'
      ? []
      : [
          {
            name: listenerName(listener),
            host: listener.host,
            port: listener.port,
            ...(listener.type === 'coap' && { protocol: 'udp' as const }),
          },
        ],
  )
  if (admin.enabled) places.push({ name: 'admin', host: admin.host, port: admin.port })
  for (const { bind, to } of tunnel.enabled ? tunnel.listen : []) {
    const { host, port } = splitHostPort(bind)
    places.push({ name: `tunnel to ${to}`, host: host === '' ? '::' : host, port })
  }
  return places
}

/** One can listen on all addresses, but not connect to them. */
export function connectHost(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1'
  return host === '::' ? '::1' : host
}
