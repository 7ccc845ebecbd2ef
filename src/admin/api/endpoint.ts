import { z } from '@hono/zod-openapi'
import type { Everywhere } from '../everywhere.ts'
import type { StoredKey } from '../key-file.ts'
import type { Scope } from './scopes.ts'

/** One operation of the API: what it takes and gives, who may ask, and how it is answered. */
export interface Endpoint {
  readonly method: 'get' | 'post' | 'put' | 'patch' | 'delete'
  /** Below /api/v1, as OpenAPI writes it: `/clients/{id}`. */
  readonly path: string
  readonly tag: string
  readonly summary: string
  readonly description?: string
  /** `none`: any key. */
  readonly scope: Scope | 'none'
  readonly params: z.ZodObject
  readonly query: z.ZodObject
  /** Undefined: it takes none. */
  readonly body: z.ZodType | undefined
  /** False: an empty body stands for `{}`. */
  readonly needsBody: boolean
  readonly status: 200 | 201 | 204
  /** Of status 200 and 201. */
  readonly answer: z.ZodType | undefined
  /** In which case it answers 404. */
  readonly notFound: string | undefined
  /** In which case it answers 409. */
  readonly conflict: string | undefined
  /** It shows the record's `revision` as etag, and takes it as if-match: 412 if there is another by now. */
  readonly hasRevision: boolean
  /** The name under which it stands in the audit log; undefined: it changes nothing. */
  readonly audit: string | undefined
  run(request: EndpointRequest): unknown
}

export interface EndpointRequest {
  readonly params: unknown
  readonly query: unknown
  readonly body: unknown
  readonly all: Everywhere
  readonly key: StoredKey & { readonly isLocal: boolean }
  /** What the change is made to, for the audit log. */
  readonly setTarget: (target: string) => void
  /** From if-match; undefined: there is none. */
  readonly atRevision: number | undefined
}

const nothing = z.strictObject({})
type Nothing = typeof nothing

interface Written<
  Params extends z.ZodObject,
  Query extends z.ZodObject,
  Body extends z.ZodType,
  Answer extends z.ZodType,
> extends Pick<Endpoint, 'method' | 'path' | 'tag' | 'summary' | 'scope'> {
  readonly description?: string
  readonly params?: Params
  readonly query?: Query
  readonly body?: Body
  readonly needsBody?: boolean
  readonly status?: Endpoint['status']
  readonly answer?: Answer
  readonly notFound?: string
  readonly conflict?: string
  readonly hasRevision?: boolean
  readonly audit?: string
  /** Undefined: 404, or nothing to say (204). */
  run(
    request: Omit<EndpointRequest, 'params' | 'query' | 'body'> & {
      readonly params: z.output<Params>
      readonly query: z.output<Query>
      readonly body: z.output<Body>
    },
  ): Promise<z.input<Answer> | undefined> | z.input<Answer> | undefined
}

/** An endpoint whose `run` is checked against its schemas. */
export function endpoint<
  Answer extends z.ZodType,
  Params extends z.ZodObject = Nothing,
  Query extends z.ZodObject = Nothing,
  Body extends z.ZodType = z.ZodUndefined,
>(written: Written<Params, Query, Body, Answer>): Endpoint {
  const { params = nothing, query = nothing, body, needsBody = body !== undefined } = written
  const status = written.status ?? (written.answer === undefined ? 204 : 200)
  return {
    ...written,
    params,
    query,
    body,
    needsBody,
    status,
    answer: written.answer,
    notFound: written.notFound,
    conflict: written.conflict,
    hasRevision: written.hasRevision === true,
    audit: written.audit,
    // What it is called with has passed these schemas.
    run: (request) => written.run(request as Parameters<typeof written.run>[0]),
  }
}

/** Every endpoint has it beside its own. */
export const podQuery = {
  pod: z
    .string()
    .min(1)
    .max(256)
    .optional()
    .describe('Id or name of the one pod that is asked. Default: see the description of the API.'),
}
