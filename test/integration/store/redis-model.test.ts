import assert from 'node:assert/strict'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { StoredSession } from '../../../src/store/contract.ts'
import type { RedisStore } from '../../../src/store/redis/contract.ts'
import { bounds, RedisModel, type ModelSession } from '../../support/redis-model.ts'
import { ask, bury, createRedisPod, newPrefix, type RedisPod } from '../../support/redis-pods.ts'
import { type RedisServer, startRedis } from '../../support/redis-server.ts'
import { openRedisWire, type RedisWire } from '../../support/redis-wire.ts'
import {
  message,
  publish,
  release,
  releaseIncoming,
  settled,
  wholeQueue,
} from '../../support/store-fixtures.ts'

const PODS = 3
const GROUP = 'g/jobs'
const SHARED = { filter: '$share/g/jobs', matchFilter: 'jobs', shareGroup: 'g' }

const id = fc.constantFrom('a', 'b')
const pod = fc.nat({ max: PODS - 1 })
const qos = fc.constantFrom(1 as const, 2 as const)
const payload = fc.string({ maxLength: 12, unit: fc.constantFrom('x', 'y') })
/** Where the connection of the pod is cut during the step, if it writes. */
const cut = fc.option(fc.constantFrom('before' as const, 'after' as const), { freq: 8 })
const nth = fc.nat({ max: 5 })
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant('claim'),
      pod,
      cut,
      id,
      clean: fc.nat({ max: 5 }),
      will: fc.option(payload),
    }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('releaseClaim'), pod, cut, id }) },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('subscribe'),
      pod,
      cut,
      id,
      filter: fc.constantFrom('t', 't/1', SHARED.filter),
      qos,
    }),
  },
  fc.record({ op: fc.constant('unsubscribe'), pod, cut, id, filter: fc.constantFrom('t', 't/1') }),
  {
    weight: 8,
    arbitrary: fc.record({
      op: fc.constant('publish'),
      pod,
      cut,
      payload,
      targets: fc.uniqueArray(fc.tuple(fc.constantFrom('a', 'b', GROUP), qos), {
        maxLength: 3,
        selector: ([name]) => name,
      }),
      retain: fc.option(fc.constantFrom('r', 'r/1')),
      incoming: fc.option(fc.tuple(id, fc.integer({ min: 1, max: 2 }))),
    }),
  },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('acknowledge'), pod, cut, id, nth }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('release'), pod, cut, id, nth }) },
  fc.record({ op: fc.constant('releaseIncoming'), pod, cut, id, messageId: fc.integer({ min: 1, max: 2 }) }),
  {
    weight: 2,
    arbitrary: fc.record({ op: fc.constant('lease'), pod, cut, count: fc.integer({ min: 1, max: 3 }) }),
  },
  fc.record({ op: fc.constant('giveBack'), pod, cut, nth }),
  { weight: 2, arbitrary: fc.record({ op: fc.constant('acknowledgeLeased'), pod, cut, nth }) },
  fc.record({ op: fc.constant('publishWill'), pod, cut, id }),
  fc.record({ op: fc.constant('die'), pod }),
)
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never
type Of<Name> = Step & { op: Name }

/** Word of the request that a step makes. */
const words: Record<string, string> = {
  claim: 'claim',
  releaseClaim: 'release-claim',
  subscribe: 'subscriptions',
  unsubscribe: 'subscriptions',
  publish: 'publish',
  publishWill: 'publish',
  acknowledge: 'acknowledge',
  release: 'release',
  releaseIncoming: 'release-incoming',
  lease: 'lease',
  giveBack: 'give-back',
  acknowledgeLeased: 'acknowledge-leased',
}

let server: RedisServer
let cuts = 0

beforeAll(async () => {
  server = await startRedis()
})

afterAll(() => server.remove())

/** Does each step in the model and on a pod, and compares the answers; then what all pods have. */
class Run {
  readonly prefix = newPrefix()
  readonly model = new RedisModel()
  readonly pods: { wire: RedisWire; pod: RedisPod }[] = []

  async start(): Promise<void> {
    for (let index = 0; index < PODS; index++) await this.#startPod(index)
  }

  async stop(): Promise<void> {
    for (const { wire, pod: one } of this.pods) {
      await one.store.close()
      cuts += wire.cuts
      wire.close()
    }
  }

