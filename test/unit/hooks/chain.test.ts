import { describe, expect, it, vi } from 'vitest'
import { createChain, type Chain } from '../../../src/hooks/chain.ts'
import { PendingDecision, type Decision } from '../../../src/hooks/decision.ts'
import { AuthError, noOpinion, type Handler, type NoOpinion } from '../../../src/hooks/types.ts'
import { PATIENCE } from '../../support/eventually.ts'
import { fakeMessage, fakeSession, fakeSubscriptions } from './fakes.ts'

const neverAsked: Handler = {
  name: 'never',
  authConnect: () => {
    throw new Error('was asked')
  },
  authPublish: () => {
    throw new Error('was asked')
  },
}
const pass: Handler = { name: 'pass', authConnect: () => noOpinion, authPublish: () => noOpinion }
const passLater: Handler = { name: 'pass-later', authConnect: () => Promise.resolve<NoOpinion>(noOpinion) }
const allow: Handler = { name: 'allow', authConnect: () => undefined, authPublish: () => undefined }
const refuse: Handler = {
  name: 'refuse',
  authConnect: () => {
    throw new AuthError('no', 'bad-credentials')
  },
}

async function connect(chain: Chain, username?: string): Promise<Decision> {
  const answer = chain.authConnect(fakeSession(username === undefined ? {} : { username }))
  return answer instanceof PendingDecision ? answer.promise : answer
}

