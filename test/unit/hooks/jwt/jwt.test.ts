import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { JWTPayload } from 'jose'
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest'
import { jwtSchema, type JwtConfig } from '../../../../src/config/jwt-schema.ts'
import { createBrokerCounters } from '../../../../src/counters.ts'
import { createChain } from '../../../../src/hooks/chain.ts'
import { createJwtHandler } from '../../../../src/hooks/jwt/jwt.ts'
import type { ManagedHandler } from '../../../../src/hooks/types.ts'
import { createTokenKey, signToken } from '../../../support/tokens.ts'
import { fakeLog, fakeMessage, fakeSession, fakeSubscriptions } from '../fakes.ts'

const key = createTokenKey('one')
const other = createTokenKey('two')
const folder = mkdtempSync(join(tmpdir(), 'tunnelmq-'))
const keyFile = join(folder, 'key.pem')
writeFileSync(keyFile, key.pem)
const secret = 'a secret of more than thirty-two bytes, for HS256'
const opened: ManagedHandler[] = []
afterEach(async () => {
  for (const handler of opened.splice(0)) await handler.close?.()
})
afterAll(() => rmSync(folder, { recursive: true }))

type Input = Partial<JwtConfig>

async function open(overrides: Input = {}) {
  const source =
    overrides.secret === undefined && overrides.secretFile === undefined ? { publicKeyFiles: [keyFile] } : {}
  const config = jwtSchema.parse({ type: 'jwt', algorithms: ['ES256'], ...source, ...overrides })
  const handler = await createJwtHandler({ config, log: fakeLog(), counters: createBrokerCounters() })
  opened.push(handler)
  const chain = createChain([handler])
  return {
    handler,
    chain,
    /** CONNECT with the token as the password; what the chain says, and the session. */
    connect: async (token: string | undefined, facts: { id?: string; username?: string } = {}) => {
      const session = fakeSession({ ...facts, ...(token !== undefined && { password: token }) })
      const made = chain.authConnect(session)
      const decision = 'promise' in made ? await made.promise : made
      return { session, decision }
    },
  }
}

const sign = (claims: JWTPayload = {}, facts: Parameters<typeof signToken>[2] = {}) =>
  signToken(key.privateKey, claims, facts)
const base64url = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')

