import { describe, expect, it } from 'vitest'
import { checkMeaning } from '../../../src/config/semantics.ts'
import { configSchema } from '../../../src/config/schema.ts'

function findingsOf(handler: object, more: object = {}) {
  const config = configSchema.parse({ handlers: [handler], ...more })
  const { mistakes, warnings } = checkMeaning(config)
  const texts = (found: typeof mistakes) => found.map(({ path, message }) => `${path.join('.')} ${message}`)
  return {
    mistakes: texts(mistakes),
    warnings: texts(warnings).filter((text) => text.startsWith('handlers')),
  }
}

const jwt = (more: object) => ({ type: 'jwt', algorithms: ['ES256'], publicKeyFiles: ['/k'], ...more })
const http = (more: object) => ({ type: 'http', endpoints: ['http://127.0.0.1:1/'], ...more })

describe('the configuration of a handler jwt', () => {
  it('that is right has nothing to be said about', () => {
    const right = [
      jwt({}),
      { type: 'jwt', algorithms: ['HS256', 'HS512'], secretFile: '/s' },
      { type: 'jwt', algorithms: ['RS256'], jwksUrl: 'https://id/jwks', tls: { ca: '/ca' } },
    ]
    for (const handler of right) expect(findingsOf(handler)).toEqual({ mistakes: [], warnings: [] })
  })

  it.each<[handler: object, mistake: string]>([
    [
      jwt({ publicKeyFiles: [] }),
      'handlers.0 needs one of jwksUrl, publicKeyFiles, secret and secretFile, and has none',
    ],
    [
      jwt({ secret: 's' }),
      'handlers.0 needs one of jwksUrl, publicKeyFiles, secret and secretFile, and has publicKeyFiles and secret',
    ],
    [jwt({ algorithms: ['ES256', 'HS256'] }), 'handlers.0.algorithms HS256: needs a secret, not public keys'],
    [
      { type: 'jwt', algorithms: ['ES256', 'HS256'], secret: 's' },
      'handlers.0.algorithms ES256: a secret is for HS256, HS384 and HS512',
    ],
    [jwt({ tls: { ca: '/ca' } }), 'handlers.0.tls is for https:// only'],
    [
      { type: 'jwt', algorithms: ['RS256'], jwksUrl: 'https://id/', tls: { cert: '/c' } },
      'handlers.0.tls needs cert and key together',
    ],
  ])('%#: says what is wrong', (handler, mistake) => {
    expect(findingsOf(handler).mistakes).toEqual([mistake])
  })

  it('does not know the algorithm none', () => {
    expect(configSchema.safeParse({ handlers: [jwt({ algorithms: ['none'] })] }).success).toBe(false)
  })

  it('is warned of keys that come in clear text', () => {
    const { warnings } = findingsOf({ type: 'jwt', algorithms: ['RS256'], jwksUrl: 'http://id.example/jwks' })
    expect(warnings).toEqual([expect.stringContaining('handlers.0.jwksUrl the keys come in clear text')])
  })
})

describe('a chain with a handler jwt', () => {
  const warningsOf = (more: object): string[] => {
    const { warnings } = findingsOf(jwt(more), { handlers: [jwt(more), { type: 'acl-file', file: '/acl' }] })
    return warnings
  }

  it('is warned when a token is good for any username, and rights go by that', () => {
    expect(warningsOf({ claims: { role: 'device' } })).toEqual([
      expect.stringContaining('handlers.0 with any good token a client may take any username'),
    ])
    for (const bound of [{ usernameClaim: 'sub' }, { claims: { sub: '${username}' } }, { from: 'username' }])
      expect(warningsOf(bound)).toEqual([])
  })
})

describe('the configuration of a handler http', () => {
  it.each<[handler: object, mistake: string]>([
    [http({ endpoints: ['http://['] }), 'handlers.0.endpoints.0 is not a URL such as http://host:8080/path'],
    [http({ headers: { 'a b': 'x' } }), 'handlers.0.headers.a b is not a name of an HTTP header'],
    [
      http({ headers: { authorization: 'Bearer x\n' } }),
      'handlers.0.headers.authorization has a character that no HTTP header may have, such as the end of a line',
    ],
    [http({ tls: { ca: '/ca' } }), 'handlers.0.tls is for https:// only'],
    [
      http({ format: 'vernemq', hooks: ['authTunnel'] }),
      'handlers.0.hooks authTunnel is not in the format vernemq: there tunnels are asked about as topics',
    ],
    [
      http({ format: 'vernemq', mqtt5Hooks: ['authTunnel'] }),
      'handlers.0.mqtt5Hooks authTunnel is not in the format vernemq: there tunnels are asked about as topics',
    ],
    [
      http({ mqtt5Hooks: ['authConnect'] }),
      'handlers.0.mqtt5Hooks is for format: vernemq; ours asks the same of all versions, and says protocolVersion',
    ],
    [
      http({ format: 'vernemq', hooks: [], mqtt5Hooks: [] }),
      'handlers.0.hooks is empty: name what the service is asked or told',
    ],
  ])('%#: says what is wrong', (handler, mistake) => {
    expect(findingsOf(handler).mistakes).toEqual([mistake])
  })

  it('is warned of passwords in clear text, and of a request that outlives its question', () => {
    expect(findingsOf(http({})).warnings).toEqual([])
    expect(findingsOf(http({ endpoints: ['http://auth.example/'], timeoutMs: 5_000 })).warnings).toEqual([
      expect.stringContaining('handlers.0.endpoints.0 passwords and answers cross the network in clear text'),
      'handlers.0.timeoutMs is not less than auth.timeoutMs (5000), which ends the question first',
    ])
  })
})
