import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import { checkFiles, resolveFiles, warnOfCertificates } from './files.ts'
import { ConfigError, isWithin, type ConfigPath, type Mistake, type PlacedMistake } from './mistake.ts'
import { isLoopback } from './network-names.ts'
import {
  applyOverride,
  readEnvironment,
  readFlags,
  valueAt,
  type Environment,
  type Override,
} from './overrides.ts'
import { configSchema, type Config, type ConfigInput } from './schema.ts'
import { createSchemaTree, isRecord } from './schema-tree.ts'
import { checkMeaning } from './semantics.ts'
import { checkStructure, isRepaired, withoutEmptySections } from './structure.ts'
import { readYaml, type YamlText } from './yaml.ts'

export interface LoadedConfig {
  readonly config: Config
  /** Absolute path of the file it came from. */
  readonly file?: string
  readonly warnings: readonly PlacedMistake[]
}

export interface LoadOptions {
  /** Without a file: {@link defaultConfig}. */
  readonly file?: string | undefined
  /** The only place where the environment comes in; `{}`: none. */
  readonly env: Environment
  /** `key=value` words, which win over file and environment. */
  readonly overrides?: readonly string[]
}

interface Source extends LoadOptions {
  readonly yaml?: YamlText
  /** Nothing was written: the defaults let everyone in who can only be on this machine. */
  readonly isDefault: boolean
}

const defaultListeners = (): ConfigInput['listeners'] & object => [
  { type: 'tcp', port: 1883 },
  { type: 'ws', port: 8083 },
]

/** What runs without a configuration: anonymous, and on loopback only. */
export function defaultConfig(): Config {
  const listeners = defaultListeners().map((listener) => ({ ...listener, allowAnonymous: true }))
  return deepFreeze(configSchema.parse({ listeners }))
}

/** Reads file, environment and flags. Throws a ConfigError that names all mistakes at once. */
export async function loadConfig(options: LoadOptions): Promise<LoadedConfig> {
  const file = options.file === undefined ? undefined : resolve(options.file)
  if (file === undefined) return check({}, { ...options, isDefault: true })
  const yaml = readYaml(await readText(file))
  if (yaml.syntaxErrors.length > 0)
    throw new ConfigError(yaml.syntaxErrors.map((error) => ({ ...error, path: [], file })))
  return check(yaml.value ?? {}, { ...options, file, yaml, isDefault: false })
}

/** Checks a configuration that a program has made, in the same way. Relative files start from the working directory. */
export async function parseConfig(input: ConfigInput): Promise<LoadedConfig> {
  return check(input, { env: {}, isDefault: false })
}

async function check(written: unknown, source: Source): Promise<LoadedConfig> {
  const root = createSchemaTree()
  const mistakes: Mistake[] = []
  const isMapping = isRecord(written)
  if (!isMapping) mistakes.push({ path: [], message: 'is not a mapping of keys to values' })
  const raw = withoutEmptySections(isMapping ? structuredClone(written) : {}, root) as Record<string, unknown>

  // Entries of the default listeners can be changed one by one: TUNNELMQ_LISTENERS_0_PORT.
  const base = { listeners: defaultListeners(), ...raw }
  const environment = readEnvironment(source.env, root, base)
  const flags = readFlags(source.overrides ?? [], root, base)
  mistakes.push(...environment.mistakes, ...flags.mistakes)
  const overrides = [...environment.values, ...flags.values]
  if (raw['listeners'] === undefined && overrides.some(({ path }) => path[0] === 'listeners'))
    raw['listeners'] = base.listeners
  for (const override of overrides) {
    const mistake = applyOverride(raw, override)
    if (mistake !== undefined) mistakes.push(mistake)
  }
  if (source.isDefault) mistakes.push(...letAnonymousIn(raw, base.listeners))

  const structure = checkStructure(raw, root)
  mistakes.push(...structure.mistakes)
  const place = (mistake: Mistake): PlacedMistake => placed(mistake, overrides, source)
  if (structure.config === undefined) throw new ConfigError(mistakes.map(place).toSorted(byPlace))

  const folderOf = (path: ConfigPath): string => {
    const fromFile = valueAt(written, path) !== undefined && overriding(path, overrides) === undefined
    return fromFile && source.file !== undefined ? dirname(source.file) : process.cwd()
  }
  const config = resolveFiles(structure.config, root, folderOf)
  const meaning = checkMeaning(config)
  const isTheirs = (mistake: Mistake): boolean => !isRepaired(mistake.path, structure.repaired)
  mistakes.push(...[...meaning.mistakes, ...(await checkFiles(config))].filter(isTheirs))
  if (mistakes.length > 0) throw new ConfigError(mistakes.map(place).toSorted(byPlace))
  const warnings = [...meaning.warnings, ...(await warnOfCertificates(config))].map(place)
  return { config: deepFreeze(config), warnings, ...(source.file === undefined ? {} : { file: source.file }) }
}

/**
 * Without a configuration everyone is let in, as only programs of this machine can connect. A listener that
 * an environment variable has opened to others has to be given handlers, or the word that it is meant so.
 */
function letAnonymousIn(raw: Record<string, unknown>, listeners: unknown): Mistake[] {
  if (Array.isArray(raw['handlers']) && raw['handlers'].length > 0) return []
  raw['listeners'] ??= listeners
  if (!Array.isArray(raw['listeners'])) return []
  return raw['listeners'].flatMap((listener: unknown, index): Mistake[] => {
    if (!isRecord(listener)) return []
    const { host = '127.0.0.1', proxyProtocol = 'off', handlers, allowAnonymous } = listener
    if (handlers !== undefined || allowAnonymous !== undefined) return []
    if (typeof host !== 'string' || (isLoopback(host) && proxyProtocol === 'off')) {
      listener['allowAnonymous'] = true
      return []
    }
    const message = `${host} can be reached by others: name handlers, or set listeners.${index}.allowAnonymous`
    return [{ path: ['listeners', index, 'host'], message }]
  })
}

function placed(mistake: Mistake, overrides: readonly Override[], source: Source): PlacedMistake {
  const overridden = mistake.source ?? overriding(mistake.path, overrides)?.source
  if (overridden !== undefined) return { ...mistake, source: overridden }
  if (source.file === undefined) return mistake
  return {
    ...mistake,
    file: source.file,
    ...source.yaml?.locate(mistake.path, mistake.atKey ? 'key' : 'value'),
  }
}

// As one reads the file; what came from elsewhere first.
function byPlace(a: PlacedMistake, b: PlacedMistake): number {
  return (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0)
}

/** The last override that has set the value at a path, or one around it. */
function overriding(path: ConfigPath, overrides: readonly Override[]): Override | undefined {
  return overrides.findLast((override) => isWithin(path, override.path))
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

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value)
    for (const inner of Object.values(value)) deepFreeze(inner)
  }
  return value
}