describe('a token as password', () => {
  it('lets its client in, and has no opinion on those without one', async () => {
    const { connect } = await open()
    expect((await connect(await sign())).decision).toEqual({ allowed: true, handler: 'jwt' })
    for (const password of [undefined, '', 'secret', 'a.b.c', '1.2.3', 'e.e.e', 'x'.repeat(9_000), 'p.q'])
      expect((await connect(password)).decision, password).toMatchObject({ handler: 'none' })
  })

  it('must be there when it is required', async () => {
    const { connect, chain } = await open({ required: true })
    // So that allowAnonymous does not let it past this handler.
    expect(chain.recognizes(fakeSession())).toBe(true)
    for (const password of [undefined, 'secret'])
      expect((await connect(password)).decision).toMatchObject({
        refuse: 'bad-credentials',
        reason: 'no token',
      })
  })

  it('as a user name is hidden, also where a method of MQTT 5 decides', async () => {
    const { chain } = await open({ from: 'username' })
    const session = fakeSession({ username: await sign() })
    const exchange = { method: 'other', isReAuthentication: false, state: undefined }
    expect(chain.authenticate(session, exchange, undefined)).toMatchObject({ handler: 'none' })
    expect(session.username).toBeUndefined()
  })

  const hour = 3_600
  const now = Date.now() / 1_000
  const edwards = generateKeyPairSync('ed25519')
  const ours = { iss: 'us', aud: 'mqtt' }
  const right = (claims: JWTPayload = {}, facts: Parameters<typeof signToken>[2] = {}) =>
    sign({ ...ours, ...claims }, facts)
  it.each<[why: string, reason: string, token: () => Promise<string> | string]>([
    ['has expired', 'the token has expired', () => right({}, { lifetimeMs: -60_000 })],
    ['is not yet valid', 'the token is not yet valid', () => right({ nbf: now + hour })],
    ['has no exp', 'the token has no exp', () => right({}, { lifetimeMs: null })],
    ['has another issuer', 'the token is from another issuer', () => right({ iss: 'evil' })],
    ['has no issuer', 'the token is from another issuer', () => sign({ aud: 'mqtt' })],
    ['has another audience', 'the token is for another audience', () => right({ aud: ['shop'] })],
    ['is signed by another', 'the signature of the token is wrong', () => signToken(other.privateKey, ours)],
    [
      'has another algorithm',
      'the algorithm of the token is not allowed',
      () => signToken(edwards.privateKey, ours, { algorithm: 'EdDSA' }),
    ],
    [
      'has the algorithm none',
      'the algorithm of the token is not allowed',
      () => `${base64url({ alg: 'none' })}.${base64url({ ...ours, exp: now + hour })}.`,
    ],
    [
      'takes the public key for a secret',
      'the algorithm of the token is not allowed',
      () => signToken(Buffer.from(key.pem), ours, { algorithm: 'HS256' }),
    ],
    ['has no algorithm', 'the token cannot be read', () => `${base64url({})}.e30.AA`],
    [
      'has a header that is no JSON',
      'the token cannot be read',
      () => `${Buffer.from('{"alg').toString('base64url')}.e30.AA`,
    ],
    [
      'has claims that were exchanged',
      'the signature of the token is wrong',
      async () => (await right()).replace(/\..*\./, `.${base64url({ ...ours, sub: 'x' })}.`),
    ],
    [
      'asks for an extension that nobody knows',
      'the token cannot be read',
      () => `${base64url({ alg: 'ES256', crit: ['x'], x: 1 })}.e30.AA`,
    ],
    ['is too long', 'the token is too long', () => right({ padding: 'x'.repeat(9_000) })],
  ])('is refused when it %s', async (_, reason, token) => {
    const { connect } = await open({ issuer: ['them', 'us'], audience: ['mqtt'] })
    expect((await connect(await right({ aud: ['web', 'mqtt'] }))).decision).toMatchObject({ allowed: true })
    expect((await connect(await token())).decision).toMatchObject({
      allowed: false,
      refuse: 'bad-credentials',
      reason,
    })
  })

  it('is never checked with a public key as if that were a secret, even where both algorithms are allowed', async () => {
    const { connect } = await open({ algorithms: ['ES256', 'HS256'] })
    for (const forged of [Buffer.from(key.pem), Buffer.from(key.pem.trim())])
      expect((await connect(await signToken(forged, {}, { algorithm: 'HS256' }))).decision).toMatchObject({
        reason: 'the key of the token is not known',
      })
  })

  it('may be off by as much as clocks are, and have no end where that is allowed', async () => {
    const { connect } = await open({ clockToleranceMs: 60_000, requireExpiry: false })
    for (const facts of [{ lifetimeMs: -30_000 }, { lifetimeMs: null }])
      expect((await connect(await sign({}, facts))).decision).toMatchObject({ allowed: true })
    expect((await connect(await sign({ nbf: now + 30 }))).decision).toMatchObject({ allowed: true })
  })
})

