import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  parse,
  parseDocument,
  stringify,
  type Node,
  type YAMLError,
} from 'yaml'
import type { ConfigPath } from './mistake.ts'

export interface Position {
  readonly line: number
  readonly column: number
}

/** A YAML text as plain values, which still knows where each of them stands. */
export interface YamlText {
  readonly value: unknown
  readonly syntaxErrors: readonly (Position & { readonly message: string })[]
  /** Where a value, or its key, stands; for what is not there: the nearest that is around it. */
  locate(path: ConfigPath, what: 'key' | 'value'): Position
}

/** Reads a YAML text; never throws. */
export function readYaml(text: string): YamlText {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true })
  const position = (offset: number): Position => {
    const { line, col } = lines.linePos(offset)
    return { line, column: col }
  }

  const syntaxErrors = document.errors.map((error) => ({
    ...position(error.pos[0]),
    message: wordsOf(error),
  }))
  let value: unknown
  if (syntaxErrors.length === 0) {
    try {
      value = withoutCycles(document.toJS())
    } catch (error) {
      // An alias without an anchor, or aliases that multiply without end.
      syntaxErrors.push({
        line: 1,
        column: 1,
        message: error instanceof Error ? error.message : String(error),
      })
    }
  }

  function locate(path: ConfigPath, what: 'key' | 'value'): Position {
    let node: unknown = document.contents
    let offset = startOf(node) ?? 0
    for (const [depth, segment] of path.entries()) {
      if (isAlias(node)) node = node.resolve(document)
      const step = child(node, segment)
      if (step === undefined) break
      const wantsKey = what === 'key' && depth === path.length - 1
      offset = (wantsKey ? startOf(step.key) : startOf(step.value)) ?? startOf(step.key) ?? offset
      node = step.value
    }
    return position(offset)
  }

  return { value, syntaxErrors, locate }
}

function wordsOf({ code, message }: YAMLError): string {
  if (code === 'RESOURCE_EXHAUSTION') return 'too much is nested'
  if (code === 'MULTIPLE_DOCS')
    return 'begins another document: a configuration is one, without --- in between'
  return message
}

/** One value in YAML's short form, from an environment variable: `[a, b]`, `{ type: tcp }`. Throws when malformed. */
export function readYamlValue(text: string): unknown {
  return withoutCycles(parse(text))
}

/** Throws for an alias within what it stands for. */
function withoutCycles(value: unknown): unknown {
  try {
    JSON.stringify(value)
    return value
  } catch (error) {
    throw new Error('an alias (*) is within what it stands for, or too much is nested', { cause: error })
  }
}

export function writeYaml(value: unknown): string {
  return stringify(value, { lineWidth: 0 })
}

function child(node: unknown, segment: string | number): { key: unknown; value: unknown } | undefined {
  if (isSeq(node)) {
    const value = typeof segment === 'number' ? node.items[segment] : undefined
    return value === undefined ? undefined : { key: value, value }
  }
  if (!isMap(node)) return undefined
  return node.items.find((pair) => isScalar(pair.key) && String(pair.key.value) === String(segment))
}

function startOf(node: unknown): number | undefined {
  return (node as Node | null | undefined)?.range?.[0]
}
