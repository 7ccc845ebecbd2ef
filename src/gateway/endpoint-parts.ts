import { randomBytes } from 'node:crypto'
import type { TunnelConfig } from '../config/tunnel-schema.ts'
import type { Log } from '../log.ts'
import type { TunnelLog } from '../tunnel/log.ts'
import { createStreams } from '../tunnel/protocol/create-streams.ts'
import type { Streams } from '../tunnel/protocol/streams.ts'

/** The streams of an end inside the broker. */
export function streamsOf(
  role: 'agent' | 'client',
  { resumeTimeoutMs }: Pick<TunnelConfig, 'resumeTimeoutMs'>,
): Streams {
  // docs/tunnel-protocol.md 4.2
  return createStreams({ role, limits: { resumeTimeoutMs }, firstStreamId: randomBytes(4).readUInt32BE(0) })
}

/** The router has a line for each stream already. */
export function quiet(log: Log): TunnelLog {
  return {
    debug: (fields, message) => log.debug(fields, message),
    info: (fields, message) => log.debug(fields, message),
    warn: (fields, message) => log.warn(fields, message),
    error: (fields, message) => log.error(fields, message),
  }
}
