import { z } from '@hono/zod-openapi'
import {
  BanRequest,
  ClientQuery,
  DrainRequest,
  LogLevel,
  QueueQuery,
  RetainedQuery,
  TraceRequest,
  WhyRequest,
} from './api/resources.ts'
import {
  GroupRequest,
  IdentityChange,
  IdentityKeyRequest,
  IdentityQuery,
  IdentityRequest,
  Name,
  NameQuery,
  PasswordRequest,
  RoleRequest,
} from './api/identity-resources.ts'
import type { OperationName, PodOperations } from './operations.ts'

const clientRef = z.object({ id: z.string(), mountpoint: z.string() })
const text = z.string().max(65_535)
const count = z.int().min(0)
// JSON has no undefined: an absent last argument is not there, or null.
const revision = count.nullish().transform((value) => value ?? undefined)

/**
 * What each operation takes, checked when a question comes from another pod: that pod may be of another version, and
 * whoever can write to Redis can say anything.
 */
export const operationArguments: {
  readonly [Name in OperationName]: z.ZodType<Parameters<PodOperations[Name]>>
} = {
  overview: z.tuple([]),
  clients: z.tuple([ClientQuery]),
  client: z.tuple([clientRef]),
  disconnect: z.tuple([clientRef]),
  removeSession: z.tuple([clientRef]),
  queue: z.tuple([clientRef, QueueQuery]),
  retained: z.tuple([RetainedQuery]),
  retainedMessage: z.tuple([text]),
  deleteRetained: z.tuple([text]),
  agents: z.tuple([]),
  streams: z.tuple([]),
  cutStream: z.tuple([text]),
  listeners: z.tuple([]),
  bans: z.tuple([]),
  ban: z.tuple([BanRequest]),
  unban: z.tuple([text]),
  refusals: z.tuple([count]),
  audit: z.tuple([count]),
  pod: z.tuple([]),
  config: z.tuple([]),
  logLevel: z.tuple([]),
  setLogLevel: z.tuple([LogLevel]),
  drainState: z.tuple([]),
  drain: z.tuple([DrainRequest]),
  undrain: z.tuple([]),
  why: z.tuple([WhyRequest]),
  startTrace: z.tuple([TraceRequest]),
  readTrace: z.tuple([text, count, count]),
  stopTrace: z.tuple([text]),
  identities: z.tuple([IdentityQuery]),
  identity: z.tuple([Name]),
  createIdentity: z.tuple([IdentityRequest]),
  changeIdentity: z.tuple([Name, IdentityChange, revision]),
  deleteIdentity: z.tuple([Name, revision]),
  setIdentityPassword: z.tuple([Name, PasswordRequest, revision]),
  deleteIdentityPassword: z.tuple([Name, revision]),
  createIdentityKey: z.tuple([Name, IdentityKeyRequest]),
  deleteIdentityKey: z.tuple([Name, text]),
  groups: z.tuple([NameQuery]),
  group: z.tuple([Name]),
  putGroup: z.tuple([Name, GroupRequest, revision]),
  deleteGroup: z.tuple([Name, revision]),
  roles: z.tuple([NameQuery]),
  role: z.tuple([Name]),
  putRole: z.tuple([Name, RoleRequest, revision]),
  deleteRole: z.tuple([Name, revision]),
}
