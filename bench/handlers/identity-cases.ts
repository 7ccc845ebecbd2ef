import { createHash, randomBytes, scryptSync } from 'node:crypto'
import type { HandlerCase } from './cases.ts'

/** A record of the store: what kind it is, and what is in it. */
export interface IdentityRecord {
  readonly kind: 'identity' | 'group' | 'role'
  readonly name: string
  readonly revision: number
  readonly json: string
}

const IDENTITIES = 1_000

/** Identities of the store, all in one group, with the rights of a role of ten rules. */
export function identityCases(common: Omit<HandlerCase, 'name' | 'handlers'>): HandlerCase[] {
  const salt = randomBytes(16)
  const digest = scryptSync('secret', salt, 32, { N: 2 ** 14, r: 8, p: 1 })
  const inBase64 = (bytes: Buffer): string => bytes.toString('base64').replaceAll('=', '')
  const passwordHash = `$scrypt$ln=14,r=8,p=1$${inBase64(salt)}$${inBase64(digest)}`
  const keyId = randomBytes(8).toString('hex')
  const key = `tmqi_${keyId}_${randomBytes(32).toString('base64url')}`
  const hash = createHash('sha256').update(key).digest('hex')
  const keys = [{ id: keyId, description: '', hash, createdAtMs: 1, expiresAtMs: 0 }]
  const others = Array.from({ length: 9 }, (_, n) => `other/${n}/%u/#`)
  const rules = [...others, 'site/#'].map((on) => ({ allow: true, actions: ['publish', 'subscribe'], on }))
  const identities = Array.from({ length: IDENTITIES }, (_, n) => ({
    name: `user${n}`,
    description: '',
    isEnabled: true,
    passwordHash,
    keys: n === 0 ? keys : [],
    groups: ['devices'],
    roles: [],
    createdAtMs: 1,
    changedAtMs: 1,
  }))
  const record = (kind: IdentityRecord['kind'], value: { readonly name: string }): IdentityRecord => ({
    kind,
    name: value.name,
    revision: 1,
    json: JSON.stringify(value),
  })
  const records = [
    record('role', { name: 'device', description: '', rules } as { name: string }),
    record('group', { name: 'devices', description: '', roles: ['device'] } as { name: string }),
    ...identities.map((identity) => record('identity', identity)),
  ]
  const handlers = [{ type: 'dynamic' }]
  const user = { id: 'c1', username: 'user0' }
  return [
    {
      ...common,
      name: 'dynamic, password remembered',
      handlers,
      identities: records,
      measures: ['connect', 'publish'],
      client: () => ({ ...user, password: 'secret' }),
    },
    {
      ...common,
      name: 'dynamic, key',
      handlers,
      identities: records,
      measures: ['connect'],
      client: () => ({ ...user, password: key }),
    },
  ]
}
