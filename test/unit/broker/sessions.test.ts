import { describe, expect, it } from 'vitest'
import type { Store } from '../../../src/store/contract.ts'
import { createMemoryStore } from '../../../src/store/memory.ts'
import { BrokerParts, type PartsClient, type PartsOptions } from '../../support/broker-parts.ts'
import { testLimits } from '../../support/store-fixtures.ts'

function reasons(parts: BrokerParts): string[] {
  return parts.gone.map(({ reason }) => reason.kind)
}

/** A store of which one method does not answer while it is held. */
async function slowParts(
  method: 'createSession',
): Promise<{ parts: BrokerParts; hold: () => void; release: () => void }> {
  const memory = createMemoryStore(testLimits)
  await memory.open()
  let gate = Promise.resolve()
  let release = (): void => {}
  const held: Store[typeof method] = async (...args) => {
    await gate
    return await memory[method](...args)
  }
  const store = new Proxy(memory, {
    get: (target, name) => (name === method ? held : (Reflect.get(target, name) as unknown)),
  })
  return {
    parts: await BrokerParts.open({ store, expiryMs: 60_000 }),
    hold: () => {
      gate = new Promise((resolve) => (release = resolve))
    },
    release: () => release(),
  }
}

describe('session present [MQTT-3.2.2-2]', () => {
  it('is said of a stored session that comes back, also of one without subscriptions', async () => {
    const parts = await BrokerParts.open()
    const first = parts.connecting('c')
    expect(await first.attach()).toBe(false)
    first.lose()
    expect(await parts.connecting('c').attach()).toBe(true)
  })

  it('is never said to a clean session, and not after one [MQTT-3.1.2-6]', async () => {
    const parts = await BrokerParts.open()
    const stored = await parts.connect('c')
    await stored.subscribe('t', 1)
    stored.lose()
    const clean = parts.connecting('c', true)
    expect(await clean.attach()).toBe(false)
    expect(clean.session.subscriptions.size).toBe(0)
    expect(parts.store.stats()).toMatchObject({ sessions: 0, subscriptions: 0 })
    expect(parts.subscriptions.count).toBe(0)
    clean.lose()
    expect(parts.sessions.get('c')).toBeUndefined()
    expect(await parts.connecting('c').attach()).toBe(false)
  })
})

