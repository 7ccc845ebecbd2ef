import type { OpenPeer } from '../protocol/open-payload.ts'
import { resetName } from '../protocol/reset-code.ts'
import type { Channel } from './channel.ts'
import type { PipeEnd } from './pipe.ts'

/** The client as the broker has vouched for it; nothing over a broker that does not. */
export function peerFields(peer: OpenPeer | undefined): Record<string, unknown> {
  if (peer === undefined) return {}
  return {
    address: peer.address,
    port: peer.port,
    ...(peer.username !== undefined && { username: peer.username }),
  }
}

/** How a stream ended, what it has carried, and for how long. */
export function endFields({ stream }: Channel, end: PipeEnd): Record<string, unknown> {
  return {
    sentBytes: stream.sentBytes,
    receivedBytes: stream.receivedBytes,
    durationMs: Math.round(performance.now() - stream.openedAtMs),
    ...(end.kind === 'closed'
      ? { end: 'closed' }
      : { end: resetName(end.code), reason: end.reason, by: end.by === 'us' ? 'this end' : 'the other end' }),
  }
}
