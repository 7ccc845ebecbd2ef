import { isWithin, type ConfigPath, type Mistake } from './mistake.ts'
import { unknownName, valueAt } from './overrides.ts'
import { nearest } from './nearest.ts'
import { configSchema, type Config, type ConfigIssue } from './schema.ts'
import { isRecord, nodeAt, propertiesOf, type ObjectNode, type SchemaNode } from './schema-tree.ts'

export interface StructureResult {
  /**
   * The configuration, with defaults; where there were mistakes, without what was wrong, so that the rest
   * can be checked further. Undefined if nothing can be made of it.
   */
  readonly config: Config | undefined
  readonly mistakes: readonly Mistake[]
  /** Places that were repaired: what is found there is not the user's. */
  readonly repaired: readonly ConfigPath[]
}

/** Stand-ins for entries of lists that cannot be understood, so that the others keep their numbers. */
const standIns: Record<string, (index: number) => unknown> = {
  listeners: (index) => ({ type: 'tcp', port: 0, name: `unreadable-${index}` }),
  handlers: () => ({ type: 'anonymous' }),
}

/** Compares plain values with the schema, and finds all mistakes at once. */
export function checkStructure(value: unknown, root: ObjectNode): StructureResult {
  const result = configSchema.safeParse(value)
  if (result.success) return { config: result.data, mistakes: [], repaired: [] }
  const mistakes = describeIssues(result.error.issues, value, root)

  // Each step takes more away than the one before; most mistakes need only the first.
  const rest = structuredClone(value)
  const repaired: ConfigPath[] = []
  let { issues } = result.error
  for (const step of [removeWrong, fillMissing, replaceEntry]) {
    repaired.push(...issues.flatMap((issue) => step(issue, rest, root)))
    const next = configSchema.safeParse(rest)
    if (next.success) return { config: next.data, mistakes, repaired }
    issues = next.error.issues
  }
  return { config: undefined, mistakes, repaired }
}

/** Whether something was found at a place that was repaired. */
export function isRepaired(path: ConfigPath, repaired: readonly ConfigPath[]): boolean {
  return repaired.some((place) => isWithin(path, place) || isWithin(place, path))
}

/** An empty section (`store:` with all its keys commented out) is not there at all. */
export function withoutEmptySections(value: unknown, node: SchemaNode): unknown {
  if (Array.isArray(value) && node.kind === 'list')
    return value.map((item) => withoutEmptySections(item, node.items))
  if (!isRecord(value) || node.kind === 'free') return value
  const properties = propertiesOf(node, value)
  const entries = Object.entries(value).filter(([key, inner]) => inner !== null || !properties.has(key))
  return Object.fromEntries(
    entries.map(([key, inner]) => {
      const property = properties.get(key)
      return [key, property === undefined ? inner : withoutEmptySections(inner, property)]
    }),
  )
}

/** What a schema has found, in words for the one who wrote the file. */
export function describeIssues(issues: readonly ConfigIssue[], value: unknown, root: ObjectNode): Mistake[] {
  return issues.flatMap((issue) => describeIssue(issue, value, root))
}

function describeIssue(issue: ConfigIssue, value: unknown, root: ObjectNode): Mistake[] {
  const path = pathOf(issue)
  const node = nodeAt(root, path, value)
  if (issue.code === 'unrecognized_keys') {
    const known = node === undefined ? [] : [...propertiesOf(node, valueAt(value, path)).keys()]
    return issue.keys.map((key) => ({ path: [...path, key], message: unknownName(key, known), atKey: true }))
  }
  const actual = valueAt(value, path)
  if (actual === undefined) return [{ path, message: `is missing${hintOf(node)}`, atKey: true }]
  if (node === undefined) return [{ path, message: issue.message }]
  if (isSaidByBound(issue, node)) return []
  const said = wordsOf(issue)
  if (said !== undefined) return [{ path, message: `${shownAt(node, actual)} ${said}` }]
  return [{ path, message: describeWrong(actual, node) }]
}

/** What a schema says itself of a text that has not its form, or of a number that is too large; others have no words. */
function wordsOf({ code, message }: ConfigIssue): string | undefined {
  const isOwn =
    (code === 'invalid_format' && !message.startsWith('Invalid ')) ||
    (code === 'too_big' && !message.startsWith('Too big'))
  return isOwn ? message : undefined
}