describe('a second connection with the same client id', () => {
  it('closes the first one, and has its session [MQTT-3.1.4-2]', async () => {
    const parts = await BrokerParts.open()
    const first = await parts.connect('c')
    await first.subscribe('t', 1)
    await parts.publish('t', 'x', 1)
    const second = parts.connecting('c')
    expect(await second.attach()).toBe(true)
    await parts.quiet()
    expect(reasons(parts)).toEqual(['taken-over'])
    expect(first.transport.isEnded).toBe(true)
    expect(second.received()).toEqual(['publish t=x qos1 #2 dup'])
    expect(parts.sessions.connectedCount).toBe(1)
  })

  it('waits until the will of the first one is settled', async () => {
    const parts = await BrokerParts.open()
    const first = await parts.connect('c')
    let settle!: () => void
    first.connection.willSettled = new Promise((resolve) => (settle = resolve))
    let attached = false
    const second = parts.connecting('c')
    const attaching = second.attach().then(() => (attached = true))
    await parts.quiet()
    expect(attached).toBe(false)
    settle()
    await attaching
    expect(second.session.connection).toBe(second.connection)
  })

  it('of fifty at once leaves exactly one connected, whatever they ask for', async () => {
    for (const isClean of [() => false, () => true, (i: number) => i % 3 === 0]) {
      const parts = await BrokerParts.open()
      const clients = Array.from({ length: 50 }, (_, index) => parts.connecting('same', isClean(index)))
      const attached = await Promise.all(clients.map((client) => client.attach()))
      expect(attached).toHaveLength(50)
      const open = clients.filter((client) => client.connection.phase === 'open')
      expect(open).toEqual([clients.at(-1)])
      expect(reasons(parts)).toEqual(Array.from({ length: 49 }, () => 'taken-over'))
      expect(parts.sessions.connectedCount).toBe(1)
      expect([...parts.sessions.all()]).toEqual([clients.at(-1)!.session])
      expect(clients.at(-1)!.session.connection).toBe(clients.at(-1)!.connection)
      expect(parts.store.stats().sessions).toBe(isClean(49) ? 0 : 1)
    }
  })

  it('has its turn when the one before it was lost while it waited', async () => {
    const parts = await BrokerParts.open()
    const clients = [0, 1, 2].map(() => parts.connecting('same'))
    const attaching = clients.map((client) => client.attach())
    clients[1]!.lose()
    expect(await Promise.allSettled(attaching)).toMatchObject([
      { value: false },
      { reason: { code: 'TMQ_STOPPED' } },
      { value: true },
    ])
    expect(reasons(parts)).toEqual(['lost', 'taken-over'])
    expect(parts.sessions.connectedCount).toBe(1)
    expect(parts.sessions.get('same')?.connection).toBe(clients[2]!.connection)
  })

  it('has its turn only when the store has answered the one before it, also if that was lost', async () => {
    const { parts, hold, release } = await slowParts('createSession')
    hold()
    const [lost, next] = [parts.connecting('same'), parts.connecting('same')]
    const attaching = [lost, next].map((client) => client.attach())
    await parts.quiet()
    lost.lose()
    await parts.quiet()
    expect(next.connection.clientSession).toBeUndefined()
    release()
    expect(await Promise.allSettled(attaching)).toMatchObject([
      { reason: { code: 'TMQ_STOPPED' } },
      { value: true },
    ])
    expect(parts.sessions.get('same')).toBe(next.session)
    expect(next.session.connection).toBe(next.connection)
    expect(parts.store.sessions.get('same')).toMatchObject({ expiresAtMs: 0 })
  })

  it('waits until the first one is open, and a third one waits for the second', async () => {
    const parts = await BrokerParts.open()
    const [first, second, third] = [0, 1, 2].map(() => parts.connecting('same')) as [
      PartsClient,
      PartsClient,
      PartsClient,
    ]
    await parts.sessions.attach(first.connection, () => Promise.resolve([]))
    const secondAttaching = second.attach()
    await parts.quiet()
    expect(first.connection.phase).toBe('connecting')
    let settle!: () => void
    first.connection.willSettled = new Promise((resolve) => (settle = resolve))
    first.connection.opened()
    await parts.quiet()
    expect(first.connection.phase).toBe('closed')
    const thirdAttaching = third.attach()
    await parts.quiet()
    expect(third.connection.clientSession).toBeUndefined()
    settle()
    await Promise.all([secondAttaching, thirdAttaching])
    expect(second.connection.phase).toBe('closed')
    expect(parts.sessions.get('same')?.connection).toBe(third.connection)
    expect(parts.sessions.connectedCount).toBe(1)
  })

  it('is not kept waiting by other client ids', async () => {
    const parts = await BrokerParts.open()
    const blocking = parts.connecting('a')
    // Attached, but never opened: its turn goes on.
    await parts.sessions.attach(blocking.connection, () => Promise.resolve([]))
    expect(await parts.connecting('b').attach()).toBe(false)
  })
})

