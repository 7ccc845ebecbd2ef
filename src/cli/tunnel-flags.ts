import type { Command } from 'commander'
import { servicesByName } from '../config/tunnel-endpoint-environment.ts'
import type { Mistake, ConfigPath } from '../config/mistake.ts'
import type { Environment, Override, Overrides } from '../config/overrides.ts'
import { readServices, type ServiceWord } from '../config/tunnel-endpoint-syntax.ts'
import { collect } from './config-flags.ts'

/**
 * The options of the commands of tunnels. Long ones only: the short ones behind `tunnelmq ssh` are ssh's.
 * None takes a password, as everyone on the machine can read a command line.
 */
export interface ConnectionFlags {
  readonly config?: string
  readonly broker?: string
  readonly username?: string
  readonly passwordFile?: string
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
  readonly servername?: string
  readonly insecure?: true
  readonly topicPrefix?: string
  readonly keepalive?: string
  readonly resumeTimeout?: string
  readonly logLevel?: string
  readonly logFormat?: string
}

export interface AgentFlags extends ConnectionFlags {
  readonly id?: string
  readonly service?: readonly string[]
  readonly proxyProtocol?: readonly string[]
}

export interface ClientFlags extends ConnectionFlags {
  readonly clientId?: string
}

type FlagName = Exclude<
  keyof ConnectionFlags | keyof ClientFlags | keyof AgentFlags,
  'config' | 'proxyProtocol'
>

/** Each option with its place in the configuration. */
const places: Readonly<
  Record<Exclude<FlagName, 'service'>, { readonly option: string; readonly path: ConfigPath }>
> = {
  broker: { option: '--broker', path: ['broker'] },
  username: { option: '--username', path: ['username'] },
  passwordFile: { option: '--password-file', path: ['passwordFile'] },
  ca: { option: '--ca', path: ['tls', 'ca'] },
  cert: { option: '--cert', path: ['tls', 'cert'] },
  key: { option: '--key', path: ['tls', 'key'] },
  servername: { option: '--servername', path: ['tls', 'servername'] },
  insecure: { option: '--insecure', path: ['tls', 'insecure'] },
  topicPrefix: { option: '--topic-prefix', path: ['topicPrefix'] },
  keepalive: { option: '--keepalive', path: ['keepAliveSeconds'] },
  resumeTimeout: { option: '--resume-timeout', path: ['resumeTimeoutSeconds'] },
  logLevel: { option: '--log-level', path: ['log', 'level'] },
  logFormat: { option: '--log-format', path: ['log', 'format'] },
  id: { option: '--id', path: ['id'] },
  clientId: { option: '--client-id', path: ['id'] },
}

const integers: ReadonlySet<string> = new Set<FlagName>(['keepalive', 'resumeTimeout'])

/** The options by which every one of the commands finds its broker. */
export function addConnectionOptions(command: Command): Command {
  return command
    .option('--broker <url>', 'mqtt://, mqtts://, ws://, wss:// or unix:/path; default mqtt://127.0.0.1:1883')
    .option('--username <name>', 'user name for the broker')
    .option('--password-file <file>', 'file whose first line is the password; or TUNNEL_PASSWORD')
    .option('--ca <file>', "CAs of the broker (PEM); default: the system's")
    .option('--cert <file>', 'own certificate (PEM)')
    .option('--key <file>', 'its private key (PEM)')
    .option('--servername <name>', "name in the broker's certificate, if not that of the URL")
    .option('--insecure', 'take any certificate')
    .option('--topic-prefix <prefix>', "in place of $tunnel, over a broker that is not TunnelMQ's")
    .option('--keepalive <seconds>', 'how often the connection is proved to be alive; default 30')
    .option('--resume-timeout <seconds>', 'how long streams wait for the other end; default 120')
    .option('--config <file>', 'YAML file with all of this; or TUNNEL_CONFIG')
    .option('--log-level <level>', 'trace, debug, info, warn, error or silent')
    .option('--log-format <format>', 'json or pretty; default: pretty on a terminal')
}

export function addClientOptions(command: Command): Command {
  return addConnectionOptions(command).option('--client-id <id>', 'MQTT client id; default: a new one')
}

export function addAgentOptions(command: Command): Command {
  return addConnectionOptions(
    command
      .option('--id <name>', "the agent's name, and its MQTT client id")
      .option('--service <name=target>', 'offer a service: ssh=127.0.0.1:22; may be repeated', collect)
      .option(
        '--proxy-protocol <[service=]v2>',
        'tell a service (or all) the address of the client in a PROXY header; may be repeated',
        collect,
      ),
  )
}

export function configFileOf(flags: ConnectionFlags, env: Environment): string | undefined {
  return flags.config ?? (env['TUNNEL_CONFIG'] || undefined)
}

/** What the options lay over environment and file. */
export function tunnelOverrides(flags: AgentFlags & ClientFlags): Overrides {
  const values: Override[] = Object.entries(places).flatMap(([name, { option, path }]) => {
    const said = flags[name as keyof typeof places]
    if (said === undefined) return []
    const value = integers.has(name) && /^\d{1,9}$/.test(String(said)) ? Number(said) : said
    return [{ path, source: option, value }]
  })
  const { service } = flags
  if (service === undefined) return { values, mistakes: [] }
  const source = '--service'
  const words: ServiceWord[] = []
  const mistakes: Mistake[] = []
  for (const text of service) {
    const read = readServices(text, /,/)
    if (typeof read === 'string') mistakes.push({ path: [], source, message: read })
    else words.push(...read)
  }
  const names = words.map(({ name }) => name)
  const twice = names.find((name, index) => names.indexOf(name) < index)
  if (twice !== undefined) mistakes.push({ path: [], source, message: `${twice} is there twice` })
  values.push({ path: ['services'], source, value: servicesByName(words) })
  return { values, mistakes }
}

/** The same options as words again, for a process of ours that somebody else starts. None of them is a secret. */
export function connectionWords(flags: ClientFlags): readonly string[] {
  const words = flags.config === undefined ? [] : ['--config', flags.config]
  for (const [name, { option }] of Object.entries(places)) {
    const value = flags[name as keyof ClientFlags]
    if (value === true) words.push(option)
    else if (value !== undefined) words.push(option, value)
  }
  return words
}
