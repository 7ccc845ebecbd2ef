import { z } from '@hono/zod-openapi'
import { endpoint, type Endpoint } from './endpoint.ts'
import { ClientDetail, ClientPage, ClientQuery, QueuePage, QueueQuery } from './resources.ts'

const tag = 'clients'
const params = z.strictObject({
  id: z.string().min(1).max(65_535).describe('Client id, percent-encoded.'),
})
const ref = z.strictObject({
  mountpoint: z
    .string()
    .max(1_024)
    .default('')
    .describe('Of its listener; client ids are names within a mountpoint.'),
  clientId: z
    .string()
    .min(1)
    .max(65_535)
    .optional()
    .describe('In place of the id in the path: for the ids `.` and `..`, which URLs cannot carry there.'),
})

interface Named {
  readonly params: z.output<typeof params>
  readonly query: z.output<typeof ref>
}

function refOf({ params: path, query }: Named): { id: string; mountpoint: string } {
  return { id: query.clientId ?? path.id, mountpoint: query.mountpoint }
}

function nameOf(named: Named): string {
  const { id, mountpoint } = refOf(named)
  return mountpoint === '' ? id : `${mountpoint} ${id}`
}

export const clientEndpoints: readonly Endpoint[] = [
  endpoint({
    method: 'get',
    path: '/clients',
    tag,
    summary: 'Clients that are connected, and stored sessions, by id',
    scope: 'read',
    query: ClientQuery,
    answer: ClientPage,
    run: ({ query, all }) => all.clients(query),
  }),
  endpoint({
    method: 'get',
    path: '/clients/{id}',
    tag,
    summary: 'One client, with its subscriptions',
    scope: 'read',
    params,
    query: ref,
    answer: ClientDetail,
    notFound: 'neither connected nor stored',
    run: (request) => request.all.client(refOf(request)),
  }),
  endpoint({
    method: 'post',
    path: '/clients/{id}/disconnect',
    tag,
    summary: 'Closes its connection, at whichever pod it is; its session stays',
    scope: 'write',
    params,
    query: ref,
    notFound: 'it has no connection',
    audit: 'disconnect',
    async run(request) {
      request.setTarget(nameOf(request))
      return (await request.all.ask('disconnect', refOf(request))) || undefined
    },
  }),
  endpoint({
    method: 'delete',
    path: '/clients/{id}',
    tag,
    summary: 'Closes its connection, and removes its stored session with all that waits for it',
    scope: 'write',
    params,
    query: ref,
    notFound: 'neither connected nor stored',
    audit: 'remove session',
    async run(request) {
      request.setTarget(nameOf(request))
      return (await request.all.ask('removeSession', refOf(request))) || undefined
    },
  }),
  endpoint({
    method: 'get',
    path: '/clients/{id}/queue',
    tag,
    summary: 'What waits for a stored session, oldest first',
    scope: 'read',
    params,
    query: z.strictObject({ ...ref.shape, ...QueueQuery.shape }),
    answer: QueuePage,
    notFound: 'it has no stored session',
    run: (request) => {
      const { after, limit } = request.query
      return request.all.queue(refOf(request), { after, limit })
    },
  }),
]
