import { readFileSync } from 'node:fs'
import { formatPath, type ConfigPath, type Mistake } from './mistake.ts'
import { environmentNames, pathOfVariable } from './environment-names.ts'
import { nearest } from './nearest.ts'
import { isRecord, nodeAt, propertiesOf, type ObjectNode, type SchemaNode } from './schema-tree.ts'
import { readYamlValue } from './yaml.ts'

/** A value from the environment or a flag, to be laid over the file. */
export interface Override {
  readonly path: ConfigPath
  readonly value: unknown
  readonly source: string
}

export interface Overrides {
  readonly values: readonly Override[]
  readonly mistakes: readonly Mistake[]
}

export type Environment = Readonly<Record<string, string | undefined>>

const PREFIX = 'TUNNELMQ_'
/** Of the command line and of our tests, and not of the configuration. */
const otherVariables = new Set([
  'TUNNELMQ_CONFIG',
  'TUNNELMQ_DEBUG',
  'TUNNELMQ_API_URL',
  'TUNNELMQ_API_KEY',
  'TUNNELMQ_API_KEY_FILE',
  'TUNNELMQ_API_CA',
  'TUNNELMQ_TEST_NO_NETNS',
])
/**
 * Kubernetes describes each service of a namespace in variables; with a service called `tunnelmq` they
 * begin like ours: TUNNELMQ_SERVICE_HOST, TUNNELMQ_PORT=tcp://10.0.0.1:1883, TUNNELMQ_PORT_1883_TCP_ADDR.
 */
const serviceVariable = /^TUNNELMQ_(.+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)$/
const serviceUrl = /^(tcp|udp|sctp):\/\//

/** `TUNNELMQ_<PATH>` variables, and `TUNNELMQ_<PATH>_FILE`, whose value is in the file that is named. */
export function readEnvironment(environment: Environment, root: ObjectNode, base: unknown): Overrides {
  const values: Override[] = []
  const mistakes: Mistake[] = []
  for (const [name, text] of Object.entries(environment).toSorted(byName)) {
    if (text === undefined || !name.startsWith(PREFIX) || otherVariables.has(name)) continue
    if (serviceUrl.test(text) && name.endsWith('_PORT')) continue
    const direct = pathOfVariable(name.slice(PREFIX.length), root, base)
    const fromFile =
      direct === undefined && name.endsWith('_FILE')
        ? pathOfVariable(name.slice(PREFIX.length, -'_FILE'.length), root, base)
        : undefined
    const path = direct ?? fromFile
    if (path === undefined) {
      if (serviceVariable.test(name)) continue
      mistakes.push({ path: [], source: name, message: unknownName(name, environmentNames(root, name)) })
      continue
    }
    if (fromFile !== undefined && environment[name.slice(0, -'_FILE'.length)] !== undefined) {
      mistakes.push({ path, source: name, message: `is set, and so is ${name.slice(0, -'_FILE'.length)}` })
      continue
    }
    try {
      const content = fromFile === undefined ? text : readFileSync(text, 'utf8').replace(/\r?\n$/, '')
      values.push({ path, value: parseText(content, nodeAt(root, path, base)), source: name })
    } catch (error) {
      mistakes.push({ path, source: name, message: messageOf(error) })
    }
  }
  return { values, mistakes }
}

/** `key=value` words of the command line: `store.path=/var/lib/tunnelmq`, `listeners.0.port=1884`. */
export function readFlags(flags: readonly string[], root: ObjectNode, base: unknown): Overrides {
  const values: Override[] = []
  const mistakes: Mistake[] = []
  for (const flag of flags) {
    const equals = flag.indexOf('=')
    const key = equals < 0 ? flag : flag.slice(0, equals)
    const source = `--set ${key}`
    const path = key.split('.').map((segment) => (/^\d{1,4}$/.test(segment) ? Number(segment) : segment))
    const node = nodeAt(root, path, base)
    if (equals < 0) mistakes.push({ path: [], source, message: 'has no value; write --set key=value' })
    else if (node === undefined) mistakes.push({ path: [], source, message: unknownKey(path, root, base) })
    else {
      try {
        values.push({ path, value: parseText(flag.slice(equals + 1), node), source })
      } catch (error) {
        mistakes.push({ path: [], source, message: messageOf(error) })
      }
    }
  }
  return { values, mistakes }
}

/** Lays a value over the configuration, in place; says what is wrong if there is no such place. */
export function applyOverride(target: Record<string, unknown>, override: Override): Mistake | undefined {
  let container: unknown = target
  for (const [depth, segment] of override.path.entries()) {
    const isLast = depth === override.path.length - 1
    if (Array.isArray(container) && typeof segment === 'number' && segment > container.length) {
      const list = formatPath(override.path.slice(0, depth))
      const message = `${list} has ${container.length} entries; the next one is ${list}.${container.length}`
      return { path: override.path, message, source: override.source }
    }
    const place = container as Record<string | number, unknown>
    if (isLast) place[segment] = override.value
    else if (typeof place[segment] !== 'object' || place[segment] === null)
      place[segment] = typeof override.path[depth + 1] === 'number' ? [] : {}
    container = place[segment]
  }
  return undefined
}

/** What an unknown key may have been, among the keys that are known at its place. */
export function unknownName(name: string, known: Iterable<string>): string {
  const suggestion = nearest(name, known)
  return suggestion === undefined ? 'is not known' : `is not known; did you mean ${suggestion}?`
}

// By number where there is one: entry 2 of a list has to come before entry 10.
function byName([a]: [string, unknown], [b]: [string, unknown]): number {
  return a.localeCompare(b, 'en', { numeric: true })
}

function unknownKey(path: ConfigPath, root: ObjectNode, base: unknown): string {
  for (let depth = 0; depth < path.length; depth += 1) {
    const parent = path.slice(0, depth)
    const node: SchemaNode | undefined = nodeAt(root, parent, base)
    if (nodeAt(root, path.slice(0, depth + 1), base) !== undefined || node === undefined) continue
    return unknownName(String(path[depth]), propertiesOf(node, valueAt(base, parent)).keys())
  }
  return 'is not known'
}

/** What is at a path of plain values. */
export function valueAt(value: unknown, path: ConfigPath): unknown {
  let current = value
  for (const segment of path) {
    if (!isRecord(current) && !Array.isArray(current)) return undefined
    current = Object.hasOwn(current, segment)
      ? (current as Record<string | number, unknown>)[segment]
      : undefined
  }
  return current
}

function parseText(text: string, node: SchemaNode | undefined): unknown {
  switch (node?.kind) {
    case 'integer':
      return /^[+-]?\d+$/.test(text.trim()) ? Number(text) : text
    case 'boolean':
      return text === 'true' ? true : text === 'false' ? false : text
    case 'list':
      if (!/^\s*\[/.test(text) && node.items.kind !== 'variant')
        return text.split(',').map((word) => word.trim())
      return readYamlValue(text)
    case 'object':
    case 'variant':
    case 'free':
      return readYamlValue(text)
    default:
      return text
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
