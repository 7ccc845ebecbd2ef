import { z } from '@hono/zod-openapi'
import { readTrace, startTrace, stopTrace } from '../everywhere-trace.ts'
import { endpoint, type Endpoint } from './endpoint.ts'
import { Explanation, TracePage, TraceRequest, TraceStarted, WhyRequest } from './resources.ts'

/** Less than the server waits for a connection on which nothing moves. */
const MAX_WAIT_MS = 10_000

const traceParams = z.strictObject({ id: z.string().min(1).max(4_096) })

export const insightEndpoints: readonly Endpoint[] = [
  endpoint({
    method: 'post',
    path: '/why',
    tag: 'insight',
    summary: 'Why a client may connect, publish, subscribe or open a stream, or may not',
    scope: 'trace',
    body: WhyRequest,
    answer: Explanation,
    run: ({ body, all }) => all.why(body),
  }),
  endpoint({
    method: 'post',
    path: '/traces',
    tag: 'insight',
    summary: 'Begins to show the packets of one client, or on some topics',
    description: 'Ends by itself when nobody has read it for `admin.traceIdleMs`.',
    scope: 'trace',
    body: TraceRequest,
    status: 201,
    answer: TraceStarted,
    audit: 'trace',
    run({ body, all, setTarget }) {
      setTarget(body.client ?? body.topic ?? '')
      return startTrace(all, body)
    },
  }),
  endpoint({
    method: 'get',
    path: '/traces/{id}',
    tag: 'insight',
    summary: 'The packets since the last answer',
    scope: 'trace',
    params: traceParams,
    query: z.strictObject({
      after: z.string().max(4_096).default('').describe('`next` of the answer before.'),
      waitMs: z.coerce
        .number()
        .int()
        .min(0)
        .max(MAX_WAIT_MS)
        .default(0)
        // Number(null) is 0, so null is taken for possible otherwise.
        .openapi({ type: 'integer' })
        .describe('How long to wait for the first packet.'),
    }),
    answer: TracePage,
    notFound: 'there is no such trace any more: one that nobody reads ends',
    run: ({ params: { id }, query: { after, waitMs }, all }) => readTrace(all, id, after, waitMs),
  }),
  endpoint({
    method: 'delete',
    path: '/traces/{id}',
    tag: 'insight',
    summary: 'Ends a trace',
    scope: 'trace',
    params: traceParams,
    notFound: 'there is no such trace any more',
    async run({ params: { id }, all }) {
      return (await stopTrace(all, id)) || undefined
    },
  }),
]
