import { z } from 'zod'

/** The part `identities` of the configuration; see schema.ts for its rules. */

const positive = z.int().min(1)

export const identitySchema = z
  .strictObject({
    maxIdentities: positive
      .default(100_000)
      .describe('Identities that there may be; each broker has them in memory, some 1 to 2 KB each.'),
    maxGroups: positive.default(1_000).describe('Groups that there may be.'),
    maxRoles: positive.default(1_000).describe('Roles that there may be.'),
    maxKeysEach: positive.max(100).default(16).describe('Keys of one identity.'),
  })
  .describe('Bounds of what the handler `dynamic` knows, in the store; see docs/handlers.md.')