/** Beyond what JavaScript counts exactly, and so beyond the bound of the key as well, which has better words. */
function isSaidByBound(issue: ConfigIssue, node: SchemaNode): boolean {
  if (node.kind !== 'integer') return false
  if (issue.code === 'too_big') return issue.maximum === Number.MAX_SAFE_INTEGER && node.maximum !== undefined
  return issue.code === 'too_small' && issue.minimum === Number.MIN_SAFE_INTEGER && node.minimum !== undefined
}

function shownAt(node: SchemaNode, actual: unknown): string {
  return node.secret ? 'the value' : show(actual)
}

function describeWrong(actual: unknown, node: SchemaNode): string {
  const shown = shownAt(node, actual)
  if (node.kind === 'text' && typeof actual === 'string') {
    if (actual.length < node.minLength) return `${shown} is empty`
    if (actual.length > node.maxLength) return `${shown} is longer than ${node.maxLength} characters`
  }
  const expected = `${shown} is not ${expectation(node)}`
  if (node.kind === 'integer' && node.maximum === undefined && Number(actual) > Number.MAX_SAFE_INTEGER)
    return `${expected} to ${Number.MAX_SAFE_INTEGER}`
  if (node.kind !== 'choice') {
    return node.kind === 'text' && typeof actual === 'number' ? `${expected}; put it in quotes` : expected
  }
  if (typeof actual !== 'string')
    return node.choices.includes(String(actual)) ? `${expected}; put it in quotes` : expected
  const suggestion = nearest(actual, node.choices)
  return suggestion === undefined ? expected : `${expected}; did you mean ${suggestion}?`
}

/** What is allowed at a place, to follow "is" or "is not". */
export function expectation(node: SchemaNode): string {
  switch (node.kind) {
    case 'text':
      return node.pattern === undefined ? 'a text' : `a text of the form ${node.pattern}`
    case 'boolean':
      return 'true or false'
    case 'choice':
      return node.choices.length === 1 ? `"${node.choices.join()}"` : `one of ${node.choices.join(', ')}`
    case 'integer': {
      const from = node.minimum === undefined ? '' : ` from ${node.minimum}`
      const to = node.maximum === undefined ? '' : ` to ${node.maximum}`
      return `a whole number${from}${to}`
    }
    case 'list':
      return node.minItems > 0 ? `a list with ${node.minItems} or more entries` : 'a list'
    case 'object':
    case 'variant':
    case 'free':
      return 'a mapping of keys to values'
    default:
      return node satisfies never
  }
}

function hintOf(node: SchemaNode | undefined): string {
  if (node === undefined) return ''
  return node.kind === 'choice' ? `: ${expectation(node)}` : `: ${node.description}`
}

function show(value: unknown): string {
  // JSON has no word for NaN and Infinity.
  const text = typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? String(value))
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}

function pathOf(issue: ConfigIssue): ConfigPath {
  return issue.path.map((segment) => (typeof segment === 'symbol' ? String(segment) : segment))
}

function removeWrong(issue: ConfigIssue, value: unknown): ConfigPath[] {
  const path = pathOf(issue)
  const places = issue.code === 'unrecognized_keys' ? issue.keys.map((key) => [...path, key]) : [path]
  return places.map((wrong) => {
    // A list goes as a whole, since without one entry the others would move; but not the listeners.
    const isEntry = typeof wrong.at(-1) === 'number' && wrong.length > 2
    const place = isEntry ? wrong.slice(0, -1) : wrong
    const container = valueAt(value, place.slice(0, -1))
    const key = place.at(-1)
    if (isRecord(container) && key !== undefined) delete container[key]
    return place
  })
}

function fillMissing(issue: ConfigIssue, value: unknown, root: ObjectNode): ConfigPath[] {
  const path = pathOf(issue)
  const container = valueAt(value, path.slice(0, -1))
  const node = nodeAt(root, path, value)
  const key = path.at(-1)
  if (!isRecord(container) || key === undefined || container[key] !== undefined) return []
  if (node?.kind === 'integer') container[key] = node.minimum ?? 0
  if (node?.kind === 'text') container[key] = 'missing'
  return [path]
}

function replaceEntry(issue: ConfigIssue, value: unknown): ConfigPath[] {
  const [section, index] = pathOf(issue)
  const list = section === undefined ? undefined : valueAt(value, [section])
  const standIn = standIns[String(section)]
  if (!Array.isArray(list) || typeof index !== 'number' || standIn === undefined) return []
  list[index] = standIn(index)
  return [[String(section), index]]
}
