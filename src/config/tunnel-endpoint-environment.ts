import { nearest } from './nearest.ts'
import type { ConfigPath, Mistake } from './mistake.ts'
import type { Environment, Override } from './overrides.ts'
import { readServices, type ServiceWord } from './tunnel-endpoint-syntax.ts'

/**
 * The variables of agents and clients. They begin with TUNNEL_, as those with TUNNELMQ_ are the broker's, which
 * refuses what it does not know. TUNNEL_ID is the agent's alone: a client that took it over from the environment
 * would take the agent's place at the broker.
 */

type Role = 'agent' | 'client'

interface Variable {
  readonly path: ConfigPath
  readonly kind: 'text' | 'integer' | 'boolean' | 'services' | 'words'
  readonly role?: Role
}

const variables: Readonly<Record<string, Variable>> = {
  TUNNEL_BROKER: { path: ['broker'], kind: 'text' },
  TUNNEL_USERNAME: { path: ['username'], kind: 'text' },
  TUNNEL_PASSWORD: { path: ['password'], kind: 'text' },
  TUNNEL_PASSWORD_FILE: { path: ['passwordFile'], kind: 'text' },
  TUNNEL_CA: { path: ['tls', 'ca'], kind: 'text' },
  TUNNEL_CERT: { path: ['tls', 'cert'], kind: 'text' },
  TUNNEL_KEY: { path: ['tls', 'key'], kind: 'text' },
  TUNNEL_SERVERNAME: { path: ['tls', 'servername'], kind: 'text' },
  TUNNEL_INSECURE: { path: ['tls', 'insecure'], kind: 'boolean' },
  TUNNEL_TOPIC_PREFIX: { path: ['topicPrefix'], kind: 'text' },
  TUNNEL_KEEPALIVE: { path: ['keepAliveSeconds'], kind: 'integer' },
  TUNNEL_RESUME_TIMEOUT: { path: ['resumeTimeoutSeconds'], kind: 'integer' },
  TUNNEL_LOG_LEVEL: { path: ['log', 'level'], kind: 'text' },
  TUNNEL_LOG_FORMAT: { path: ['log', 'format'], kind: 'text' },
  TUNNEL_ID: { path: ['id'], kind: 'text', role: 'agent' },
  TUNNEL_SERVICES: { path: ['services'], kind: 'services', role: 'agent' },
  TUNNEL_DOCTOR: { path: ['doctor'], kind: 'boolean', role: 'agent' },
  TUNNEL_CLIENT_ID: { path: ['id'], kind: 'text', role: 'client' },
  TUNNEL_FORWARDS: { path: ['forwards'], kind: 'words', role: 'client' },
}

/** Read by the commands themselves. */
const CONFIG_VARIABLE = 'TUNNEL_CONFIG'
/** What Kubernetes tells of a service that is called `tunnel`. */
const serviceVariable = /^TUNNEL_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\w+)?)$/

export interface TunnelEnvironment {
  readonly values: readonly Override[]
  readonly mistakes: readonly Mistake[]
  readonly warnings: readonly Mistake[]
}

/** An empty variable is as good as none: that is how one is unset in a unit or a compose file. */
export function readTunnelEnvironment(env: Environment, role: Role): TunnelEnvironment {
  const values: Override[] = []
  const mistakes: Mistake[] = []
  for (const [source, { path, kind, role: only }] of Object.entries(variables)) {
    const text = env[source]
    if (text === undefined || text === '' || (only !== undefined && only !== role)) continue
    if (kind !== 'services') values.push({ path, source, value: parse(text, kind) })
    else {
      const services = readServices(text, /[\s,]+/)
      if (typeof services === 'string') mistakes.push({ path, source, message: services })
      else values.push({ path, source, value: servicesByName(services) })
    }
  }
  return { values, mistakes, warnings: misspelt(env) }
}

/** Services as the configuration has them. */
export function servicesByName(services: readonly ServiceWord[]): Record<string, object> {
  return Object.fromEntries(services.map(({ name, ...service }) => [name, service]))
}

function parse(text: string, kind: Exclude<Variable['kind'], 'services'>): unknown {
  switch (kind) {
    case 'text':
      return text
    case 'integer':
      return /^\d{1,9}$/.test(text) ? Number(text) : text
    case 'boolean':
      return ['true', '1'].includes(text) ? true : ['false', '0'].includes(text) ? false : text
    case 'words':
      return text.split(/[\s,]+/).filter((word) => word !== '')
    default:
      return kind satisfies never
  }
}

/** Other programs have variables that begin like ours; only what is nearly one of ours is worth a word. */
function misspelt(env: Environment): Mistake[] {
  const known = [...Object.keys(variables), CONFIG_VARIABLE]
  return Object.keys(env).flatMap((source) => {
    if (!source.startsWith('TUNNEL_') || known.includes(source) || serviceVariable.test(source)) return []
    const word = source.slice('TUNNEL_'.length)
    const meant = nearest(
      word,
      known.map((name) => name.slice('TUNNEL_'.length)),
    )
    return meant === undefined
      ? []
      : [{ path: [], source, message: `is not known; did you mean TUNNEL_${meant}?` }]
  })
}
