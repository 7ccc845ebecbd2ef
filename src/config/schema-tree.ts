import { configJsonSchema, type JsonSchema } from './schema.ts'
import type { ConfigPath } from './mistake.ts'

export type ScalarKind = 'text' | 'integer' | 'boolean' | 'choice'

interface NodeFacts {
  readonly description: string
  readonly default: unknown
  readonly secret: boolean
  /** A secret of which only the password in the URL is kept from readers. */
  readonly secretUrl: boolean
  readonly filePath: boolean
}

export interface ScalarNode extends NodeFacts {
  readonly kind: ScalarKind
  /** Of a choice. */
  readonly choices: readonly string[]
  readonly minimum: number | undefined
  readonly maximum: number | undefined
  readonly pattern: string | undefined
  /** Characters of a text. */
  readonly minLength: number
  readonly maxLength: number
}

export interface ObjectNode extends NodeFacts {
  readonly kind: 'object'
  readonly properties: ReadonlyMap<string, SchemaNode>
  readonly required: ReadonlySet<string>
}

/** One of several objects, told apart by their `type`. */
export interface VariantNode extends NodeFacts {
  readonly kind: 'variant'
  readonly variants: ReadonlyMap<string, ObjectNode>
}

export interface ListNode extends NodeFacts {
  readonly kind: 'list'
  readonly items: SchemaNode
  readonly minItems: number
}

/** A mapping with keys of the user's own. */
export interface FreeNode extends NodeFacts {
  readonly kind: 'free'
  /** What each value is; undefined: anything. */
  readonly values: SchemaNode | undefined
}

export type SchemaNode = ScalarNode | ObjectNode | VariantNode | ListNode | FreeNode

/**
 * The schema as a tree to walk over: for the reference, environment variables, secrets, paths and messages.
 * Read from the JSON Schema, which is a published format, and not from the inside of the schema library.
 */
export function createSchemaTree(schema: JsonSchema = configJsonSchema()): ObjectNode {
  const root = nodeOf(schema)
  if (root.kind !== 'object') throw new Error('the configuration is not an object')
  return root
}

/** The node at a path. `value` is the configuration so far: its `type` keys say which variants are meant. */
export function nodeAt(root: SchemaNode, path: ConfigPath, value: unknown): SchemaNode | undefined {
  let node: SchemaNode | undefined = root
  let current = value
  for (const segment of path) {
    node = node === undefined ? undefined : childNode(node, segment, current)
    current =
      isRecord(current) || Array.isArray(current) ? (current as Record<string, unknown>)[segment] : undefined
  }
  return node
}

/** The properties that an object at this node may have; those of all variants if its type is not known. */
export function propertiesOf(node: SchemaNode, value: unknown): ReadonlyMap<string, SchemaNode> {
  if (node.kind === 'object') return node.properties
  if (node.kind === 'free') return new Map(valuesOf(node, value))
  if (node.kind !== 'variant') return new Map()
  const type = isRecord(value) ? value['type'] : undefined
  const chosen = typeof type === 'string' ? node.variants.get(type) : undefined
  if (chosen !== undefined) return chosen.properties
  const all = new Map([...node.variants.values()].flatMap((variant) => [...variant.properties]))
  return all.set('type', typeNode(node))
}

/** The keys are the user's, and each has a value of the same kind. */
function valuesOf({ values }: FreeNode, value: unknown): [string, SchemaNode][] {
  return values !== undefined && isRecord(value) ? Object.keys(value).map((key) => [key, values]) : []
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function childNode(node: SchemaNode, segment: string | number, value: unknown): SchemaNode | undefined {
  if (node.kind === 'list') return typeof segment === 'number' ? node.items : undefined
  return propertiesOf(node, value).get(String(segment))
}

function typeNode(node: VariantNode): ScalarNode {
  return { ...scalar('choice', { description: 'Type.' }), choices: [...node.variants.keys()] }
}

function nodeOf(schema: JsonSchema): SchemaNode {
  const alternatives = (schema.oneOf ?? schema.anyOf)?.map((alternative) => nodeOf(alternative))
  if (alternatives !== undefined) return oneOf(schema, alternatives)
  switch (schema.type) {
    case 'object':
      return schema.properties === undefined ? freeNode(schema) : objectNode(schema)
    case 'array':
      return {
        ...factsOf(schema),
        kind: 'list',
        items: nodeOf(schema.items as JsonSchema),
        minItems: schema.minItems ?? 0,
      }
    case 'integer':
      return scalar('integer', schema)
    case 'boolean':
      return scalar('boolean', schema)
    case 'string':
      return scalar(schema.enum === undefined && schema.const === undefined ? 'text' : 'choice', schema)
    default:
      throw new Error(`the configuration schema has a type that is not provided for: ${String(schema.type)}`)
  }
}

function oneOf(schema: JsonSchema, alternatives: readonly SchemaNode[]): SchemaNode {
  const objects = alternatives.filter((node) => node.kind === 'object')
  if (objects.length === 0) {
    const choices = alternatives.flatMap((node) => (node.kind === 'choice' ? node.choices : []))
    return { ...scalar('choice', schema), choices }
  }
  const variants = objects.map((node): [string, ObjectNode] => {
    const type = node.properties.get('type')
    return [type?.kind === 'choice' ? (type.choices[0] ?? '') : '', node]
  })
  return { ...factsOf(schema), kind: 'variant', variants: new Map(variants) }
}

function objectNode(schema: JsonSchema): ObjectNode {
  const properties = Object.entries(schema.properties ?? {})
  return {
    ...factsOf(schema),
    kind: 'object',
    properties: new Map(properties.map(([key, property]) => [key, nodeOf(property as JsonSchema)])),
    required: new Set(schema.required),
  }
}

function freeNode(schema: JsonSchema): FreeNode {
  const values = schema.additionalProperties
  const isTyped = isRecord(values) && values['type'] !== undefined
  return { ...factsOf(schema), kind: 'free', values: isTyped ? nodeOf(values) : undefined }
}

function scalar(kind: ScalarKind, schema: JsonSchema): ScalarNode {
  return {
    ...factsOf(schema),
    kind,
    choices: (schema.enum ?? (schema.const === undefined ? [] : [schema.const])).map(String),
    minimum: schema.minimum,
    // The largest safe integer stands for "no maximum".
    maximum: schema.maximum === Number.MAX_SAFE_INTEGER ? undefined : schema.maximum,
    pattern: schema.pattern,
    minLength: schema.minLength ?? 0,
    maxLength: schema.maxLength ?? Infinity,
  }
}

function factsOf(schema: JsonSchema): NodeFacts {
  return {
    description: schema.description ?? '',
    default: schema.default,
    secret: schema['secret'] === true,
    secretUrl: schema['secretUrl'] === true,
    filePath: schema['filePath'] === true,
  }
}
