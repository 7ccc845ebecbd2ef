/**
 * The API as functions; src/admin/api/resources.ts says what its resources are.
 *
 * @import {
 *   Agent, AuditEntry, Ban, BanRequest, ClientDetail, ClientRef, ClientSummary, DrainState, Explanation, Listener,
 *   KeyFacts, LogLevel, Overview, Page, Pod, QueueEntry, Refusal, RetainedMessage, Stream, TracePage,
 * } from '../api/resources.ts'
 * @import {
 *   Group, GroupRequest, IdentityChange, IdentityDetail, IdentityKeyMade, IdentityPage,
 *   IdentityRequest, PasswordSet, Role, RoleRequest,
 * } from '../api/identity-resources.ts'
 * @import { Send } from './request.js'
 *
 * @typedef {ReturnType<typeof createApi>} Api
 * @typedef {{ state?: string, search?: string, listener?: string, after?: string, limit?: number }} ClientFilter
 * @typedef {{ name: string, revision?: number }} Named  changed only if it still has this revision
 * @typedef {{ client: string, mountpoint?: string, action: string, topic?: string, qos?: number, retain?: boolean,
 *   username?: string, address?: string, listener?: string }} WhyQuestion
 * @typedef {{ client?: string, mountpoint?: string, topic?: string, payload?: boolean }} TraceWish
 */