  async do(next: Step): Promise<void> {
    await this.#caughtUp()
    if ('cut' in next && next.cut !== null) this.pods[next.pod]?.wire.cutAt(words[next.op] ?? '', next.cut)
    await this.#step(this.#pod(next.pod).store, next)
    await settled(this.#pod(next.pod).store)
    // Not made: this step had nothing to write.
    this.pods[next.pod]?.wire.cutAt('nothing', 'before')
    await this.#compare()
  }

  async #startPod(index: number): Promise<void> {
    const wire = await openRedisWire(server.port)
    const one = createRedisPod({ url: wire.url, keyPrefix: this.prefix, limits: bounds })
    await one.open()
    await ask(one, 'group', '1', GROUP, 'jobs')
    this.pods[index] = { wire, pod: one }
    this.model.believed[index] = new Map()
  }

  #pod(index: number): RedisPod {
    const found = this.pods[index]
    assert(found)
    return found.pod
  }

  /** Every pod knows all that was written. */
  async #caughtUp(): Promise<void> {
    const head = Number(await server.command('GET', `${this.prefix}logpos`))
    for (const { pod: one } of this.pods) {
      await one.link.follower.reached(head, 5_000)
      await expect.poll(() => one.link.failure, { interval: 5 }).toBeUndefined()
    }
  }

  /** Undefined: there is none in the model. */
  #session(store: RedisStore, name: string): StoredSession | undefined {
    const modelled = name === GROUP ? this.model.group : this.model.sessions.get(name)
    const session = name === GROUP ? store.groups.get(name) : store.sessions.get(name)
    assert.equal(session !== undefined, modelled !== undefined, `session ${name}`)
    return session
  }

  async #step(store: RedisStore, next: Step): Promise<void> {
    switch (next.op) {
      case 'claim':
        return this.#claim(store, next as Of<'claim'>)
      case 'die':
        return this.#die(next.pod)
      case 'publish':
        return this.#publish(store, next as Of<'publish'>)
      case 'publishWill':
        return this.#publishWill(store, next as Of<'publishWill'>)
      case 'lease':
        return this.#lease(store, next as Of<'lease'>)
      case 'giveBack':
      case 'acknowledgeLeased':
        return this.#leased(store, next as Of<'giveBack'>)
      case 'releaseClaim': {
        const { id: name } = next as Of<'releaseClaim'>
        const number = this.model.believed[next.pod]?.get(name)
        if (number === undefined) return
        await store.releaseClaim(name, number, {
          expiresAtMs: 0,
          sentUpToSeq: 0,
          willDueAtMs: 0,
          releasedTo: undefined,
        })
        return this.model.release(next.pod, name)
      }
      default:
        return this.#onSession(store, next as Of<'subscribe'>)
    }
  }

  async #claim(store: RedisStore, { pod: index, id: name, clean, will }: Of<'claim'>): Promise<void> {
    const before = this.model.owners.get(name)
    const isClean = clean === 0
    const stored = will === null ? undefined : { clientId: name, message: message('w', will) }
    const present = this.model.sessions.has(name)
    const reply = await store.claim({
      sessionId: name,
      clean: isClean,
      will: stored,
      username: 'u',
      maxSessions: 9,
      maxConnectionsPerUser: 9,
    })
    const isElsewhere = before !== undefined && before.pod !== index
    assert.deepEqual(
      [reply.present, reply.previousPod, reply.previousClaim],
      [present, isElsewhere ? this.#pod(before.pod).link.pod : undefined, before?.number ?? 0],
    )
    assert(reply.claim > (before?.number ?? 0))
    this.model.claim(index, name, reply.claim, isClean)
    // The will of who lives, and has to publish it, stays until the new owner puts its own: also at this pod.
    if (before !== undefined) await store.putClaimedWill(name, reply.claim, stored)
    this.model.wills.delete(name)
    if (will !== null) this.model.wills.set(name, { number: reply.claim, text: will })
    const session = this.model.sessions.get(name)
    assert.equal(reply.stored?.queuedCount, session?.entries.length)
    assert.deepEqual([...(reply.stored?.incomingIds ?? [])].sort(), [...(session?.incoming ?? [])].sort())
  }

  async #die(index: number): Promise<void> {
    const found = this.pods[index]
    assert(found)
    await found.pod.store.close()
    cuts += found.wire.cuts
    found.wire.close()
    await bury(this.#pod((index + 1) % PODS), found.pod.link.pod)
    this.model.die(index)
    await this.#startPod(index)
  }

  async #publish(store: RedisStore, next: Of<'publish'>): Promise<void> {
    const { model } = this
    const targets = next.targets.flatMap(([name, granted]) => {
      const session = this.#session(store, name)
      return session === undefined ? [] : [{ session, name, qos: name === GROUP ? (1 as const) : granted }]
    })
    const [publisherId = '', messageId = 0] = next.incoming ?? []
    const publisher = next.incoming === null ? undefined : this.#session(store, publisherId)
    const answer = publish(store, {
      message: message(next.retain ?? 't', next.payload),
      targets,
      retain: next.retain !== null,
      ...(publisher && { incoming: { session: publisher, messageId } }),
    })
    if (publisher !== undefined && !model.mayWrite(next.pod, publisherId)) {
      await assert.rejects(answer, { code: 'TMQ_STOPPED' })
      return
    }
    const duplicate =
      publisher !== undefined && model.sessions.get(publisherId)?.incoming.has(messageId) === true
    const seqs = targets.map(({ name, qos: granted }) => {
      const queue = name === GROUP ? model.group : model.sessions.get(name)
      return duplicate || queue === undefined ? 0 : model.enqueue(queue, next.payload, granted)
    })
    assert.deepEqual(await answer, { seqs, duplicate })
    if (duplicate) return
    if (publisher !== undefined) model.sessions.get(publisherId)?.incoming.add(messageId)
    if (next.retain === null) return
    if (next.payload === '') model.retained.delete(next.retain)
    else model.retained.set(next.retain, next.payload)
  }

  async #publishWill(store: RedisStore, { id: name }: Of<'publishWill'>): Promise<void> {
    const will = this.model.wills.get(name)
    const willClaim = will?.number ?? 1
    const write = { message: message('r/will', will?.text ?? 'none'), retain: true, willOf: name, willClaim }
    assert.equal((await publish(store, write)).duplicate, will === undefined)
    assert.equal((await publish(store, write)).duplicate, true)
    if (will === undefined) return
    this.model.wills.delete(name)
    if (will.text === '') this.model.retained.delete('r/will')
    else this.model.retained.set('r/will', will.text)
  }

  async #lease(store: RedisStore, { pod: index, count }: Of<'lease'>): Promise<void> {
    const group = this.#session(store, GROUP)
    if (group === undefined) return
    const leased = (await store.readQueue(group, 0, count, 1_000)).map(({ seq }) => seq)
    assert.deepEqual(leased, this.model.free().slice(0, count))
    for (const seq of leased) this.model.group?.leases.set(seq, index)
  }

  async #leased(store: RedisStore, { op, pod: index, nth: place }: Of<'giveBack'>): Promise<void> {
    const group = this.#session(store, GROUP)
    const entry = this.model.group?.entries[place]
    if (group === undefined || entry === undefined) return
    // One that this pod has, or another, or nobody.
    if ((op as string) === 'giveBack') store.giveBack(group, [entry.seq])
    else store.acknowledge(group, entry.seq, entry.payload.length)
    await settled(store)
    if (this.model.group?.leases.get(entry.seq) !== index) return
    this.model.group.leases.delete(entry.seq)
    if ((op as string) === 'giveBack') return
    this.model.group.entries = this.model.group.entries.filter((one) => one !== entry)
  }

  async #onSession(store: RedisStore, next: Step & { id: string }): Promise<void> {
    const session = this.#session(store, next.id)
    const modelled = this.model.sessions.get(next.id)
    if (session === undefined || modelled === undefined) return
    const entry = 'nth' in next ? modelled.entries[next.nth] : undefined
    if ('nth' in next && entry === undefined) return
    const isAllowed = this.model.mayWrite(next.pod, next.id)
    const written = this.#write(store, session, next, entry)
    if (!isAllowed && next.op !== 'acknowledge') await assert.rejects(written, { code: 'TMQ_STOPPED' })
    else await written
    if (isAllowed) this.#writeModel(modelled, next, entry)
  }

  #write(
    store: RedisStore,
    session: StoredSession,
    next: Step,
    entry: ModelSession['entries'][0] | undefined,
  ) {
    const bytes = entry === undefined ? 0 : entry.isReleased ? 0 : entry.payload.length
    switch (next.op) {
      case 'subscribe': {
        const { filter, qos: granted } = next as Of<'subscribe'>
        const plain = { filter, matchFilter: filter }
        return store.putSubscriptions(session, [
          { ...(filter === SHARED.filter ? SHARED : plain), qos: granted },
        ])
      }
      case 'unsubscribe':
        return store.removeSubscriptions(session, [(next as Of<'unsubscribe'>).filter])
      case 'release':
        return release(store, session, entry?.seq ?? 0, bytes)
      case 'releaseIncoming':
        return releaseIncoming(store, session, (next as Of<'releaseIncoming'>).messageId)
      default:
        return this.#acknowledge(store, session, entry?.seq ?? 0, bytes)
    }
  }

  /** As the broker does: an entry was read before it can be acknowledged. */
  async #acknowledge(store: RedisStore, session: StoredSession, seq: number, bytes: number): Promise<void> {
    await wholeQueue(store, session)
    store.acknowledge(session, seq, bytes)
    await settled(store)
  }

  #writeModel(modelled: ModelSession, next: Step, entry: ModelSession['entries'][0] | undefined): void {
    switch (next.op) {
      case 'subscribe': {
        const { filter, qos: granted } = next as Of<'subscribe'>
        modelled.subscriptions.set(filter, granted)
        if (filter === SHARED.filter) this.model.group ??= { entries: [], lastSeq: 0, leases: new Map() }
        return
      }
      case 'unsubscribe':
        modelled.subscriptions.delete((next as Of<'unsubscribe'>).filter)
        return
      case 'releaseIncoming':
        modelled.incoming.delete((next as Of<'releaseIncoming'>).messageId)
        return
      case 'release':
        if (entry !== undefined) Object.assign(entry, { isReleased: true, qos: 2 })
        return
      default:
        modelled.entries = modelled.entries.filter((one) => one !== entry)
    }
  }

  async #compare(): Promise<void> {
    await this.#caughtUp()
    const { model } = this
    for (const { pod: one } of this.pods) {
      const { store } = one
      for (const name of ['a', 'b', GROUP]) this.#session(store, name)
      for (const [name, { subscriptions }] of model.sessions) {
        const found = [...(store.sessions.get(name)?.subscriptions.values() ?? [])]
        assert.deepEqual(new Map(found.map((sub) => [sub.filter, sub.qos])), subscriptions)
      }
      const retained = store
        .retainedMatching('#')
        .map((found) => [found.topic, found.payload.toString()] as const)
      assert.deepEqual(new Map(retained), model.retained)
    }
    for (const [name, session] of model.sessions) await this.#compareSession(name, session)
    if (model.group !== undefined)
      await this.#compareFigures(`g${GROUP}`, model.group.entries, model.group.lastSeq)
    const wills = (await server.command('HGETALL', `${this.prefix}wills`)) as string[]
    assert.deepEqual(wills.filter((_, at) => at % 2 === 0).sort(), [...model.wills.keys()].sort())
  }

  async #compareSession(name: string, session: ModelSession): Promise<void> {
    const owner = this.model.owners.get(name)
    const { store } = this.#pod(owner?.pod ?? 0)
    const handle = store.sessions.get(name)
    assert(handle)
    const queue = await wholeQueue(store, handle)
    assert.deepEqual(
      queue.map((entry) => `${entry.seq} ${entry.qos} ${entry.message?.payload.toString() ?? 'pubrel'}`),
      session.entries.map(
        (entry) => `${entry.seq} ${entry.qos} ${entry.isReleased ? 'pubrel' : entry.payload}`,
      ),
    )
    if (owner !== undefined) await expect.poll(() => handle.queuedCount).toBe(session.entries.length)
    await this.#compareFigures(`c${name}`, session.entries, session.lastSeq)
    const ids = (await server.command('SMEMBERS', `${this.prefix}i:c${name}`)) as string[]
    assert.deepEqual(new Set(ids.map(Number)), session.incoming)
  }

  async #compareFigures(kid: string, entries: ModelSession['entries'], lastSeq: number): Promise<void> {
    const bytes = entries.reduce((sum, entry) => sum + (entry.isReleased ? 0 : entry.payload.length), 0)
    const found = await server.command('HMGET', `${this.prefix}s:${kid}`, 'seq', 'n', 'b')
    assert.deepEqual(found, [`${lastSeq}`, `${entries.length}`, `${bytes}`])
  }
}

describe('random histories of three pods on one Redis', () => {
  it('leave what one obvious model has, also when connections are cut before or after a write', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 40, size: 'max' }), async (steps) => {
        const run = new Run()
        await run.start()
        try {
          for (const next of steps) await run.do(next)
        } finally {
          await run.stop()
        }
      }),
      { numRuns: Number(process.env['RUNS'] ?? 15), endOnFailure: process.env['SHRINK'] === undefined },
    )
    expect(cuts).toBeGreaterThan(0)
  }, 240_000)
})
