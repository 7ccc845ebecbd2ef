import { z } from '@hono/zod-openapi'
import { endpoint, type Endpoint } from './endpoint.ts'
import {
  Group,
  GroupPage,
  GroupRequest,
  IdentityChange,
  IdentityDetail,
  IdentityKey,
  IdentityKeyMade,
  IdentityKeyRequest,
  IdentityPage,
  IdentityQuery,
  IdentityRequest,
  Name,
  NameQuery,
  PasswordRequest,
  PasswordSet,
  Role,
  RolePage,
  RoleRequest,
} from './identity-resources.ts'

// Reading asks the pod that the request names, as everywhere. Writing is done at this one, whatever it names: the store is
// that of all pods, and so no password or secret goes from pod to pod.

const tag = 'identities'
const byName = z.strictObject({ name: Name.describe('Its name, percent-encoded.') })
const byKey = z.strictObject({ ...byName.shape, id: z.string().min(1).max(64).describe('Of the key.') })
const noIdentity = 'there is no such identity'

function switchEndpoint(verb: 'enable' | 'disable', summary: string): Endpoint {
  return endpoint({
    method: 'post',
    path: `/identities/{name}/${verb}`,
    tag,
    summary,
    scope: 'identities',
    params: byName,
    answer: IdentityDetail,
    hasRevision: true,
    notFound: noIdentity,
    audit: `${verb} identity`,
    run({ params: { name }, all, setTarget, atRevision }) {
      setTarget(name)
      return all.askSelf('changeIdentity', name, { isEnabled: verb === 'enable' }, atRevision)
    },
  })
}