/** @param {Send} send @param {() => string | undefined} podOf the one pod that is looked at; undefined: all */
export function createApi(send, podOf) {
  /** @param {string} path @param {Record<string, string | number | undefined>} [query] @param {AbortSignal} [signal] */
  const get = (path, query = {}, signal) =>
    send('GET', path, { query: { ...query, pod: podOf() }, ...(signal && { signal }) })

  /**
   * `.` and `..` mean folders in the path of a URL, also percent-encoded.
   *
   * @param {string} id
   */
  const isFolder = (id) => id === '.' || id === '..'
  /** @param {ClientRef} ref */
  const clientPath = ({ id }) => `/clients/${isFolder(id) ? '-' : encodeURIComponent(id)}`
  /** @param {ClientRef} ref */
  const place = ({ id, mountpoint }) => (isFolder(id) ? { mountpoint, clientId: id } : { mountpoint })

  /** @param {'identities' | 'groups' | 'roles'} kind @param {Named} named */
  const named = (kind, { name }) => `/${kind}/${encodeURIComponent(name)}`

  return {
    /** @returns {Promise<KeyFacts>} */
    key: () => send('GET', '/key'),
    /** @param {AbortSignal} [signal] @returns {Promise<Overview>} */
    overview: (signal) => get('/overview', {}, signal),

    /** @param {ClientFilter} filter @param {AbortSignal} [signal] @returns {Promise<Page<ClientSummary>>} */
    clients: (filter, signal) => get('/clients', filter, signal),
    /** @param {ClientRef} ref @param {AbortSignal} [signal] @returns {Promise<ClientDetail>} */
    client: (ref, signal) => get(clientPath(ref), place(ref), signal),
    /** @param {ClientRef} ref @param {string} [after] @returns {Promise<Page<QueueEntry>>} */
    queue: (ref, after) => get(`${clientPath(ref)}/queue`, { ...place(ref), after, limit: 50 }),
    /** @param {ClientRef} ref @returns {Promise<void>} */
    disconnect: (ref) => send('POST', `${clientPath(ref)}/disconnect`, { query: place(ref) }),
    /** @param {ClientRef} ref @returns {Promise<void>} */
    removeSession: (ref) => send('DELETE', clientPath(ref), { query: place(ref) }),

    /**
     * @param {{ filter?: string, after?: string, limit?: number }} query
     * @param {AbortSignal} [signal]
     * @returns {Promise<Page<RetainedMessage>>}
     */
    retained: (query, signal) => get('/retained', query, signal),
    /** @param {string} topic @returns {Promise<RetainedMessage>} */
    retainedMessage: (topic) => get('/retained/message', { topic }),
    /** @param {string} topic @returns {Promise<void>} */
    deleteRetained: (topic) => send('DELETE', '/retained/message', { query: { topic } }),

    /** @param {AbortSignal} [signal] @returns {Promise<Agent[]>} */
    agents: (signal) => get('/agents', {}, signal),
    /** @param {AbortSignal} [signal] @returns {Promise<Stream[]>} */
    streams: (signal) => get('/streams', {}, signal),
    /** @param {string} id @returns {Promise<void>} */
    cutStream: (id) => send('DELETE', `/streams/${encodeURIComponent(id)}`),

    /** @param {AbortSignal} [signal] @returns {Promise<Listener[]>} */
    listeners: (signal) => get('/listeners', {}, signal),
    /** @param {AbortSignal} [signal] @returns {Promise<Ban[]>} */
    bans: (signal) => get('/bans', {}, signal),
    /** @param {BanRequest} ban @returns {Promise<Ban>} */
    ban: (ban) => send('POST', '/bans', { body: ban }),
    /** @param {string} address @returns {Promise<void>} */
    unban: (address) => send('DELETE', `/bans/${encodeURIComponent(address)}`),
    /** @param {number} limit @param {AbortSignal} [signal] @returns {Promise<Refusal[]>} */
    refusals: (limit, signal) => get('/refusals', { limit }, signal),
    /** @param {AbortSignal} [signal] @returns {Promise<AuditEntry[]>} */
    audit: (signal) => get('/audit', { limit: 500 }, signal),
    /** @param {AbortSignal} [signal] @returns {Promise<Pod[]>} */
    pods: (signal) => get('/pods', {}, signal),
    /** @returns {Promise<unknown>} */
    config: () => get('/config'),

    /** @param {AbortSignal} [signal] @returns {Promise<LogLevel>} */
    logLevel: (signal) => get('/log-level', {}, signal),
    /** @param {string} level @returns {Promise<LogLevel>} */
    setLogLevel: (level) => send('PUT', '/log-level', { query: { pod: podOf() }, body: { level } }),
    /** @param {AbortSignal} [signal] @returns {Promise<DrainState>} */
    drainState: (signal) => get('/drain', {}, signal),
    /** @param {number} spreadMs @returns {Promise<DrainState>} */
    drain: (spreadMs) => send('POST', '/drain', { query: { pod: podOf() }, body: { spreadMs } }),
    /** @returns {Promise<DrainState>} */
    undrain: () => send('DELETE', '/drain', { query: { pod: podOf() } }),

    /** @param {Record<string, string | number>} filter @param {AbortSignal} signal @returns {Promise<IdentityPage>} */
    identities: (filter, signal) => get('/identities', filter, signal),
    /** @param {Named} who @param {AbortSignal} signal @returns {Promise<IdentityDetail>} */
    identity: (who, signal) => get(named('identities', who), {}, signal),
    /** @param {Partial<IdentityRequest>} body @returns {Promise<IdentityDetail>} */
    createIdentity: (body) => send('POST', '/identities', { body }),
    /** @param {Named} who @param {IdentityChange} body @returns {Promise<IdentityDetail>} */
    changeIdentity: (who, body) => send('PATCH', named('identities', who), { body, revision: who.revision }),
    /** @param {Named} who @param {'enable' | 'disable'} verb @returns {Promise<IdentityDetail>} */
    switchIdentity: (who, verb) => send('POST', `${named('identities', who)}/${verb}`),
    /** @param {Named} who @returns {Promise<void>} */
    deleteIdentity: (who) => send('DELETE', named('identities', who)),
    /** The broker makes it. @param {Named} who @returns {Promise<PasswordSet>} */
    setPassword: (who) => send('PUT', `${named('identities', who)}/password`, { body: {} }),
    /** @param {Named} who @returns {Promise<IdentityKeyMade>} */
    createKey: (who) => send('POST', `${named('identities', who)}/keys`, { body: {} }),
    /** @param {Named} who @param {string} id @returns {Promise<void>} */
    deleteKey: (who, id) => send('DELETE', `${named('identities', who)}/keys/${encodeURIComponent(id)}`),
    /** @param {{ limit: number }} query @param {AbortSignal} signal @returns {Promise<Page<Group>>} */
    groups: (query, signal) => get('/groups', query, signal),
    /** @param {Named} group @param {GroupRequest} body @returns {Promise<Group>} */
    putGroup: (group, body) => send('PUT', named('groups', group), { body, revision: group.revision }),
    /** @param {Named} group @returns {Promise<void>} */
    deleteGroup: (group) => send('DELETE', named('groups', group), { revision: group.revision }),
    /** @param {{ limit: number }} query @param {AbortSignal} signal @returns {Promise<Page<Role>>} */
    roles: (query, signal) => get('/roles', query, signal),
    /** @param {Named} role @param {RoleRequest} body @returns {Promise<Role>} */
    putRole: (role, body) => send('PUT', named('roles', role), { body, revision: role.revision }),
    /** @param {Named} role @returns {Promise<void>} */
    deleteRole: (role) => send('DELETE', named('roles', role), { revision: role.revision }),

    /** @param {WhyQuestion} question @returns {Promise<Explanation>} */
    why: (question) => send('POST', '/why', { body: question }),
    /** @param {TraceWish} wish @returns {Promise<{ id: string }>} */
    startTrace: (wish) => send('POST', '/traces', { body: wish }),
    /** @param {string} id @param {string} after @param {AbortSignal} signal @returns {Promise<TracePage>} */
    readTrace: (id, after, signal) =>
      send('GET', `/traces/${encodeURIComponent(id)}`, {
        query: { after, waitMs: 5_000 },
        signal,
        waitMs: 5_000,
      }),
    /** @param {string} id @returns {Promise<void>} */
    stopTrace: (id) => send('DELETE', `/traces/${encodeURIComponent(id)}`),
  }
}
