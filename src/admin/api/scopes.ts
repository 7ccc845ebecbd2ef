/** What an API key may do. Apart from the resources: commands need them without the weight of schemas. */
export const scopes = ['read', 'write', 'trace', 'identities', 'admin'] as const
/**
 * `read`: see everything but secrets. `write`: disconnect, ban, cut, delete. `trace`: see the packets of others, and ask
 * `why`. `identities`: make, change and delete identities, groups and roles. `admin`: log level, drain, audit, and all of the others.
 */
export type Scope = (typeof scopes)[number]
