import { z } from '@hono/zod-openapi'
import { endpoint, type Endpoint } from './endpoint.ts'
import { RetainedMessage, RetainedPage, RetainedQuery } from './resources.ts'

const tag = 'retained'
const query = z.strictObject({ topic: z.string().min(1).max(65_535).describe('Topic name, whole.') })

export const retainedEndpoints: readonly Endpoint[] = [
  endpoint({
    method: 'get',
    path: '/retained',
    tag,
    summary: 'Retained messages that match a filter, by topic',
    scope: 'read',
    query: RetainedQuery,
    answer: RetainedPage,
    run: ({ query: asked, all }) => all.ask('retained', asked),
  }),
  endpoint({
    method: 'get',
    path: '/retained/message',
    tag,
    summary: 'One retained message, with its whole payload',
    scope: 'read',
    query,
    answer: RetainedMessage,
    notFound: 'nothing is retained on this topic',
    run: ({ query: { topic }, all }) => all.ask('retainedMessage', topic),
  }),
  endpoint({
    method: 'delete',
    path: '/retained/message',
    tag,
    summary: 'Deletes a retained message',
    scope: 'write',
    query,
    notFound: 'nothing is retained on this topic',
    audit: 'delete retained',
    async run({ query: { topic }, all, setTarget }) {
      setTarget(topic)
      return (await all.ask('deleteRetained', topic)) || undefined
    },
  }),
]
