/** What JSON Schema of our OpenAPI document uses. */
export interface Schema {
  readonly $ref?: string
  readonly type?: string | readonly string[]
  readonly enum?: readonly unknown[]
  readonly anyOf?: readonly Schema[]
  readonly format?: string
  readonly minimum?: number
  readonly maximum?: number
  readonly minLength?: number
  readonly maxLength?: number
  readonly items?: Schema
  readonly minItems?: number
  readonly maxItems?: number
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly additionalProperties?: unknown
}

export interface Samples {
  readonly valid: readonly unknown[]
  readonly invalid: readonly unknown[]
}

const formats: Readonly<Record<string, string>> = {
  ipv4: '192.0.2.7',
  ipv6: '2001:db8::7',
  'date-time': '2099-01-01T00:00:00Z',
}
/** A longer one is a matter of the size of the request, and not of its form. */
const LONGEST = 5_000

/** Values at the bounds of a schema, and just beyond them. */
export function samplesOf(schema: Schema): Samples {
  if (schema.enum !== undefined) return { valid: schema.enum, invalid: ['nonsense', 7, null] }
  if (schema.anyOf !== undefined) {
    const all = schema.anyOf.map(samplesOf)
    return { valid: all.flatMap(({ valid }) => valid), invalid: ['nonsense', 7, null] }
  }
  if (Array.isArray(schema.type)) return samplesOfTypes(schema, schema.type as readonly string[])
  switch (schema.type) {
    case 'null':
      return { valid: [null], invalid: ['nonsense', 7] }
    case 'array':
      return arraySamples(schema)
    case 'boolean':
      return { valid: [true, false], invalid: ['yes', 1, null] }
    case 'integer': {
      const { minimum, maximum } = schema
      const bounds = [minimum, maximum].filter((bound) => bound !== undefined)
      const beyond = [
        minimum === undefined ? [] : minimum - 1,
        maximum === undefined ? [] : maximum + 1,
      ].flat()
      return { valid: bounds.length > 0 ? bounds : [1], invalid: ['x', 1.5, null, ...beyond] }
    }
    case 'string': {
      const { minLength = 0, maxLength = Infinity, format = '' } = schema
      const tooLong = maxLength < LONGEST ? ['x'.repeat(maxLength + 1)] : []
      return {
        valid: [formats[format] ?? 'x'.repeat(Math.max(1, minLength))],
        invalid: [7, null, {}, ...tooLong, ...(minLength > 0 ? [''] : [])],
      }
    }
    case 'object':
      return objectSamples(schema)
    default:
      throw new Error(`no samples for ${JSON.stringify(schema)}`)
  }
}

/** Of what may be null: everything else that is wrong still is. */
function samplesOfTypes(schema: Schema, types: readonly string[]): Samples {
  const all = types.map((type) => samplesOf({ ...schema, type }))
  const invalid = (all[0]?.invalid ?? []).filter((value) => !(value === null && types.includes('null')))
  return { valid: all.flatMap(({ valid }) => valid), invalid }
}

function arraySamples({ items = {}, minItems = 0, maxItems = Infinity }: Schema): Samples {
  const { valid, invalid } = samplesOf(items)
  const tooMany = maxItems < LONGEST ? [Array.from({ length: maxItems + 1 }, () => valid[0])] : []
  return {
    valid: [minItems > 0 ? [valid[0]] : []],
    invalid: [
      7,
      null,
      'x',
      {},
      ...(minItems > 0 ? [[]] : []),
      ...tooMany,
      ...invalid.map((value) => [value]),
    ],
  }
}

function objectSamples({ properties = {}, required = [], additionalProperties }: Schema): Samples {
  const samples = new Map(Object.entries(properties).map(([name, schema]) => [name, samplesOf(schema)]))
  const least = Object.fromEntries(required.map((name) => [name, samples.get(name)?.valid[0]]))
  const invalid: unknown[] = [7, [], 'x', null, ...required.map((name) => ({ ...least, [name]: undefined }))]
  const valid: unknown[] = [least]
  for (const [name, values] of samples) {
    valid.push(...values.valid.map((value) => ({ ...least, [name]: value })))
    invalid.push(...values.invalid.map((value) => ({ ...least, [name]: value })))
  }
  if (additionalProperties === false) invalid.push({ ...least, unheardOf: 1 })
  return { valid, invalid }
}
