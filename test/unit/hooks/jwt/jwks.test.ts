import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { jwtSchema } from '../../../../src/config/jwt-schema.ts'
import { createBrokerCounters } from '../../../../src/counters.ts'
import { openRemoteKeys } from '../../../../src/hooks/jwt/jwks.ts'
import { createJwtHandler } from '../../../../src/hooks/jwt/jwt.ts'
import { createChain } from '../../../../src/hooks/chain.ts'
import { PATIENCE } from '../../../support/eventually.ts'
import { startHttpService, type HttpService, type ServiceReply } from '../../../support/http-service.ts'
import { createTokenKey, signToken, type TokenKey } from '../../../support/tokens.ts'
import { fakeLog, fakeSession } from '../fakes.ts'

const one = createTokenKey('one')
const two = createTokenKey('two')
const setOf = (...keys: TokenKey[]): ServiceReply => ({ body: { keys: keys.map(({ jwk }) => jwk) } })

/** A provider, and its keys as a handler has them; the time is the test's. */
async function open(provider: HttpService, overrides: object = {}) {
  const config = jwtSchema.parse({ type: 'jwt', algorithms: ['ES256'], jwksUrl: provider.url, ...overrides })
  const counters = createBrokerCounters().keySet('jwt')
  const log = fakeLog()
  const clock = { nowMs: 0 }
  const keys = await openRemoteKeys({ url: provider.url, config, counters, log, now: () => clock.nowMs })
  onTestFinished(() => keys.close())
  const kids = () => keys.current()?.map(({ kid }) => kid)
  await vi.waitFor(() => expect(counters.fetched + counters.failed).toBe(1), PATIENCE)
  return { keys, kids, clock, counters, log, passMs: (ms: number) => void (clock.nowMs += ms) }
}

describe('the key set of a provider', () => {
  it('is fetched at the start, and again for a key that is not known, once in a cool-down', async () => {
    const provider = await startHttpService(() => setOf(one))
    const { keys, kids, passMs, counters } = await open(provider, { cooldownMs: 10_000 })
    expect(kids()).toEqual(['one'])
    await Promise.all([keys.renew?.(), keys.renew?.()])
    expect(counters.fetched).toBe(1)
    passMs(10_000)
    provider.reply = () => setOf(one, two)
    await Promise.all([keys.renew?.(), keys.renew?.(), keys.renew?.()])
    expect(kids()).toEqual(['one', 'two'])
    expect(provider.calls.length).toBe(2)
    // Both over the same connection.
    expect(provider.connectionCount).toBe(1)
  })

  it('goes on while the provider is away or answers nonsense, and not for ever', async () => {
    const provider = await startHttpService(() => setOf(one))
    const { keys, kids, passMs, counters, log } = await open(provider, {
      maxResponseBytes: 2_000,
      timeoutMs: 1_000,
      keepMs: 100_000,
    })
    const bad: ServiceReply[] = [
      { status: 500, body: '' },
      { body: 'not JSON' },
      { body: { keys: [] } },
      { body: { keys: [one.jwk], padding: 'x'.repeat(2_000) } },
      { status: 302, headers: { location: provider.url }, body: '' },
      'hang',
      'reset',
    ]
    for (const reply of bad) {
      provider.reply = () => reply
      await keys.reload()
      expect(kids(), JSON.stringify(reply)).toEqual(['one'])
    }
    await provider.stop()
    await keys.reload()
    expect(kids()).toEqual(['one'])
    expect(counters).toMatchObject({ fetched: 1, failed: bad.length + 1 })
    expect(log.lines.filter(({ level }) => level === 'error').length).toBe(bad.length + 1)
    passMs(100_001)
    expect(kids()).toBeUndefined()
  })

  it('tells when a key has gone, and not when one has come', async () => {
    const provider = await startHttpService(() => setOf(one))
    const { keys } = await open(provider)
    const gone = vi.fn()
    keys.onChange(gone)
    provider.reply = () => setOf(one, two)
    await keys.reload()
    expect(gone).not.toHaveBeenCalled()
    provider.reply = () => setOf(two)
    await keys.reload()
    expect(gone).toHaveBeenCalledTimes(1)
  })

  it('is shown without what its URL may have of secrets', async () => {
    const provider = await startHttpService(() => setOf(one))
    const { keys } = await open({ ...provider, url: `${provider.url}?key=secret` })
    expect(keys.name).toBe(provider.url)
  })
})

describe('tokens of a provider', () => {
  const connectWith = async (provider: HttpService, overrides: object = {}) => {
    const config = jwtSchema.parse({
      type: 'jwt',
      algorithms: ['ES256'],
      jwksUrl: provider.url,
      cooldownMs: 1,
      ...overrides,
    })
    const handler = await createJwtHandler({ config, log: fakeLog(), counters: createBrokerCounters() })
    onTestFinished(() => handler.close?.())
    const chain = createChain([handler])
    const connect = async (token: string) => {
      const session = fakeSession({ password: token })
      const made = chain.authConnect(session)
      return { session, decision: 'promise' in made ? await made.promise : made }
    }
    return { handler, connect }
  }

  it('are taken when it has turned to a new key, and those of the old one end', async () => {
    const provider = await startHttpService(() => setOf(one))
    const { handler, connect } = await connectWith(provider)
    const old = await connect(await signToken(one.privateKey, {}, { kid: 'one' }))
    expect(old.decision).toMatchObject({ allowed: true })
    provider.reply = () => setOf(two)
    await vi.waitFor(async () => {
      const { decision } = await connect(await signToken(two.privateKey, {}, { kid: 'two' }))
      expect(decision).toMatchObject({ allowed: true })
    }, PATIENCE)
    expect(handler.stillAllowed?.(old.session)).toBe(false)
  })

  it('wait for the first fetch, and are told to come again when there were never keys', async () => {
    const provider = await startHttpService(() => ({ status: 503, body: '' }))
    const { connect } = await connectWith(provider)
    const token = await signToken(one.privateKey)
    expect((await connect(token)).decision).toMatchObject({ allowed: false, refuse: 'unavailable' })
    provider.reply = () => setOf(one)
    await vi.waitFor(
      async () => expect((await connect(token)).decision).toMatchObject({ allowed: true }),
      PATIENCE,
    )
  })
})