describe('claims of a token', () => {
  it('may have an end that no calendar has', async () => {
    const { connect, handler } = await open()
    const { session, decision } = await connect(await sign({ exp: 1e300 }))
    expect(decision.allowed).toBe(true)
    expect(handler.explain?.(session, { action: 'connect' })).toMatchObject({
      reason: 'it came with a token of nobody named',
    })
  })

  it('must have the values that are asked for, also of the client', async () => {
    const claims = {
      sub: '${username}',
      'realm.roles': 'device',
      'https://x.example/id': 'a/${clientid}',
      level: '3',
    }
    const { connect } = await open({ claims })
    const token = {
      sub: 'ann',
      realm: { roles: ['web', 'device'] },
      'https://x.example/id': 'a/c1',
      level: 3,
    }
    const attempt = async (changes: JWTPayload, facts: object = { id: 'c1', username: 'ann' }) =>
      (await connect(await sign({ ...token, ...changes }), facts)).decision.reason
    expect(await attempt({})).toBeUndefined()
    const refused = 'a claim of the token does not fit the client'
    for (const changes of [
      { sub: 'bob' },
      { realm: {} },
      { realm: { roles: 'device2' } },
      { level: '4' },
      { level: { a: 3 } },
      { 'https://x.example/id': undefined },
    ])
      expect(await attempt(changes), JSON.stringify(changes)).toBe(refused)
    expect(await attempt({ sub: '' }, { id: 'c1' })).toBe(refused)
    expect(await attempt({ sub: '${username}' })).toBe(refused)
    expect(await attempt({}, { id: 'c2', username: 'ann' })).toBe(refused)
  })

  it('give the client its names', async () => {
    const { connect } = await open({ usernameClaim: 'sub', clientIdClaim: 'device.id' })
    const { session } = await connect(await sign({ sub: 'ann', device: { id: 'pi7' } }), {
      username: 'whoever',
    })
    expect([session.username, session.id]).toEqual(['ann', 'pi7'])
    for (const claims of [
      { sub: 'ann' },
      { device: { id: 'x' } },
      { sub: 7, device: { id: 'x' } },
      { sub: '', device: { id: 'x' } },
      { sub: 'a\0', device: { id: 'x' } },
    ]) {
      const { session: kept, decision } = await connect(await sign(claims as JWTPayload), {
        username: 'whoever',
      })
      expect(decision.reason).toBe('the token has no fitting name for the client')
      expect([kept.username, kept.id]).toEqual(['whoever', 'client-1'])
    }
  })

  it('name the client whose token is its user name, which is seen nowhere', async () => {
    const { chain } = await open({ from: 'username' })
    const connect = async (username: string) => {
      const session = fakeSession({ username })
      const made = chain.authConnect(session)
      return { session, decision: 'promise' in made ? await made.promise : made }
    }
    expect((await connect(await sign({ sub: 'ann' }))).session.username).toBe('ann')
    const expired = await connect(await sign({ sub: 'ann' }, { lifetimeMs: -60_000 }))
    expect(expired).toMatchObject({
      decision: { reason: 'the token has expired' },
      session: { username: undefined },
    })
    expect(await connect('ann')).toMatchObject({
      decision: { handler: 'none' },
      session: { username: 'ann' },
    })
    const token = await sign({ sub: 'ann' })
    for (const name of [`Bearer ${token}`, `${token}\n`, `${token}.x.y`, `${token}${'x'.repeat(9_000)}`])
      expect(await connect(name)).toMatchObject({
        decision: { allowed: false, handler: 'jwt' },
        session: { username: undefined },
      })
  })
})

describe('the rights in a token', () => {
  const acl = {
    publish: ['up/%c/#', 'all'],
    subscribe: ['down/#', 'of/%u/+'],
    serve: ['%c/*'],
    open: ['pi7/ssh', 'lab/*'],
  }

  it('say what its client may publish, subscribe to, serve and open', async () => {
    const { connect, chain, handler } = await open({ aclClaim: 'mqtt.acl' })
    const { session } = await connect(await sign({ mqtt: { acl } }), { id: 'c1', username: 'ann' })
    const may = (topic: string) => chain.authPublish(session, fakeMessage(topic))
    for (const topic of ['up/c1/x', 'all']) expect(may(topic)).toMatchObject({ allowed: true })
    for (const topic of ['up/c2/x', 'down/x', 'all/x']) expect(may(topic)).toMatchObject({ allowed: false })
    const filters = fakeSubscriptions('down/a', 'down/#', 'of/ann/+', 'of/ann/#', '#', 'of/bob/+', 'all')
    expect(chain.authSubscribe(session, filters)).toMatchObject({ allowed: true })
    expect(filters.map(({ refused }) => refused === undefined)).toEqual([
      true,
      true,
      true,
      false,
      false,
      false,
      false,
    ])
    const tunnel = (action: 'serve' | 'open', agent: string, service: string) =>
      chain.authTunnel(session, { action, agent, service, topic: 'unused' })
    for (const [action, agent, service] of [
      ['serve', 'c1', '+'],
      ['open', 'pi7', 'ssh'],
      ['open', 'lab', 'web'],
    ] as const)
      expect(tunnel(action, agent, service)).toMatchObject({ allowed: true })
    for (const [action, agent, service] of [
      ['serve', 'c2', '+'],
      ['open', 'pi7', 'web'],
      ['open', 'c1', 'ssh'],
    ] as const)
      expect(tunnel(action, agent, service)).toMatchObject({ allowed: false })
    expect(
      handler.explain?.(session, { action: 'publish', topic: 'up/c1/x', qos: 0, retain: false }),
    ).toEqual({
      rule: 'the claim mqtt.acl of its token, list publish: up/%c/#',
      reason: 'the list allows it',
    })
  })

  it('give nothing by patterns to a client whose id means more than one level', async () => {
    const { connect, chain } = await open({ aclClaim: 'acl' })
    const { session } = await connect(await sign({ acl: { publish: ['up/%c/#', 'all'] } }), { id: '+' })
    expect(chain.authPublish(session, fakeMessage('up/c1/x'))).toMatchObject({ allowed: false })
    expect(chain.authPublish(session, fakeMessage('all'))).toMatchObject({ allowed: true })
  })

  it('are nothing for a token without them, and refuse one where they cannot be read', async () => {
    const { connect, chain } = await open({ aclClaim: 'acl' })
    const { session } = await connect(await sign())
    expect(chain.authPublish(session, fakeMessage('a'))).toMatchObject({ handler: 'none' })
    for (const wrong of [
      [],
      'x',
      null,
      { publish: 'a' },
      { publish: ['a/#/b'] },
      { read: ['a'] },
      { open: ['agent'] },
      { publish: [1] },
    ])
      expect((await connect(await sign({ acl: wrong }))).decision.reason, JSON.stringify(wrong)).toBe(
        'the rights in the token cannot be read',
      )
  })

  it('are no matter of a handler that was not told of a claim', async () => {
    const { handler } = await open()
    for (const method of ['authPublish', 'authSubscribe', 'authTunnel'])
      expect(handler).not.toHaveProperty(method)
  })
})