export const identityEndpoints: readonly Endpoint[] = [
  endpoint({
    method: 'get',
    path: '/identities',
    tag,
    summary: 'Identities of the dynamic handler, by name',
    scope: 'read',
    query: IdentityQuery,
    answer: IdentityPage,
    run: ({ query, all }) => all.ask('identities', query),
  }),
  endpoint({
    method: 'post',
    path: '/identities',
    tag,
    summary: 'Makes an identity',
    scope: 'identities',
    body: IdentityRequest,
    status: 201,
    answer: IdentityDetail,
    conflict: 'there is one of that name, or its client id belongs to another',
    audit: 'create identity',
    run({ body, all, setTarget }) {
      setTarget(body.name)
      return all.askSelf('createIdentity', body)
    },
  }),
  endpoint({
    method: 'get',
    path: '/identities/{name}',
    tag,
    summary: 'One identity',
    scope: 'read',
    params: byName,
    answer: IdentityDetail,
    hasRevision: true,
    notFound: noIdentity,
    run: ({ params: { name }, all }) => all.ask('identity', name),
  }),
  endpoint({
    method: 'patch',
    path: '/identities/{name}',
    tag,
    summary: 'Changes what is named of it; live sessions are asked again at once, on all pods',
    scope: 'identities',
    params: byName,
    body: IdentityChange,
    answer: IdentityDetail,
    hasRevision: true,
    notFound: noIdentity,
    conflict: 'its client id belongs to another',
    audit: 'change identity',
    run({ params: { name }, body, all, setTarget, atRevision }) {
      setTarget(name)
      return all.askSelf('changeIdentity', name, body, atRevision)
    },
  }),
  endpoint({
    method: 'delete',
    path: '/identities/{name}',
    tag,
    summary: 'Deletes it with its keys; its connections and streams are cut, on all pods',
    scope: 'identities',
    params: byName,
    hasRevision: true,
    notFound: noIdentity,
    audit: 'delete identity',
    async run({ params: { name }, all, setTarget, atRevision }) {
      setTarget(name)
      return (await all.askSelf('deleteIdentity', name, atRevision)) || undefined
    },
  }),
  switchEndpoint('enable', 'Lets it in again'),
  switchEndpoint('disable', 'Lets it in no more; its connections and streams are cut, on all pods'),
  endpoint({
    method: 'put',
    path: '/identities/{name}/password',
    tag,
    summary: 'Sets its password; connections that came in with the old one are cut',
    scope: 'identities',
    params: byName,
    body: PasswordRequest,
    needsBody: false,
    answer: PasswordSet,
    hasRevision: true,
    notFound: noIdentity,
    audit: 'set password',
    run({ params: { name }, body, all, setTarget, atRevision }) {
      setTarget(name)
      return all.askSelf('setIdentityPassword', name, body, atRevision)
    },
  }),
  endpoint({
    method: 'delete',
    path: '/identities/{name}/password',
    tag,
    summary: 'Takes its password away; only keys let it in then',
    scope: 'identities',
    params: byName,
    hasRevision: true,
    notFound: 'there is no such identity, or it has no password',
    audit: 'delete password',
    async run({ params: { name }, all, setTarget, atRevision }) {
      setTarget(name)
      return (await all.askSelf('deleteIdentityPassword', name, atRevision)) || undefined
    },
  }),
  endpoint({
    method: 'get',
    path: '/identities/{name}/keys',
    tag,
    summary: 'Its keys, without their secrets, oldest first',
    scope: 'read',
    params: byName,
    answer: z.array(IdentityKey),
    notFound: noIdentity,
    run: async ({ params: { name }, all }) => (await all.ask('identity', name))?.keys,
  }),
  endpoint({
    method: 'post',
    path: '/identities/{name}/keys',
    tag,
    summary: 'Makes a key: its secret is shown this once',
    scope: 'identities',
    params: byName,
    body: IdentityKeyRequest,
    needsBody: false,
    status: 201,
    answer: IdentityKeyMade,
    notFound: noIdentity,
    conflict: 'it has as many keys as it may have',
    audit: 'create identity key',
    async run({ params: { name }, body, all, setTarget }) {
      setTarget(name)
      const made = await all.askSelf('createIdentityKey', name, body)
      if (made !== undefined) setTarget(`${name} ${made.id}`)
      return made
    },
  }),
  endpoint({
    method: 'delete',
    path: '/identities/{name}/keys/{id}',
    tag,
    summary: 'Deletes a key; connections that came in with it are cut',
    scope: 'identities',
    params: byKey,
    notFound: 'there is no such identity, or it has no such key',
    audit: 'delete identity key',
    async run({ params: { name, id }, all, setTarget }) {
      setTarget(`${name} ${id}`)
      return (await all.askSelf('deleteIdentityKey', name, id)) || undefined
    },
  }),

  endpoint({
    method: 'get',
    path: '/groups',
    tag,
    summary: 'Groups of identities, by name',
    scope: 'read',
    query: NameQuery,
    answer: GroupPage,
    run: ({ query, all }) => all.ask('groups', query),
  }),
  endpoint({
    method: 'get',
    path: '/groups/{name}',
    tag,
    summary: 'One group',
    scope: 'read',
    params: byName,
    answer: Group,
    hasRevision: true,
    notFound: 'there is no such group',
    run: ({ params: { name }, all }) => all.ask('group', name),
  }),
  endpoint({
    method: 'put',
    path: '/groups/{name}',
    tag,
    summary: 'Makes a group, or puts this in its place',
    scope: 'identities',
    params: byName,
    body: GroupRequest,
    needsBody: false,
    answer: Group,
    hasRevision: true,
    audit: 'put group',
    run({ params: { name }, body, all, setTarget, atRevision }) {
      setTarget(name)
      return all.askSelf('putGroup', name, body, atRevision)
    },
  }),
  endpoint({
    method: 'delete',
    path: '/groups/{name}',
    tag,
    summary: 'Deletes a group that nobody is in',
    scope: 'identities',
    params: byName,
    hasRevision: true,
    notFound: 'there is no such group',
    conflict: 'it has members',
    audit: 'delete group',
    async run({ params: { name }, all, setTarget, atRevision }) {
      setTarget(name)
      return (await all.askSelf('deleteGroup', name, atRevision)) || undefined
    },
  }),

  endpoint({
    method: 'get',
    path: '/roles',
    tag,
    summary: 'Roles, by name',
    scope: 'read',
    query: NameQuery,
    answer: RolePage,
    run: ({ query, all }) => all.ask('roles', query),
  }),
  endpoint({
    method: 'get',
    path: '/roles/{name}',
    tag,
    summary: 'One role',
    scope: 'read',
    params: byName,
    answer: Role,
    hasRevision: true,
    notFound: 'there is no such role',
    run: ({ params: { name }, all }) => all.ask('role', name),
  }),
  endpoint({
    method: 'put',
    path: '/roles/{name}',
    tag,
    summary: 'Makes a role, or puts this in its place',
    scope: 'identities',
    params: byName,
    body: RoleRequest,
    answer: Role,
    hasRevision: true,
    audit: 'put role',
    run({ params: { name }, body, all, setTarget, atRevision }) {
      setTarget(name)
      return all.askSelf('putRole', name, body, atRevision)
    },
  }),
  endpoint({
    method: 'delete',
    path: '/roles/{name}',
    tag,
    summary: 'Deletes a role that no identity and no group has',
    scope: 'identities',
    params: byName,
    hasRevision: true,
    notFound: 'there is no such role',
    conflict: 'an identity or a group has it',
    audit: 'delete role',
    async run({ params: { name }, all, setTarget, atRevision }) {
      setTarget(name)
      return (await all.askSelf('deleteRole', name, atRevision)) || undefined
    },
  }),
]
