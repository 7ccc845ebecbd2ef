import { Hono, type Context } from 'hono'
import type { Log } from '../../log.ts'
import { LOCAL_KEY_NAME } from '../api-key.ts'
import type { Audit } from '../audit.ts'
import { Everywhere } from '../everywhere.ts'
import type { StoredKey } from '../key-file.ts'
import type { PodCalls } from '../operations.ts'
import { brokerEndpoints } from './broker-endpoints.ts'
import { clientEndpoints } from './client-endpoints.ts'
import { createDocument, MISSING_PODS } from './document.ts'
import type { Endpoint } from './endpoint.ts'
import { demandScope, type Guard } from './guard.ts'
import { identityEndpoints } from './identity-endpoints.ts'
import { insightEndpoints } from './insight-endpoints.ts'
import { ApiError, asApiError, problemResponse } from './problem.ts'
import { readJsonBody } from './request-body.ts'
import { checkInput } from './request-input.ts'
import { retainedEndpoints } from './retained-endpoints.ts'
import { tunnelEndpoints } from './tunnel-endpoints.ts'

export interface ApiOptions {
  readonly podCalls: PodCalls
  readonly notReadyReasons: () => readonly string[]
  readonly guard: Guard
  readonly audit: Audit
  readonly maxBodyBytes: number
  readonly version: string
  readonly log: Log
}

/** Of the HTTP server, for each request. */
export interface RequestEnvironment {
  /** Where the request comes from. */
  readonly address: string
}

export const endpoints: readonly Endpoint[] = [
  ...brokerEndpoints,
  ...clientEndpoints,
  ...retainedEndpoints,
  ...tunnelEndpoints,
  ...insightEndpoints,
  ...identityEndpoints,
]

/** Answers a request to it. */
export interface Api {
  fetch(request: Request, environment: RequestEnvironment): Response | Promise<Response>
}

interface Types {
  Bindings: RequestEnvironment
  Variables: { key: StoredKey }
}

/** The API, with paths that begin with /api/v1. */
export function createApi(options: ApiOptions): Api {
  const { guard, log, version } = options
  const api = new Hono<Types>().basePath('/api/v1')
  let document: string | undefined

  api.onError((error, context) => {
    const answered = asApiError(error, options.notReadyReasons())
    if (answered.status === 500) log.error({ err: error, path: context.req.path }, 'admin request failed')
    return problemResponse(answered)
  })
  // Without a key: made once.
  api.get('/openapi.json', (context) => {
    document ??= JSON.stringify(createDocument(endpoints, version))
    return context.body(document, 200, { 'content-type': 'application/json' })
  })
  // Before anything is said of what there is.
  api.use(async (context, next) => {
    const { headers, url } = context.req.raw
    context.set('key', guard.identify(headers.get('authorization'), context.env.address))
    checkPath(url)
    await next()
  })
  for (const endpoint of endpoints)
    api.on(endpoint.method.toUpperCase(), patternOf(endpoint), (context) =>
      answer(endpoint, context, options),
    )
  for (const [pattern, methods] of methodsByPattern()) {
    const allow = [...methods, 'OPTIONS'].join(', ')
    api.options(pattern, () => new Response(null, { status: 204, headers: { allow } }))
    api.all(pattern, ({ req }) => {
      throw new ApiError(405, `${req.method} is not possible here; possible: ${allow}.`, {
        headers: { allow },
      })
    })
  }
  api.all('*', ({ req }) => {
    throw new ApiError(404, `There is no ${req.path}; GET /api/v1/openapi.json says what there is.`)
  })
  return api
}

async function answer(endpoint: Endpoint, context: Context<Types>, options: ApiOptions): Promise<Response> {
  const { key } = context.var
  const { audit } = options
  let target: string | undefined
  const note = (status: number): void => {
    if (endpoint.audit === undefined) return
    const outcome = status < 400 ? 'done' : status < 500 ? 'refused' : 'failed'
    const { address } = context.env
    audit.note({
      key: key.name,
      address,
      action: endpoint.audit,
      target: target ?? context.req.path,
      outcome,
    })
  }
  try {
    demandScope(key, endpoint.scope)
    const response = await run(endpoint, context, options, (named) => (target = named))
    note(response.status)
    return response
  } catch (error) {
    note(asApiError(error).status)
    throw error
  }
}

async function run(
  endpoint: Endpoint,
  context: Context<Types>,
  { podCalls, maxBodyBytes }: ApiOptions,
  setTarget: (target: string) => void,
): Promise<Response> {
  const { req } = context
  const { key } = context.var
  const hasBody = req.method !== 'GET' && req.method !== 'HEAD'
  const { pod, ...input } = checkInput(endpoint, {
    params: req.param(),
    query: new URL(req.url).searchParams,
    body: hasBody ? await readJsonBody(req.raw, maxBodyBytes) : undefined,
  })
  const all = await Everywhere.of(podCalls, pod)
  const isLocal = key.name === LOCAL_KEY_NAME
  const atRevision =
    endpoint.hasRevision && endpoint.method !== 'get' ? readIfMatch(req.header('if-match')) : undefined
  const result = await endpoint.run({ ...input, all, key: { ...key, isLocal }, setTarget, atRevision })
  const missing = [...all.missing].join(',')
  const headers: Record<string, string> = missing === '' ? {} : { [MISSING_PODS]: missing }
  if (result === undefined && endpoint.notFound !== undefined) {
    const doubt = missing === '' ? '' : ` These pods did not answer: ${missing}.`
    throw new ApiError(404, `Not found: ${endpoint.notFound}.${doubt}`, { headers })
  }
  if (endpoint.hasRevision) Object.assign(headers, etagOf(result))
  if (endpoint.status === 204) return new Response(null, { status: 204, headers })
  return Response.json(result, { status: endpoint.status, headers })
}

/** @throws {ApiError} of status 400 for what is no etag of ours: it must not be as if nothing had been asked. */
function readIfMatch(header: string | undefined): number | undefined {
  if (header === undefined || header === '*') return undefined
  const digits = /^"(\d{1,15})"$/.exec(header)?.[1]
  if (digits === undefined) throw new ApiError(400, 'if-match must be an etag of this record, such as "42".')
  return Number(digits)
}

function etagOf(result: unknown): Record<string, string> {
  const isRecord = typeof result === 'object' && result !== null && 'revision' in result
  return isRecord && typeof result.revision === 'number' ? { etag: `"${result.revision}"` } : {}
}

/** @throws {ApiError} of status 400 for what is no percent-encoded UTF-8: a name would be read wrongly. */
function checkPath(url: string): void {
  const { pathname } = new URL(url)
  try {
    decodeURIComponent(pathname)
  } catch (error) {
    throw new ApiError(400, 'The path is not percent-encoded UTF-8.', { cause: error })
  }
}

function patternOf({ path }: Endpoint): string {
  return path.replaceAll(/\{(\w+)\}/g, ':$1')
}

function methodsByPattern(): Map<string, string[]> {
  const methods = new Map([['/openapi.json', ['GET', 'HEAD']]])
  for (const endpoint of endpoints) {
    const pattern = patternOf(endpoint)
    const known = methods.get(pattern) ?? []
    known.push(endpoint.method.toUpperCase())
    if (endpoint.method === 'get') known.push('HEAD')
    methods.set(pattern, known)
  }
  return methods
}
