import type { Config } from './schema.ts'
import { createSchemaTree, isRecord, propertiesOf, type SchemaNode } from './schema-tree.ts'
import { writeYaml } from './yaml.ts'

const MASK = '***'

/** The effective configuration as YAML, with `***` in the place of secrets. */
export function printConfig(config: Config): string {
  return writeYaml(withoutSecrets(config, createSchemaTree()))
}

/** A copy in which secrets cannot be read. */
export function withoutSecrets(value: unknown, node: SchemaNode | undefined): unknown {
  if (node === undefined || value === undefined) return value
  if (node.secretUrl && typeof value === 'string') return withoutPassword(value)
  if (node.secret) return isRecord(value) ? maskValues(value) : MASK
  if (Array.isArray(value) && node.kind === 'list')
    return value.map((item) => withoutSecrets(item, node.items))
  if (!isRecord(value)) return value
  const properties = propertiesOf(node, value)
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [key, withoutSecrets(inner, properties.get(key))]),
  )
}

function maskValues(value: Record<string, unknown>): Record<string, string> {
  return Object.fromEntries(Object.keys(value).map((key) => [key, MASK]))
}

/**
 * Of a URL the password is secret, and what else services take for keys: all of its query, and a user name without a
 * password in HTTP. What is none that we can read is so as a whole.
 */
export function withoutPassword(text: string): string {
  if (!URL.canParse(text)) return MASK
  const url = new URL(text)
  if (url.password !== '') url.password = MASK
  else if (url.username !== '' && /^https?:$/.test(url.protocol)) url.username = MASK
  if (url.search !== '') url.search = MASK
  return url.href
}
