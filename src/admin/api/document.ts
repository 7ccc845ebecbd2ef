import { OpenAPIHono, z, createRoute } from '@hono/zod-openapi'
import { STATUS_CODES } from 'node:http'
import { podQuery, type Endpoint } from './endpoint.ts'
import { Problem } from './resources.ts'

export const MISSING_PODS = 'x-tunnelmq-missing-pods'

const description = `See and change a running broker. Every request needs an API key (\`tunnelmq api-key create\`) as bearer token, of the scope that is named. With several pods, any of them answers for all: \`pod\` asks one. Pods that did not answer in time are named in the header \`${MISSING_PODS}\`.`

/** The refusals that every endpoint can answer with. */
const common = {
  400: 'A parameter or the body is wrong; `mistakes` names each.',
  401: 'No API key, or one that is wrong or has expired.',
  403: 'The key has not the scope.',
  429: 'Too many requests, or wrong keys; `retry-after` says how many seconds to wait.',
  500: 'A mistake of the broker; its log says more.',
  503: 'Not now: the broker is starting, its store or the pod that is asked does not answer, or a limit is reached.',
}

function problem(text: string) {
  return { description: text, content: { 'application/problem+json': { schema: Problem } } }
}

/** OpenAPI 3.1, of these endpoints. */
export function createDocument(endpoints: readonly Endpoint[], version: string): object {
  // Its registry alone is wanted: requests are checked by request-input.ts, with errors of our own.
  const app = new OpenAPIHono()
  app.openAPIRegistry.registerComponent('securitySchemes', 'key', { type: 'http', scheme: 'bearer' })
  for (const endpoint of endpoints) app.openAPIRegistry.registerPath(routeOf(endpoint))
  app.openAPIRegistry.registerPath({
    method: 'get',
    path: '/api/v1/openapi.json',
    tags: ['key'],
    summary: 'This description',
    security: [],
    responses: {
      200: {
        description: STATUS_CODES[200] ?? '',
        content: { 'application/json': { schema: z.record(z.string(), z.unknown()) } },
      },
    },
  })
  return app.getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'TunnelMQ',
      version,
      description,
      license: { name: 'Apache-2.0' },
    },
  })
}

const ifMatch = z.object({
  'if-match': z.string().optional().describe('An etag: the change is made only if the record still has it.'),
})

function routeOf(endpoint: Endpoint) {
  const { method, path, tag, summary, description: text, scope, status, answer, body, needsBody } = endpoint
  const done = {
    description: STATUS_CODES[status] ?? '',
    headers: z.object({
      [MISSING_PODS]: z.string().optional().describe('Ids of pods that did not answer, with commas between.'),
      ...(endpoint.hasRevision &&
        status !== 204 && { etag: z.string().describe('The revision, in quotes.') }),
    }),
    ...(answer !== undefined && { content: { 'application/json': { schema: answer } } }),
  }
  const refusals: Record<number, string> = { ...common }
  if (endpoint.notFound !== undefined) refusals[404] = `Not found: ${endpoint.notFound}.`
  if (endpoint.conflict !== undefined) refusals[409] = `Not possible: ${endpoint.conflict}.`
  const isConditional = endpoint.hasRevision && method !== 'get'
  if (isConditional) refusals[412] = 'The record has another revision by now than `if-match` says.'
  // Also where none is taken: then what is no JSON, or too large, is refused before that is said.
  if (method !== 'get') {
    refusals[413] = 'The body is larger than `admin.maxBodyBytes`.'
    refusals[415] = 'The body is not application/json.'
  }
  return createRoute({
    method,
    path: `/api/v1${path}`,
    operationId: operationId(endpoint),
    tags: [tag],
    summary,
    description: `${text === undefined ? '' : `${text} `}Scope: ${scope === 'none' ? 'any' : `\`${scope}\``}.`,
    security: [{ key: scope === 'none' ? [] : [scope] }],
    request: {
      params: endpoint.params,
      query: z.object({ ...endpoint.query.shape, ...podQuery }),
      ...(isConditional && { headers: ifMatch }),
      ...(body !== undefined && {
        body: { required: needsBody, content: { 'application/json': { schema: body } } },
      }),
    },
    responses: {
      [status]: done,
      ...Object.fromEntries(Object.entries(refusals).map(([code, why]) => [code, problem(why)])),
    },
  })
}

/** `getClients`, `postClientsDisconnect`. */
function operationId({ method, path }: Endpoint): string {
  const words = path.split(/[/-]/).filter((word) => word !== '' && !word.startsWith('{'))
  const one = path.endsWith('}') ? 'One' : ''
  return method + words.map((word) => word.slice(0, 1).toUpperCase() + word.slice(1)).join('') + one
}