describe('a chain', () => {
  it('lets the first opinion decide', async () => {
    expect(await connect(createChain([pass, allow, neverAsked]))).toEqual({ allowed: true, handler: 'allow' })
    expect(await connect(createChain([pass, refuse, neverAsked]))).toEqual({
      allowed: false,
      handler: 'refuse',
      reason: 'no',
      refuse: 'bad-credentials',
    })
  })

  it('goes on after a handler that passes with a promise', async () => {
    expect(await connect(createChain([passLater, pass, allow]))).toMatchObject({
      allowed: true,
      handler: 'allow',
    })
    expect(await connect(createChain([passLater, refuse]))).toMatchObject({ handler: 'refuse' })
    expect(await connect(createChain([passLater, passLater]))).toMatchObject({
      allowed: false,
      handler: 'none',
    })
  })

  it('refuses a connection when nobody has an opinion, also in an empty chain', async () => {
    expect(await connect(createChain([]))).toMatchObject({ allowed: false, refuse: 'not-authorized' })
    expect(await connect(createChain([pass]))).toMatchObject({ allowed: false, refuse: 'not-authorized' })
  })

  it('tells a client with an unknown name the same as one with a wrong password', async () => {
    expect(await connect(createChain([pass]), 'mallory')).toMatchObject({
      allowed: false,
      refuse: 'bad-credentials',
    })
  })

  it('allows publishing and subscribing when no handler has a say in it', () => {
    const chain = createChain([{ authConnect: () => undefined }])
    expect(chain).toMatchObject({ decidesPublish: false, decidesSubscribe: false, decidesDeliver: false })
    expect(chain.authPublish(fakeSession(), fakeMessage('a'))).toMatchObject({ allowed: true })
    expect(chain.authSubscribe(fakeSession(), fakeSubscriptions('a'))).toMatchObject({ allowed: true })
    expect(chain.authDeliver(fakeSession(), fakeMessage('a'), vi.fn())).toBe(true)
  })

  it('refuses publishing and subscribing when the handlers that have a say have no opinion', () => {
    const chain = createChain([{ authPublish: () => noOpinion, authSubscribe: () => noOpinion }])
    expect(chain.authPublish(fakeSession(), fakeMessage('a'))).toMatchObject({ allowed: false })
    expect(chain.authSubscribe(fakeSession(), fakeSubscriptions('a'))).toMatchObject({ allowed: false })
  })

  it('answers without a promise, and without a new object for each allowed message, while handlers do', () => {
    const chain = createChain([pass, allow])
    const first = chain.authPublish(fakeSession(), fakeMessage('a'))
    expect(first).not.toBeInstanceOf(PendingDecision)
    expect(chain.authPublish(fakeSession(), fakeMessage('b'))).toBe(first)
    expect(Object.isFrozen(first)).toBe(true)
  })

  it.each([
    ['a throw', () => Promise.reject(new Error('boom'))],
    [
      'a synchronous throw',
      () => {
        throw new Error('boom')
      },
    ],
  ])('refuses and keeps the cause after %s that is not an AuthError', async (_, authConnect) => {
    expect(await connect(createChain([{ name: 'broken', authConnect }, allow]))).toMatchObject({
      allowed: false,
      handler: 'broken',
      refuse: 'unavailable',
      cause: new Error('boom'),
    })
  })

  it.each([false, true, 'no', {}])(
    'refuses when an auth method returns %j instead of throwing',
    async (value) => {
      for (const authConnect of [() => value, () => Promise.resolve(value)]) {
        const decision = await connect(createChain([{ authConnect } as unknown as Handler, allow]))
        expect(decision).toMatchObject({ allowed: false, handler: 'handler 1', cause: expect.any(TypeError) })
      }
    },
  )

  it('knows an AuthError of another copy of the package, and takes an unknown reason for a refusal', async () => {
    const foreign = Object.assign(new Error('no'), { name: 'AuthError', reason: 'identifier-rejected' })
    const strange = Object.assign(new Error('no'), { name: 'AuthError', reason: 'no such reason' })
    const thrown = async (error: Error) => {
      const failing: Handler = {
        authConnect: () => {
          throw error
        },
      }
      return connect(createChain([failing]))
    }
    expect(await thrown(foreign)).toMatchObject({ allowed: false, refuse: 'identifier-rejected' })
    expect(await thrown(strange)).toMatchObject({ allowed: false, refuse: 'not-authorized' })
    expect(await thrown(strange)).not.toHaveProperty('cause')
  })

  it('asks no further handler once nobody waits for the answer', async () => {
    const later = vi.fn<() => void>()
    let answer: (value: typeof noOpinion) => void = () => undefined
    const hanging: Handler = {
      name: 'hanging',
      authConnect: () => new Promise((resolve) => (answer = resolve)),
    }
    const pending = createChain([hanging, { authConnect: later }]).authConnect(fakeSession())
    if (!(pending instanceof PendingDecision)) throw new Error('expected to wait')
    expect(pending.handler).toBe('hanging')
    pending.abandon()
    answer(noOpinion)
    expect(await pending.promise).toMatchObject({ allowed: false })
    expect(later).not.toHaveBeenCalled()
  })

  it('calls methods of a class with their own this', async () => {
    class Counting implements Handler {
      #count = 0
      authConnect(): void {
        this.#count++
        if (this.#count > 1) throw new AuthError('once only')
      }
    }
    const chain = createChain([new Counting()])
    expect(await connect(chain)).toMatchObject({ allowed: true })
    expect(await connect(chain)).toMatchObject({ allowed: false, reason: 'once only' })
  })

  it('delivers unless the first handler with an opinion says no', () => {
    const onError = vi.fn()
    const deliver = (...answers: (boolean | undefined)[]) =>
      createChain(answers.map((answer) => ({ authDeliver: () => answer }))).authDeliver(
        fakeSession(),
        fakeMessage('a'),
        onError,
      )
    expect(deliver(undefined, undefined)).toBe(true)
    expect(deliver(undefined, false, true)).toBe(false)
    expect(deliver(true, false)).toBe(true)
    expect(onError).not.toHaveBeenCalled()
  })

  it('does not deliver when authDeliver throws or answers later', () => {
    const onError = vi.fn()
    const session = fakeSession()
    for (const authDeliver of [() => Promise.resolve(true), () => Promise.reject(new Error('x')), () => 1]) {
      const chain = createChain([{ authDeliver } as unknown as Handler])
      expect(chain.authDeliver(session, fakeMessage('a'), onError)).toBe(false)
    }
    const throwing = createChain([
      {
        authDeliver: () => {
          throw new Error('boom')
        },
      },
    ])
    expect(throwing.authDeliver(session, fakeMessage('a'), onError)).toBe(false)
    expect(onError).toHaveBeenCalledTimes(4)
    expect(onError).toHaveBeenLastCalledWith('handler 1', new Error('boom'), session)
  })

  it('keeps a live session only while every handler does', async () => {
    const onError = vi.fn()
    const still = (...answers: Handler['stillAllowed'][]) =>
      createChain(answers.map((stillAllowed) => ({ stillAllowed: stillAllowed! }))).stillAllowed(
        fakeSession(),
        onError,
      )
    expect(still()).toBe(true)
    expect(still(() => true)).toBe(true)
    expect(
      still(
        () => true,
        () => false,
      ),
    ).toBe(false)
    expect(
      await still(
        () => Promise.resolve(true),
        () => true,
      ),
    ).toBe(true)
    expect(
      await still(
        () => Promise.resolve(true),
        () => Promise.resolve(false),
      ),
    ).toBe(false)
    expect(await still(() => Promise.reject(new Error('boom')))).toBe(false)
    expect(onError).toHaveBeenCalledTimes(1)
  })

  it('tells every handler, whatever the others do', async () => {
    const onError = vi.fn()
    const told = vi.fn()
    const chain = createChain([
      { name: 'a', connect: () => Promise.reject(new Error('later')) },
      {
        name: 'b',
        connect: () => {
          throw new Error('now')
        },
      },
      { connect: told },
    ])
    const session = fakeSession()
    chain.connect(onError, session)
    await vi.waitFor(() => expect(onError).toHaveBeenCalledTimes(2), PATIENCE)
    expect(told).toHaveBeenCalledExactlyOnceWith(session)
    expect(chain).toMatchObject({ wantsConnect: true, wantsPublish: false })
  })
})
