import { z } from '@hono/zod-openapi'
import { endpoint, type Endpoint } from './endpoint.ts'
import {
  AuditEntry,
  Ban,
  BanRequest,
  DrainRequest,
  DrainState,
  ipAddress,
  KeyFacts,
  Listener,
  LogLevel,
  Overview,
  Pod,
  Refusal,
} from './resources.ts'

const last = z.strictObject({ limit: z.coerce.number().int().min(1).max(10_000).default(100) })

export const brokerEndpoints: readonly Endpoint[] = [
  endpoint({
    method: 'get',
    path: '/overview',
    tag: 'broker',
    summary: 'Figures of all pods, added up',
    scope: 'read',
    answer: Overview,
    run: ({ all }) => all.overview(),
  }),
  endpoint({
    method: 'get',
    path: '/listeners',
    tag: 'broker',
    summary: 'Listeners, with their connections',
    scope: 'read',
    answer: z.array(Listener),
    run: ({ all }) => all.listeners(),
  }),
  endpoint({
    method: 'get',
    path: '/pods',
    tag: 'broker',
    summary: 'The pods; one that does not answer has null where only it would know',
    scope: 'read',
    answer: z.array(Pod),
    run: ({ all }) => all.pods(),
  }),
  endpoint({
    method: 'get',
    path: '/config',
    tag: 'broker',
    summary: 'The configuration in force, without secrets, of the pod that is asked',
    scope: 'read',
    answer: z.record(z.string(), z.unknown()),
    run: async ({ all }) => (await all.ask('config')) as Record<string, unknown>,
  }),
  endpoint({
    method: 'get',
    path: '/bans',
    tag: 'bans',
    summary: 'Banned addresses',
    scope: 'read',
    answer: z.array(Ban),
    run: ({ all }) => all.ask('bans'),
  }),
  endpoint({
    method: 'post',
    path: '/bans',
    tag: 'bans',
    summary: 'Bans an address, at all pods',
    scope: 'write',
    body: BanRequest,
    status: 201,
    answer: Ban,
    audit: 'ban',
    run({ body, all, setTarget }) {
      setTarget(`${body.address} for ${body.seconds} s`)
      return all.ask('ban', body)
    },
  }),
  endpoint({
    method: 'delete',
    path: '/bans/{address}',
    tag: 'bans',
    summary: 'Lifts a ban, at all pods',
    scope: 'write',
    params: z.strictObject({ address: ipAddress() }),
    notFound: 'this address is not banned',
    audit: 'unban',
    async run({ params: { address }, all, setTarget }) {
      setTarget(address)
      return (await all.ask('unban', address)) || undefined
    },
  }),
  endpoint({
    method: 'get',
    path: '/refusals',
    tag: 'log',
    summary: 'The last refusals of handlers and limits, newest first',
    scope: 'read',
    query: last,
    answer: z.array(Refusal),
    run: ({ query, all }) => all.refusals(query.limit),
  }),
  endpoint({
    method: 'get',
    path: '/audit',
    tag: 'log',
    summary: 'The last changes made through the API, newest first',
    scope: 'admin',
    query: last,
    answer: z.array(AuditEntry),
    run: ({ query, all }) => all.audit(query.limit),
  }),
  endpoint({
    method: 'get',
    path: '/log-level',
    tag: 'log',
    summary: 'From which level on the pod that is asked logs',
    scope: 'read',
    answer: LogLevel,
    run: ({ all }) => all.ask('logLevel'),
  }),
  endpoint({
    method: 'put',
    path: '/log-level',
    tag: 'log',
    summary: 'Sets it until the next start, at all pods unless `pod` names one',
    scope: 'admin',
    body: LogLevel,
    answer: LogLevel,
    audit: 'set log level',
    run({ body, all, setTarget }) {
      setTarget(body.level)
      return all.setLogLevel(body)
    },
  }),
  endpoint({
    method: 'get',
    path: '/drain',
    tag: 'drain',
    summary: 'Whether the pod that is asked is draining',
    scope: 'read',
    answer: DrainState,
    run: ({ all }) => all.ask('drainState'),
  }),
  endpoint({
    method: 'post',
    path: '/drain',
    tag: 'drain',
    summary:
      'Takes no more connections at the pod that is asked, and sends its clients away, spread over time',
    scope: 'admin',
    body: DrainRequest,
    needsBody: false,
    answer: DrainState,
    audit: 'drain',
    run({ body, all, setTarget }) {
      setTarget(all.here)
      return all.ask('drain', body)
    },
  }),
  endpoint({
    method: 'delete',
    path: '/drain',
    tag: 'drain',
    summary: 'Takes connections again',
    scope: 'admin',
    answer: DrainState,
    audit: 'end drain',
    run({ all, setTarget }) {
      setTarget(all.here)
      return all.ask('undrain')
    },
  }),
  endpoint({
    method: 'get',
    path: '/key',
    tag: 'key',
    summary: 'The key that this request came with',
    scope: 'none',
    answer: KeyFacts,
    run: ({ key }) => ({
      name: key.name,
      scopes: [...key.scopes],
      createdAt: new Date(key.createdAtMs).toISOString(),
      expiresAt: key.expiresAtMs === undefined ? null : new Date(key.expiresAtMs).toISOString(),
      isLocal: key.isLocal,
    }),
  }),
]
