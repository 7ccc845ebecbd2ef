import { z } from '@hono/zod-openapi'
import { nearest } from '../../config/nearest.ts'
import { podQuery, type Endpoint } from './endpoint.ts'
import { ApiError } from './problem.ts'
import type { Problem } from './resources.ts'

type Mistake = NonNullable<Problem['mistakes']>[number]

export interface RawInput {
  readonly params: Readonly<Record<string, string>>
  readonly query: URLSearchParams
  readonly body: unknown
}

export interface Input {
  readonly params: unknown
  readonly query: unknown
  readonly body: unknown
  readonly pod: string | undefined
}

/** @throws {ApiError} of status 400 that names every mistake. */
export function checkInput(endpoint: Endpoint, raw: RawInput): Input {
  const mistakes: Mistake[] = []
  const check = (place: Mistake['in'], schema: z.ZodType, value: unknown): unknown => {
    const result = schema.safeParse(value)
    if (result.success) return result.data
    for (const issue of result.error.issues) mistakes.push(...mistakesOf(place, issue, schema))
    return undefined
  }
  const { pod, ...own } = readQuery(endpoint, raw.query, mistakes)
  const asked = check('query', podQuery.pod, pod) as string | undefined
  const input = {
    params: check('path', endpoint.params, raw.params),
    query: check('query', endpoint.query, own),
    body:
      endpoint.body &&
      check('body', endpoint.body, raw.body === undefined && !endpoint.needsBody ? {} : raw.body),
    pod: asked,
  }
  if (endpoint.body === undefined && raw.body !== undefined)
    mistakes.push({ in: 'body', at: '', message: 'there must be none' })
  if (mistakes.length > 0) throw new ApiError(400, sentenceOf(mistakes), { mistakes })
  return input
}

function readQuery(endpoint: Endpoint, query: URLSearchParams, mistakes: Mistake[]): Record<string, string> {
  const known = [...Object.keys(endpoint.query.shape), 'pod']
  const found: Record<string, string> = {}
  for (const name of new Set(query.keys())) {
    const values = query.getAll(name)
    if (!known.includes(name)) mistakes.push({ in: 'query', at: name, message: unknownName(name, known) })
    else if (values.length > 1) mistakes.push({ in: 'query', at: name, message: 'is there more than once' })
    else if (isNumber(endpoint.query.shape[name]) && !/^-?\d{1,15}$/.test(values[0] ?? ''))
      mistakes.push({ in: 'query', at: name, message: 'is no whole number' })
    else found[name] = values[0] ?? ''
  }
  return found
}

/** Number() takes more for a number than people do: nothing, for one. */
function isNumber(schema: unknown): boolean {
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodOptional) return isNumber(schema.def.innerType)
  return schema instanceof z.ZodNumber
}

function mistakesOf(place: Mistake['in'], issue: z.core.$ZodIssue, schema: z.ZodType): Mistake[] {
  const at = issue.path.map(String).join('.')
  if (issue.code !== 'unrecognized_keys') {
    const message =
      at === '' && place === 'body' && issue.code === 'invalid_type' ? 'must be a JSON object' : issue.message
    return [{ in: place, at, message }]
  }
  const known = 'shape' in schema ? Object.keys(schema.shape as object) : []
  return issue.keys.map((key) => ({
    in: place,
    at: [at, key].filter(Boolean).join('.'),
    message: unknownName(key, known),
  }))
}

function unknownName(name: string, known: readonly string[]): string {
  const meant = nearest(name, known)
  if (meant !== undefined) return `is not known; did you mean ${meant}?`
  return `is not known; there are ${known.join(', ')}`
}

/** `limit (query): Too big; filtr (query): is not known; did you mean filter?` */
function sentenceOf(mistakes: readonly Mistake[]): string {
  return mistakes
    .map(({ in: place, at, message }) =>
      at === '' ? `${place}: ${message}` : `${at} (${place}): ${message}`,
    )
    .join('; ')
}
