import type { VisitReceiver } from '../../listeners/visit.ts'
import { UserStreams } from './user-streams.ts'
import { ProxyVisitor, type VisitorContext } from './visitor.ts'

/** SOCKS5 and HTTP CONNECT into tunnels, on the sockets of a listener of type `proxy`: docs/proxy-door.md. */
export function createProxyDoor(parts: Omit<VisitorContext, 'users'>): VisitReceiver {
  const context = { ...parts, users: new UserStreams(parts.config.maxStreamsPerUser) }
  return {
    // A moment more than the visitor takes, who has an answer for it.
    requestTimeoutMs: context.config.requestTimeoutMs + 1_000,
    receive: (socket, visit) => void new ProxyVisitor(context, socket, visit),
  }
}