describe('keys', () => {
  it('are a secret from the configuration or a file, as text or base64, and long enough', async () => {
    const file = join(folder, 'secret')
    writeFileSync(file, `${secret}\n`)
    const base64 = Buffer.from(secret).toString('base64')
    const token = await signToken(Buffer.from(secret), {}, { algorithm: 'HS256' })
    const algorithms = ['HS256' as const]
    for (const how of [
      { secret },
      { secretFile: file },
      { secret: base64, secretEncoding: 'base64' as const },
    ]) {
      const { connect } = await open({ algorithms, ...how })
      expect((await connect(token)).decision).toMatchObject({ allowed: true })
      const forged = await signToken(Buffer.from(`${secret}!`), {}, { algorithm: 'HS256' })
      expect((await connect(forged)).decision).toMatchObject({
        reason: 'the signature of the token is wrong',
      })
    }
    await expect(open({ algorithms, secret: 'short' })).rejects.toThrow(
      'jwt: secret: the secret has 5 bytes, and HS256 needs 32',
    )
  })

  it.each([
    ['private PEM', key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), 'is a private key'],
    ['private JWK', JSON.stringify(key.privateKey.export({ format: 'jwk' })), 'is a private key'],
    ['secret JWK', '{"kty":"oct","k":"AAAA"}', 'is a secret'],
    ['text', 'hello', 'is neither PEM nor a JSON Web Key'],
    ['empty set', '{"keys":[]}', 'no key in the set is for signatures'],
  ])('in files are not a %s', async (_, text, message) => {
    const file = join(folder, 'wrong')
    writeFileSync(file, text)
    await expect(open({ publicKeyFiles: [file] })).rejects.toThrow(message)
  })

  it('in files may be JWK, a set, or several, and end the sessions of one that has gone', async () => {
    const jwk = join(folder, 'key.json')
    const set = join(folder, 'set.json')
    writeFileSync(jwk, JSON.stringify(key.jwk))
    writeFileSync(
      set,
      JSON.stringify({ keys: [{ kty: 'oct', k: 'AAAA' }, { kty: 'EC', use: 'enc' }, other.jwk] }),
    )
    const { connect, handler } = await open({ publicKeyFiles: [jwk, set] })
    const first = await connect(await sign({}, { kid: 'one' }))
    const second = await connect(await signToken(other.privateKey))
    expect([first.decision.allowed, second.decision.allowed]).toEqual([true, true])
    expect((await connect(await sign({}, { kid: 'two' }))).decision.reason).toBe(
      'the signature of the token is wrong',
    )
    expect((await connect(await sign({}, { kid: 'three' }))).decision.reason).toBe(
      'the key of the token is not known',
    )

    const changed = vi.fn()
    handler.onChange?.(changed)
    writeFileSync(set, JSON.stringify({ keys: [key.jwk] }))
    await handler.reload?.()
    expect(changed).toHaveBeenCalled()
    expect(handler.stillAllowed?.(first.session)).toBe(true)
    expect(handler.stillAllowed?.(second.session)).toBe(false)
    expect(handler.stillAllowed?.(fakeSession())).toBe(true)
  })
})