describe('a session whose client is away', () => {
  const options: PartsOptions = { expiryMs: 60_000 }

  it('ends when the time is up, with its queue and its subscriptions', async () => {
    const parts = await BrokerParts.open(options)
    const client = await parts.connect('c')
    await client.subscribe('t', 1)
    client.lose()
    await parts.publish('t', 'x', 1)
    const { expiresAtMs } = parts.store.sessions.get('c')!
    expect(await parts.sessions.expire(expiresAtMs - 1)).toBe(0)
    expect(await parts.sessions.expire(expiresAtMs)).toBe(1)
    expect(parts.sessions.get('c')).toBeUndefined()
    expect(parts.subscriptions.count).toBe(0)
    expect(parts.store.stats()).toMatchObject({ sessions: 0, queuedMessages: 0 })
  })

  it('does not end while its client is there, or on its way back', async () => {
    const parts = await BrokerParts.open(options)
    const client = await parts.connect('c')
    const never = Number.MAX_SAFE_INTEGER
    expect(await parts.sessions.expire(never)).toBe(0)
    client.lose()
    const again = parts.connecting('c')
    const attaching = again.attach()
    expect(await parts.sessions.expire(never)).toBe(0)
    expect(await attaching).toBe(true)
    expect(await parts.sessions.expire(never)).toBe(0)
  })

  it('does not end while its next connection waits for the will of the last one', async () => {
    const parts = await BrokerParts.open(options)
    const client = await parts.connect('c')
    let settle!: () => void
    client.connection.willSettled = new Promise((resolve) => (settle = resolve))
    const attaching = parts.connecting('c').attach()
    await parts.quiet()
    expect(await parts.sessions.expire(Number.MAX_SAFE_INTEGER)).toBe(0)
    settle()
    expect(await attaching).toBe(true)
    expect(parts.store.sessions.get('c')!.expiresAtMs).toBe(0)
  })

  it('does not get more time from a restart of the broker', async () => {
    const parts = await BrokerParts.open(options)
    const client = await parts.connect('c')
    client.lose()
    const { expiresAtMs } = parts.store.sessions.get('c')!
    const next = await BrokerParts.open({ ...options, store: parts.store })
    await next.sessions.restore(expiresAtMs - 1)
    expect(await next.sessions.expire(expiresAtMs)).toBe(1)
  })

  it('never ends when no expiry is configured', async () => {
    const parts = await BrokerParts.open({ expiryMs: 0 })
    const client = await parts.connect('c')
    client.lose()
    expect(await parts.sessions.expire(Number.MAX_SAFE_INTEGER)).toBe(0)
  })

  it('has its time begin at the start of the broker when it was connected until the broker died', async () => {
    const parts = await BrokerParts.open(options)
    await parts.connect('c')
    const next = await BrokerParts.open({ ...options, store: parts.store })
    await next.sessions.restore(1_000)
    // Once: a broker that is started again and again ends it all the same.
    await (await BrokerParts.open({ ...options, store: parts.store })).sessions.restore(50_000)
    expect(await next.sessions.expire(60_999)).toBe(0)
    expect(await next.sessions.expire(61_000)).toBe(1)
  })

  it('that never ends, as its client of MQTT 5 was allowed, gets an end when the configuration has one', async () => {
    const parts = await BrokerParts.open({ expiryMs: 0 })
    const client = await parts.connect('c', false, { sessionExpirySeconds: 0xffff_ffff })
    client.lose()
    expect(parts.store.sessions.get('c')).toMatchObject({ expiresAtMs: 0, expirySeconds: 0xffff_ffff })
    const next = await BrokerParts.open({ ...options, store: parts.store })
    await next.sessions.restore(1_000)
    expect(await next.sessions.expire(60_999)).toBe(0)
    expect(await next.sessions.expire(61_000)).toBe(1)
  })
})

describe('after a restart of the broker', () => {
  it('sessions are subscribed as they were', async () => {
    const parts = await BrokerParts.open()
    const client = await parts.connect('c')
    await client.subscribe('a/+', 1)
    const next = await BrokerParts.open({ store: parts.store })
    await next.sessions.restore(Date.now())
    await next.publish('a/b', 'x', 2)
    const again = next.connecting('c')
    expect(await again.attach()).toBe(true)
    await next.quiet()
    expect(again.received()).toEqual(['publish a/b=x qos1 #2'])
  })

  it('queues of shared subscriptions that belong to nobody are removed', async () => {
    const parts = await BrokerParts.open()
    await parts.store.createSession('group', 'g/t')
    await parts.sessions.restore(Date.now())
    expect(parts.store.groups.size).toBe(0)
  })
})

describe('subscriptions that are refused when a session comes back', () => {
  it('are gone, and what they have queued is not delivered', async () => {
    const parts = await BrokerParts.open()
    const client = await parts.connect('c')
    await client.subscribe('secret', 1)
    await client.subscribe('open', 1)
    client.lose()
    await parts.publish('secret', 'x', 1)
    await parts.publish('open', 'y', 1)
    parts.refused = ['secret']
    const again = await parts.connect('c')
    await parts.quiet()
    expect(again.received()).toEqual(['publish open=y qos1 #3'])
    expect([...again.session.subscriptions.keys()]).toEqual(['open'])
    expect([...again.session.stored!.subscriptions.keys()]).toEqual(['open'])
    expect(again.session.stored).toMatchObject({ queuedCount: 1 })
  })
})

