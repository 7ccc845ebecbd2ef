import { createPublicKey, generateKeyPairSync, pbkdf2Sync, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { SignJWT } from 'jose'
import { certificateCases } from './certificate-cases.ts'
import { identityCases, type IdentityRecord } from './identity-cases.ts'

/** What a client of a case sends; `n` tells one call from another. */
export interface ClientFacts {
  readonly id: string
  readonly username?: string
  readonly password?: string
  /** As a listener has it of TLS. */
  readonly certificate?: object
}

export interface HandlerCase {
  readonly name: string
  /** As in the configuration file. */
  readonly handlers: readonly object[]
  readonly client: (n: number) => ClientFacts
  /** Of the store, for `dynamic`. */
  readonly identities?: readonly IdentityRecord[]
  /** What is measured; a handler without a say in it costs nothing. */
  readonly measures: readonly ('connect' | 'publish')[]
  readonly topic: (n: number) => string
  /** Its clients are refused, which costs as much. */
  readonly isRefused?: true
}

export interface CaseContext {
  /** A new one, removed afterwards. */
  readonly folder: string
  /** Of the service that says yes. */
  readonly serviceUrl: string
}

/** Rounds of PBKDF2 that mosquitto_passwd makes. */
const MOSQUITTO_ROUNDS = 101
const USERS = 1_000
const oneTopic = () => 'site/one/up'
const manyTopics = (n: number) => `site/${n}/up`

/** In the order of the table. A handler that is added here is measured. */
export async function createCases({ folder, serviceUrl }: CaseContext): Promise<HandlerCase[]> {
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text)
    return join(folder, name)
  }
  const ann = (): ClientFacts => ({ id: 'c1', username: 'user0', password: 'secret' })
  const passwords = file(
    'passwords',
    Array.from({ length: USERS }, (_, n) => passwordLine(`user${n}`)).join('\n'),
  )
  const both = { measures: ['connect', 'publish'], topic: oneTopic, client: ann } as const
  const connect = { ...both, measures: ['connect'] } as const
  const publish = { ...both, measures: ['publish'] } as const
  const web = (path: string) => [{ type: 'http', endpoints: [`${serviceUrl}/${path}`] }]
  return [
    { ...connect, name: 'anonymous', handlers: [{ type: 'anonymous' }], client: () => ({ id: 'c1' }) },
    { ...connect, name: 'password-file, remembered', handlers: [{ type: 'password-file', file: passwords }] },
    {
      ...connect,
      name: 'password-file, each client once',
      handlers: [{ type: 'password-file', file: passwords }],
      // A wrong one is not remembered.
      isRefused: true,
      client: (n) => ({ id: 'c1', username: `user${n % USERS}`, password: `secret${n}` }),
    },
    ...aclCases(publish, file),
    ...(await tokenCases(both, file)),
    ...certificateCases(connect, folder),
    ...identityCases(both),
    { ...both, name: 'http, asked', handlers: web('asked') },
    { ...both, name: 'http, cached', handlers: web('cached') },
  ]
}

type Common = Omit<HandlerCase, 'name' | 'handlers'>
type WriteFile = (name: string, text: string) => string

function aclCases(common: Common, file: WriteFile): HandlerCase[] {
  const rules = Array.from({ length: 100 }, (_, n) => `topic write other/${n}/#`)
  const handlers = [
    { type: 'acl-file', file: file('acl', `user user0\n${rules.join('\n')}\ntopic write site/#\n`) },
  ]
  return [
    { ...common, name: 'acl-file, topic seen before', handlers },
    { ...common, name: 'acl-file, new topic, 100 rules', handlers, topic: manyTopics },
  ]
}

async function tokenCases(common: Common, file: WriteFile): Promise<HandlerCase[]> {
  const acl = { publish: ['site/+/up'] }
  const secret = randomBytes(32).toString('hex')
  const [ec, rsa] = [
    generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
    generateKeyPairSync('rsa', { modulusLength: 2_048 }).privateKey,
  ]
  const tokens = [
    { algorithm: 'HS256', key: Buffer.from(secret), source: { secret } },
    ...[
      { algorithm: 'ES256', key: ec },
      { algorithm: 'RS256', key: rsa },
    ].map(({ algorithm, key }) => {
      const pem = createPublicKey(key).export({ type: 'spki', format: 'pem' }).toString()
      return { algorithm, key, source: { publicKeyFiles: [file(`${algorithm}.pem`, pem)] } }
    }),
  ]
  const cases = tokens.map(async ({ algorithm, key, source }, index): Promise<HandlerCase> => {
    const token = await new SignJWT({ sub: 'user0', acl })
      .setProtectedHeader({ alg: algorithm })
      .setExpirationTime('1h')
      .sign(key)
    return {
      ...common,
      // What the claim allows is the same for all of them.
      measures: index === 0 ? ['connect', 'publish'] : ['connect'],
      name: `jwt, ${algorithm}`,
      handlers: [{ type: 'jwt', algorithms: [algorithm], aclClaim: 'acl', ...source }],
      client: () => ({ id: 'c1', password: token }),
      topic: manyTopics,
    }
  })
  return Promise.all(cases)
}

function passwordLine(name: string): string {
  const salt = randomBytes(12)
  const hash = pbkdf2Sync('secret', salt, MOSQUITTO_ROUNDS, 64, 'sha512')
  return `${name}:$7$${MOSQUITTO_ROUNDS}$${salt.toString('base64')}$${hash.toString('base64')}`
}
