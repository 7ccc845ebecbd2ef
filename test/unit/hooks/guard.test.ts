import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createChain } from '../../../src/hooks/chain.ts'
import { createGuard, type Guard, type HandlerFailure } from '../../../src/hooks/guard.ts'
import { AuthError, noOpinion, type Handler, type Session } from '../../../src/hooks/types.ts'
import { fakeMessage, fakeSession, fakeSubscriptions } from './fakes.ts'

interface World {
  readonly guard: Guard
  readonly failures: HandlerFailure[]
  readonly latencies: [string, number][]
}

function world(handlers: Handler[], limits: { maxConcurrent?: number; maxWaiting?: number } = {}): World {
  const failures: HandlerFailure[] = []
  const latencies: [string, number][] = []
  const guard = createGuard(createChain(handlers), {
    timeoutMs: 1_000,
    maxConcurrent: 2,
    ...limits,
    now: () => Date.now(),
    onFailure: (failure) => failures.push(failure),
    onLatency: (method, durationMs) => latencies.push([method, durationMs]),
  })
  return { guard, failures, latencies }
}

/** A handler whose answers are given by the test. */
function manual(): Handler & { answers: ((error?: Error) => void)[] } {
  const answers: ((error?: Error) => void)[] = []
  const ask = () =>
    new Promise<void>((resolve, reject) => {
      answers.push((error) => (error === undefined ? resolve() : reject(error)))
    })
  return { name: 'manual', answers, authConnect: ask, authPublish: ask }
}

const hanging: Handler = { name: 'hanging', authConnect: () => new Promise(() => undefined) }

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

describe('the deadline', () => {
  it('refuses when a handler hangs, names it, and reports it once', async () => {
    const { guard, failures, latencies } = world([{ authConnect: () => noOpinion }, hanging])
    const answer = guard.authConnect(fakeSession())
    await vi.advanceTimersByTimeAsync(1_000)
    expect(await answer).toMatchObject({ allowed: false, handler: 'hanging', refuse: 'unavailable' })
    expect(failures).toMatchObject([{ method: 'authConnect', handler: 'hanging', kind: 'timed-out' }])
    expect(latencies).toEqual([['authConnect', 1_000]])
    expect(guard.activeCount).toBe(0)
  })

  it('holds for authPublish, authSubscribe and stillAllowed', async () => {
    const never = () => new Promise<never>(() => undefined)
    const { guard, failures } = world([{ authPublish: never, authSubscribe: never, stillAllowed: never }])
    const session = fakeSession()
    const answers = Promise.all([
      guard.authPublish(session, fakeMessage('a')),
      guard.authSubscribe(session, fakeSubscriptions('a')),
      guard.stillAllowed(session),
    ])
    await vi.advanceTimersByTimeAsync(1_000)
    expect(await answers).toMatchObject([{ allowed: false }, { allowed: false }, false])
    expect(failures.map((failure) => failure.method)).toEqual([
      'authPublish',
      'authSubscribe',
      'stillAllowed',
    ])
  })

  it('holds for authTunnel, whichever method answers for it', async () => {
    const never = () => new Promise<never>(() => undefined)
    const request = { agent: 'pi7', service: 'ssh', topic: '$tunnel/pi7/ssh/laptop/up' }
    for (const handler of [{ authTunnel: never }, { authPublish: never, authSubscribe: never }]) {
      const { guard, failures } = world([{ name: 'slow', ...handler }])
      const answers = Promise.all([
        guard.authTunnel(fakeSession(), { ...request, action: 'open' }),
        guard.authTunnel(fakeSession(), { ...request, action: 'serve' }),
      ])
      await vi.advanceTimersByTimeAsync(1_000)
      expect(await answers).toMatchObject([{ allowed: false }, { allowed: false }])
      expect(failures).toMatchObject([
        { method: 'authTunnel', handler: 'slow', kind: 'timed-out' },
        { method: 'authTunnel', handler: 'slow', kind: 'timed-out' },
      ])
      expect(guard.activeCount).toBe(0)
    }
  })

  it('counts the time in which a call waited for its turn', async () => {
    const handler = manual()
    const { guard, failures } = world([handler], { maxConcurrent: 1 })
    const first = guard.authConnect(fakeSession())
    const second = guard.authConnect(fakeSession())
    await vi.advanceTimersByTimeAsync(600)
    handler.answers[0]?.()
    expect(await first).toMatchObject({ allowed: true })
    await vi.advanceTimersByTimeAsync(0)
    expect(handler.answers).toHaveLength(2)
    await vi.advanceTimersByTimeAsync(399)
    expect(failures).toEqual([])
    await vi.advanceTimersByTimeAsync(1)
    expect(await second).toMatchObject({ allowed: false })
    expect(failures).toMatchObject([{ kind: 'timed-out', handler: 'manual' }])
  })

  it('leaves no timer behind after an answer', async () => {
    const handler = manual()
    const { guard } = world([handler])
    const answer = guard.authConnect(fakeSession())
    handler.answers[0]?.()
    await answer
    expect(vi.getTimerCount()).toBe(0)
  })
})