describe('a CONNECT that cannot have its session', () => {
  async function failing(
    method: keyof Store,
  ): Promise<{ parts: BrokerParts; fail: (isOn: boolean) => void }> {
    const memory = createMemoryStore(testLimits)
    await memory.open()
    let isFailing = false
    const store = new Proxy(memory, {
      get: (target, name) =>
        name === method && isFailing
          ? () => Promise.reject(new Error('disk'))
          : (Reflect.get(target, name) as unknown),
    })
    return { parts: await BrokerParts.open({ store, expiryMs: 60_000 }), fail: (isOn) => (isFailing = isOn) }
  }

  async function attachRefused(client: PartsClient): Promise<unknown> {
    const refusal = await client.attach().then(
      () => undefined,
      (error: unknown) => error,
    )
    // As the broker does with a refused connection.
    client.connection.close({ kind: 'refused' })
    return refusal
  }

  it.each(['createSession', 'sessionConnected'] as const)(
    'because %s fails is rejected, and the next one has its turn',
    async (method) => {
      const { parts, fail } = await failing(method)
      fail(true)
      expect(await attachRefused(parts.connecting('c'))).toEqual(new Error('disk'))
      expect(parts.sessions.connectedCount).toBe(0)
      fail(false)
      const next = await parts.connect('c')
      expect(next.session.connection).toBe(next.connection)
    },
  )

  it('because its will cannot be stored leaves the session waiting for its client, for as long as before', async () => {
    const { parts, fail } = await failing('putWill')
    const client = await parts.connect('c')
    client.lose()
    fail(true)
    const next = parts.connecting('c')
    next.connection.authorizedWill = { topic: 't', payload: Buffer.from('gone'), qos: 0, retain: false }
    expect(await attachRefused(next)).toEqual(new Error('disk'))
    expect(parts.store.sessions.get('c')!.expiresAtMs).toBeGreaterThan(0)
    expect(await parts.connecting('c').attach()).toBe(true)
  })

  it('because the old session cannot be removed leaves that one as it was', async () => {
    const { parts, fail } = await failing('removeSession')
    const client = await parts.connect('c')
    await client.subscribe('t', 1)
    client.lose()
    fail(true)
    expect(await attachRefused(parts.connecting('c', true))).toEqual(new Error('disk'))
    await parts.publish('t', 'x', 1)
    const back = parts.connecting('c')
    expect(await back.attach()).toBe(true)
    await parts.quiet()
    expect(back.received()).toEqual(['publish t=x qos1 #2'])
  })

  it('because nobody could say what it may have takes nothing of the session, whatever interval it asked for', async () => {
    const parts = await BrokerParts.open({ expiryMs: 60_000 })
    const client = await parts.connect('c', false, { sessionExpirySeconds: 30 })
    await client.subscribe('t', 1)
    client.lose()
    await parts.publish('t', 'x', 1)
    const stored = parts.store.sessions.get('c')!
    const before = { expiresAtMs: stored.expiresAtMs, expirySeconds: 30 }
    for (const sessionExpirySeconds of [0, 50]) {
      const { connection } = parts.connecting('c', false, { sessionExpirySeconds })
      const refused = parts.sessions.attach(connection, () => Promise.reject(new Error('nobody is there')))
      await expect(refused).rejects.toThrow('nobody is there')
      await parts.quiet()
      expect(stored).toMatchObject(before)
    }
    const back = parts.connecting('c', false, { sessionExpirySeconds: 30 })
    expect(await back.attach()).toBe(true)
    await parts.quiet()
    expect(back.received()).toEqual(['publish t=x qos1 #2'])
  })

  it('because there are too many sessions is rejected, but not the return of one that is there', async () => {
    const parts = await BrokerParts.open({ maxSessions: 1 })
    const first = await parts.connect('first')
    first.lose()
    expect(await attachRefused(parts.connecting('second'))).toMatchObject({ code: 'TMQ_LIMIT' })
    expect(await parts.connecting('third', true).attach()).toBe(false)
    expect(await parts.connecting('first').attach()).toBe(true)
  })
})

describe('a connection that is lost while its will is being stored', () => {
  it('leaves no will behind', async () => {
    const parts = await BrokerParts.open()
    const client = parts.connecting('c', true)
    client.connection.authorizedWill = { topic: 'w', payload: Buffer.from('x'), qos: 0, retain: false }
    const attached = client.attach()
    // The store is asked in the turn of the CONNECT, and answers in a later one.
    for (let i = 0; i < 10; i++) await Promise.resolve()
    expect(parts.store.wills.size).toBe(1)
    client.lose()
    await expect(attached).rejects.toThrow('the connection is gone')
    await parts.quiet()
    expect(parts.store.wills.size).toBe(0)
  })
})

describe('two sweeps at once', () => {
  it('end each session once', async () => {
    const parts = await BrokerParts.open({ expiryMs: 1_000 })
    for (const id of ['a', 'b', 'c']) (await parts.connect(id)).lose()
    const nowMs = Date.now() + 60_000
    const counts = await Promise.all([parts.sessions.expire(nowMs), parts.sessions.expire(nowMs)])
    expect(counts[0] + counts[1]).toBe(3)
    expect(parts.store.sessions.size).toBe(0)
  })
})
