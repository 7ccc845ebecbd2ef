import { readFile, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import { ConfigError, isWithin, type ConfigPath, type Mistake, type PlacedMistake } from './mistake.ts'
import { applyOverride, unknownName, type Environment, type Override, type Overrides } from './overrides.ts'
import { createSchemaTree, isRecord } from './schema-tree.ts'
import { describeIssues } from './structure.ts'
import { readTunnelEnvironment } from './tunnel-endpoint-environment.ts'
import { checkAgent, checkClient, warnOfConnection } from './tunnel-endpoint-meaning.ts'
import {
  agentSchema,
  clientSchema,
  endpointJsonSchema,
  type AgentConfig,
  type ClientConfig,
  type EndpointConfig,
} from './tunnel-endpoint-schema.ts'
import type { JsonSchema } from './schema.ts'
import { readYaml, type YamlText } from './yaml.ts'

export interface LoadedEndpoint<Config> {
  readonly config: Config
  readonly warnings: readonly PlacedMistake[]
}

export interface EndpointSources {
  /** YAML file; it may be left out. */
  readonly file: string | undefined
  readonly env: Environment
  /** Of the command line: they win over the environment, which wins over the file. */
  readonly flags: Overrides
}

export interface AgentSources extends EndpointSources {
  /** `web=v2`, or `v2` for all services, wherever they come from. */
  readonly proxyProtocol: readonly string[]
}

/** What an agent is told by file, environment and options. Throws a ConfigError that names all mistakes at once. */
export function loadAgentConfig(sources: AgentSources): Promise<LoadedEndpoint<AgentConfig>> {
  return load(sources, {
    role: 'agent',
    schema: endpointJsonSchema(agentSchema),
    parse: (value) => parsed(agentSchema.safeParse(value)),
    check: checkAgent,
    further: (raw) => proxyProtocolOverrides(sources.proxyProtocol, raw['services']),
  })
}

/** The same for the commands that open streams. */
export function loadClientConfig(sources: EndpointSources): Promise<LoadedEndpoint<ClientConfig>> {
  return load(sources, {
    role: 'client',
    schema: endpointJsonSchema(clientSchema),
    parse: (value) => parsed(clientSchema.safeParse(value)),
    check: checkClient,
  })
}

interface Kind<Config> {
  readonly role: 'agent' | 'client'
  readonly schema: JsonSchema
  readonly parse: (value: unknown) => Parsed<Config>
  readonly check: (config: Config) => readonly Mistake[]
  /** Overrides that need to know what there is. */
  readonly further?: (raw: Record<string, unknown>) => Overrides
}

type Issues = Parameters<typeof describeIssues>[0]
type Parsed<Config> = { readonly config: Config } | { readonly issues: Issues }

function parsed<Config>(
  result:
    | { readonly success: true; readonly data: Config }
    | { readonly success: false; readonly error: { readonly issues: Issues } },
): Parsed<Config> {
  return result.success ? { config: result.data } : { issues: result.error.issues }
}

async function load<Config extends EndpointConfig>(
  sources: EndpointSources,
  kind: Kind<Config>,
): Promise<LoadedEndpoint<Config>> {
  const file = sources.file === undefined ? undefined : resolve(sources.file)
  const yaml = file === undefined ? undefined : readYaml(await readText(file))
  if (file !== undefined && yaml !== undefined && yaml.syntaxErrors.length > 0)
    throw new ConfigError(yaml.syntaxErrors.map((error) => ({ ...error, path: [], file })))

  const mistakes: Mistake[] = []
  // A file of nothing but comments is empty.
  const written = yaml?.value ?? {}
  if (!isRecord(written)) mistakes.push({ path: [], message: 'is not a mapping of keys to values' })
  const raw = withShortServices(isRecord(written) ? structuredClone(written) : {})
  const environment = readTunnelEnvironment(sources.env, kind.role)
  const overrides: Override[] = []
  const lay = ({ values, mistakes: found }: Overrides): void => {
    mistakes.push(...found)
    overrides.push(...values)
    layOver(raw, values)
    for (const override of values) mistakes.push(...asList(applyOverride(raw, override)))
  }
  lay(environment)
  lay(sources.flags)
  if (kind.further !== undefined) lay(kind.further(raw))

  const place = (mistake: Mistake): PlacedMistake => placed(mistake, overrides, file, yaml)
  const result = kind.parse(raw)
  if ('issues' in result) {
    mistakes.push(...describeIssues(result.issues, raw, createSchemaTree(kind.schema)))
    throw new ConfigError(mistakes.map(place))
  }
  mistakes.push(...kind.check(result.config))
  if (mistakes.length > 0) throw new ConfigError(mistakes.map(place))
  const isInFile = (path: ConfigPath): boolean =>
    file !== undefined && !overrides.some((override) => isWithin(path, override.path))
  const folderOf = (path: ConfigPath): string =>
    file !== undefined && isInFile(path) ? dirname(file) : process.cwd()
  const warnings = [...environment.warnings, ...warnOfConnection(result.config)]
  if (result.config.password !== undefined && file !== undefined && isInFile(['password']))
    warnings.push(...(await warnOfReaders(file)))
  return { config: withAbsoluteFiles(result.config, folderOf), warnings: warnings.map(place) }
}

/** `ssh: 127.0.0.1:22` stands for `ssh: { target: 127.0.0.1:22 }`. */
function withShortServices(raw: Record<string, unknown>): Record<string, unknown> {
  const { services } = raw
  if (isRecord(services)) {
    for (const [name, service] of Object.entries(services)) {
      if (typeof service === 'string') services[name] = { target: service }
    }
  }
  return raw
}

function proxyProtocolOverrides(words: readonly string[], services: unknown): Overrides {
  const names = isRecord(services) ? Object.keys(services) : []
  const source = '--proxy-protocol'
  const values: Override[] = []
  const mistakes: Mistake[] = []
  for (const word of words) {
    const equals = word.indexOf('=')
    const chosen = equals < 0 ? names : [word.slice(0, equals)]
    const value = word.slice(equals + 1)
    for (const name of chosen) {
      const path = ['services', name, 'proxyProtocol']
      if (names.includes(name)) values.push({ path, value, source })
      else mistakes.push({ path: [], source, message: `service ${name} ${unknownName(name, names)}` })
    }
  }
  return { values, mistakes }
}

/** Who gives a password, or a file with it, does not mean the one of a layer below as well; nor with CAs. */
function layOver(raw: Record<string, unknown>, layer: readonly Override[]): void {
  if (layer.some(({ path }) => path[0] === 'password' || path[0] === 'passwordFile')) {
    delete raw['password']
    delete raw['passwordFile']
  }
  if (isRecord(raw['tls']) && layer.some(({ path }) => path.join('.') === 'tls.ca'))
    delete raw['tls']['caPem']
}

function withAbsoluteFiles<Config extends EndpointConfig>(
  config: Config,
  folderOf: (path: ConfigPath) => string,
): Config {
  const absolute = (path: ConfigPath, file: string): string => resolve(folderOf(path), file)
  const { passwordFile, tls } = config
  const { ca, cert, key } = tls
  return {
    ...config,
    ...(passwordFile !== undefined && { passwordFile: absolute(['passwordFile'], passwordFile) }),
    tls: {
      ...tls,
      ...(ca !== undefined && { ca: absolute(['tls', 'ca'], ca) }),
      ...(cert !== undefined && { cert: absolute(['tls', 'cert'], cert) }),
      ...(key !== undefined && { key: absolute(['tls', 'key'], key) }),
    },
  }
}

/** rw-r--r-- and the like. The group is the administrator's own business. */
const READABLE_BY_OTHERS = 0o004

async function warnOfReaders(file: string): Promise<Mistake[]> {
  const { mode } = await stat(file)
  const message = `stands in a file that everyone on this machine can read: chmod 600 ${file}`
  return (mode & READABLE_BY_OTHERS) === 0 ? [] : [{ path: ['password'], message }]
}

function placed(
  mistake: Mistake,
  overrides: readonly Override[],
  file: string | undefined,
  yaml: YamlText | undefined,
): PlacedMistake {
  const source = mistake.source ?? overrides.findLast(({ path }) => isWithin(mistake.path, path))?.source
  if (source !== undefined) return { ...mistake, source }
  if (file === undefined || yaml === undefined) return mistake
  return { ...mistake, file, ...yaml.locate(mistake.path, mistake.atKey ? 'key' : 'value') }
}

function asList(mistake: Mistake | undefined): readonly Mistake[] {
  return mistake === undefined ? [] : [mistake]
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const reason = code === 'ENOENT' ? 'does not exist' : `cannot be read (${code ?? String(error)})`
    throw new TunnelMQError(ErrorCode.config, `configuration file ${file} ${reason}`, { cause: error })
  }
}