describe('the cap', () => {
  it('runs as many calls at once as allowed, and the others in order', async () => {
    const handler = manual()
    const { guard } = world([handler])
    const answers = [1, 2, 3, 4].map(async () => guard.authConnect(fakeSession()))
    expect(handler.answers).toHaveLength(2)
    expect(guard).toMatchObject({ activeCount: 2, waitingCount: 2 })
    handler.answers[0]?.()
    await answers[0]
    await vi.advanceTimersByTimeAsync(0)
    expect(handler.answers).toHaveLength(3)
    for (const [index] of answers.entries()) {
      handler.answers[index]?.()
      await vi.advanceTimersByTimeAsync(0)
    }
    expect(await Promise.all(answers)).toEqual(answers.map(() => ({ allowed: true, handler: 'manual' })))
    expect(guard).toMatchObject({ activeCount: 0, waitingCount: 0 })
  })

  it('refuses who waits in vain, and reports it once', async () => {
    const { guard, failures } = world([hanging], { maxConcurrent: 1 })
    const answers = [1, 2].map(async () => guard.authConnect(fakeSession()))
    await vi.advanceTimersByTimeAsync(1_000)
    expect(await Promise.all(answers)).toMatchObject([{ allowed: false }, { allowed: false }])
    expect(failures).toHaveLength(2)
  })

  it('refuses at once when too many wait', async () => {
    const { guard, failures } = world([hanging], { maxConcurrent: 1, maxWaiting: 1 })
    void guard.authConnect(fakeSession())
    void guard.authConnect(fakeSession())
    expect(await guard.authConnect(fakeSession())).toMatchObject({ allowed: false, refuse: 'unavailable' })
    expect(failures).toMatchObject([{ kind: 'overloaded', method: 'authConnect' }])
  })

  it('does not hold up methods and handlers that answer at once', () => {
    const { guard, failures } = world([hanging, { name: 'acl', authPublish: () => undefined }], {
      maxConcurrent: 1,
    })
    void guard.authConnect(fakeSession())
    void guard.authConnect(fakeSession())
    expect(guard.waitingCount).toBe(1)
    expect(guard.authPublish(fakeSession(), fakeMessage('a'))).toEqual({ allowed: true, handler: 'acl' })
    expect(failures).toEqual([])
  })

  it('does not ask for a client that has gone while it waited', async () => {
    const handler = manual()
    const { guard } = world([handler], { maxConcurrent: 1 })
    const first = guard.authConnect(fakeSession())
    const gone = fakeSession()
    const second = guard.authConnect(gone)
    gone.hangUp()
    handler.answers[0]?.()
    await first
    expect(await second).toMatchObject({ allowed: false })
    expect(handler.answers).toHaveLength(1)
    expect(guard.activeCount).toBe(0)
  })
})

describe('the password', () => {
  const seen: string[] = []
  const look: Handler = { authConnect: (session) => void seen.push(String(session.password)) }

  it('is wiped as soon as a synchronous answer is there', () => {
    const session = fakeSession({ username: 'a', password: 'secret' })
    const bytes = session.password
    void world([look]).guard.authConnect(session)
    expect(seen).toContain('secret')
    expect(session.password).toBeUndefined()
    expect(bytes).toEqual(Buffer.alloc(6))
  })

  it('is wiped when a handler throws or hangs, also if a handler has put another in its place', async () => {
    for (const authConnect of [
      () => Promise.reject(new Error('boom')),
      () => new Promise<void>(() => undefined),
      () => {
        throw new AuthError()
      },
    ]) {
      const session = fakeSession({ username: 'a', password: 'secret' })
      const bytes = session.password
      const other = Buffer.from('other')
      const swap = (asked: Session) => {
        asked.password = other
        return authConnect()
      }
      const answer = world([{ authConnect: swap }]).guard.authConnect(session)
      await vi.advanceTimersByTimeAsync(1_000)
      expect(await answer).toMatchObject({ allowed: false })
      expect(session.password).toBeUndefined()
      expect(bytes).toEqual(Buffer.alloc(6))
      expect(other).toEqual(Buffer.alloc(5))
    }
  })
})

describe('failures', () => {
  it('are reported once each, refusals are not', async () => {
    const boom = new Error('boom')
    const handlers: Handler[] = [
      {
        name: 'broken',
        authConnect: () => Promise.reject(boom),
        authPublish: () => {
          throw boom
        },
        authSubscribe: () => {
          throw new AuthError('no')
        },
        authDeliver: () => {
          throw boom
        },
        publish: () => Promise.reject(boom),
        connect: () => {
          throw boom
        },
      },
    ]
    const { guard, failures } = world(handlers)
    const session = fakeSession()
    await guard.authConnect(session)
    void guard.authPublish(session, fakeMessage('a'))
    void guard.authSubscribe(session, fakeSubscriptions('a'))
    expect(guard.authDeliver(session, fakeMessage('a'))).toBe(false)
    guard.publish(session, fakeMessage('a'))
    guard.connect(session)
    await vi.advanceTimersByTimeAsync(0)
    expect(failures.map((failure) => failure.method).sort()).toEqual(
      ['authConnect', 'authDeliver', 'authPublish', 'connect', 'publish'].sort(),
    )
    for (const failure of failures) {
      expect(failure).toMatchObject({ handler: 'broken', kind: 'threw', cause: boom, session })
    }
  })
})

describe('disconnect', () => {
  it('is told exactly once for each authConnect, and never without', () => {
    const disconnect = vi.fn<NonNullable<Handler['disconnect']>>()
    const { guard } = world([{ authConnect: () => noOpinion, disconnect }])
    const session = fakeSession()
    guard.disconnect(session, { kind: 'lost' })
    expect(disconnect).not.toHaveBeenCalled()
    void guard.authConnect(session)
    guard.disconnect(session, { kind: 'refused' })
    guard.disconnect(session, { kind: 'lost' })
    expect(disconnect).toHaveBeenCalledExactlyOnceWith(session, { kind: 'refused' })
  })
})
