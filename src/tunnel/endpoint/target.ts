import { ErrorCode, TunnelMQError } from '../../errors.ts'

/** Where a service is. */
export type Target =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string }

const TARGET = /^(?:\[(?<v6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?<host>[^:/\s[\]]+)):(?<port>\d{1,5})$/

/**
 * Reads `host:port`, `[v6]:port` or `unix:/path`.
 * @throws {TunnelMQError} TMQ_USAGE
 */
export function parseTarget(text: string): Target {
  if (text.startsWith('unix:/')) return { kind: 'unix', path: text.slice('unix:'.length) }
  const { v6, host, port } = TARGET.exec(text)?.groups ?? {}
  const name = v6 ?? host
  if (name === undefined || Number(port) < 1 || Number(port) > 65_535) {
    throw new TunnelMQError(
      ErrorCode.usage,
      `'${text}' is no target: host:port, [IPv6]:port or unix:/path is needed`,
    )
  }
  return { kind: 'tcp', host: name, port: Number(port) }
}
