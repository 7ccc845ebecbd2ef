import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import { formatPath, type PlacedMistake } from '../config/mistake.ts'
import type { ClientConfig, EndpointConfig } from '../config/tunnel-endpoint-schema.ts'
import type { Log } from '../log.ts'
import type { EndOptions } from '../tunnel/connect.ts'
import type { Credentials } from './tunnel-credentials.ts'

/** What is the same for agents and clients. */
export function linkSettings(config: EndpointConfig, credentials: Credentials): EndOptions {
  const { broker, tls, topicPrefix, keepAliveSeconds, resumeTimeoutSeconds } = config
  const { username, password, ca, cert, key } = credentials
  return {
    url: broker,
    username,
    password,
    tls: { ca, cert, key, servername: tls.servername, rejectUnauthorized: !tls.insecure },
    topicPrefix,
    keepaliveSeconds: keepAliveSeconds,
    limits: { resumeTimeoutMs: resumeTimeoutSeconds * 1_000 },
  }
}

/** What is doubtful about it, one line each. */
export function logWarnings(log: Log, warnings: readonly PlacedMistake[], credentials: Credentials): void {
  for (const { path, message, file, line, source } of warnings)
    log.warn({ key: formatPath(path), detail: message, file, line, source }, 'doubtful configuration')
  for (const detail of credentials.warnings) log.warn({ detail }, 'doubtful configuration')
}

/** An id of its own for each process: with the same one, each would take the other's place at the broker. */
export function clientIdOf(config: ClientConfig): string {
  const host = hostname()
    .replaceAll(/[^A-Za-z0-9._-]/g, '-')
    .slice(0, 40)
  return config.id ?? `tunnelmq-${host}-${randomBytes(4).toString('hex')}`
}
