import { z } from '@hono/zod-openapi'
import { endpoint, type Endpoint } from './endpoint.ts'
import { Agent, Stream } from './resources.ts'

const tag = 'tunnels'

export const tunnelEndpoints: readonly Endpoint[] = [
  endpoint({
    method: 'get',
    path: '/agents',
    tag,
    summary: 'Agents, with the services that they offer',
    scope: 'read',
    answer: z.array(Agent),
    run: ({ all }) => all.agents(),
  }),
  endpoint({
    method: 'get',
    path: '/streams',
    tag,
    summary: 'Streams that are open or opening',
    scope: 'read',
    answer: z.array(Stream),
    run: ({ all }) => all.streams(),
  }),
  endpoint({
    method: 'delete',
    path: '/streams/{id}',
    tag,
    summary: 'Cuts a stream: both ends are told',
    scope: 'write',
    params: z.strictObject({ id: z.string().min(1).max(1_024).describe('`id` of GET /streams.') }),
    notFound: 'there is no such stream',
    audit: 'cut stream',
    async run({ params: { id }, all, setTarget }) {
      setTarget(id)
      return (await all.cutStream(id)) || undefined
    },
  }),
]
