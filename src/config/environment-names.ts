import type { ConfigPath } from './mistake.ts'
import { isRecord, propertiesOf, type SchemaNode } from './schema-tree.ts'

/** `maxPacketBytes` in an environment variable: `MAX_PACKET_BYTES`. */
export function toVariableWord(key: string): string {
  return key.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()
}

/** The path that `LIMITS_MAX_PACKET_BYTES` or `LISTENERS_0_PORT` stands for. */
export function pathOfVariable(name: string, node: SchemaNode, value: unknown): ConfigPath | undefined {
  if (node.kind === 'list') {
    const match = /^(\d{1,4})(?:_(.+))?$/.exec(name)
    if (match?.[1] === undefined) return undefined
    const index = Number(match[1])
    return prefixed(index, match[2], node.items, Array.isArray(value) ? value[index] : undefined)
  }
  for (const [key, property] of propertiesOf(node, value)) {
    const word = toVariableWord(key)
    const inner = isRecord(value) ? value[key] : undefined
    if (name === word) return [key]
    if (!name.startsWith(`${word}_`)) continue
    const path = prefixed(key, name.slice(word.length + 1), property, inner)
    if (path !== undefined) return path
  }
  return undefined
}

/** All variables there are, to find the nearest to `like`; its numbers stand for those of lists. */
export function environmentNames(root: SchemaNode, like: string): readonly string[] {
  const numbers = [...like.matchAll(/_(\d{1,4})(?=_|$)/g)].map((match) => match[1] ?? '0')
  return namesOf(root, 'TUNNELMQ', numbers)
}

function namesOf(node: SchemaNode, prefix: string, numbers: readonly string[]): readonly string[] {
  if (node.kind === 'list') {
    const entry = `${prefix}_${numbers[0] ?? '0'}`
    return [prefix, ...namesOf(node.items, entry, numbers.slice(1))]
  }
  if (node.kind !== 'object' && node.kind !== 'variant') return [prefix]
  const words = [...propertiesOf(node, undefined)]
  return words.flatMap(([key, property]) => namesOf(property, `${prefix}_${toVariableWord(key)}`, numbers))
}

function prefixed(
  segment: string | number,
  rest: string | undefined,
  node: SchemaNode,
  value: unknown,
): ConfigPath | undefined {
  if (rest === undefined) return [segment]
  const path = pathOfVariable(rest, node, value)
  return path === undefined ? undefined : [segment, ...path]
}
