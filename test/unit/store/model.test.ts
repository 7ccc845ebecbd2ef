import assert from 'node:assert/strict'
import fc from 'fast-check'
import { describe, it } from 'vitest'
import { createSilentLog } from '../../../src/log.ts'
import type { Store, StoredSession } from '../../../src/store/contract.ts'
import { createEmbeddedStore } from '../../../src/store/embedded/store.ts'
import { createMemoryStore } from '../../../src/store/memory.ts'
import { message, publish, release, releaseIncoming, testLimits } from '../../support/store-fixtures.ts'
import { temporaryFolder } from '../../support/store-folder.ts'
import { snapshot } from '../../support/store-snapshot.ts'

const limits = { ...testLimits, queueMaxMessages: 6, queueMaxBytes: 40, retainedMaxMessages: 3 }
const ids = ['a', 'b', 'c'] as const
const topics = ['t', 't/1', 't/2', '$x', 'u//v'] as const

interface ModelEntry {
  seq: number
  qos: 1 | 2
  payload: string
  released: boolean
}

interface ModelSession {
  queue: ModelEntry[]
  subscriptions: Map<string, 0 | 1 | 2>
  incoming: Set<number>
  expiresAtMs: number
}

/** The same store, the obvious way. Sequence numbers are the store's: they only have to rise. */
class Model {
  readonly sessions = new Map<string, ModelSession>()
  readonly lastSeqs = new Map<string, number>()
  readonly retained = new Map<string, string>()
  readonly wills = new Map<string, string>()

  snapshot() {
    const all = [...this.sessions.values()]
    const queue = all.flatMap((session) => session.queue)
    const bytes = (entries: ModelEntry[]) =>
      entries.reduce((sum, entry) => sum + (entry.released ? 0 : entry.payload.length), 0)
    return {
      sums: {
        queuedMessages: queue.length,
        queuedBytes: bytes(queue),
        subscriptions: all.reduce((sum, session) => sum + session.subscriptions.size, 0),
        retainedBytes: [...this.retained.values()].join('').length,
      },
      sessions: Object.fromEntries(
        [...this.sessions].map(([id, session]) => [
          `client ${id}`,
          {
            queue: session.queue.map(
              (one) => `${one.seq} ${one.qos} ${one.released ? 'pubrel' : one.payload}`,
            ),
            queuedCount: session.queue.length,
            queuedBytes: bytes(session.queue),
            subscriptions: [...session.subscriptions]
              .map(([filter, qos]) => ({ filter, matchFilter: filter, qos }))
              .sort((a, b) => (a.filter < b.filter ? -1 : 1)),
            incomingIds: [...session.incoming].sort((a, b) => a - b),
            expiresAtMs: session.expiresAtMs,
          },
        ]),
      ),
      // '#' does not show what begins with '$' [MQTT-4.7.2-1]
      retained: [...this.retained]
        .filter(([topic]) => !topic.startsWith('$'))
        .map(([topic, payload]) => `${topic} ${payload}`)
        .sort(),
      wills: [...this.wills].map(([id, payload]) => `${id} ${payload}`),
    }
  }
}

const id = fc.constantFrom(...ids)
const topic = fc.constantFrom(...topics)
const payload = fc.string({ maxLength: 12, unit: fc.constantFrom('x', 'y', 'z') })
const qos = fc.constantFrom(1 as const, 2 as const)
const operation = fc.oneof(
  fc.record({ op: fc.constant('create' as const), id }),
  fc.record({ op: fc.constant('remove' as const), id }),
  fc.record({ op: fc.constant('disconnect' as const), id, expiresAtMs: fc.integer({ min: 0, max: 99 }) }),
  fc.record({
    op: fc.constant('subscribe' as const),
    id,
    filters: fc.array(fc.tuple(topic, qos), { maxLength: 3 }),
  }),
  fc.record({ op: fc.constant('unsubscribe' as const), id, filters: fc.array(topic, { maxLength: 2 }) }),
  {
    weight: 6,
    arbitrary: fc.record({
      op: fc.constant('publish' as const),
      topic,
      payload,
      targets: fc.array(fc.tuple(id, qos), { maxLength: 3 }),
      retain: fc.boolean(),
      incoming: fc.option(fc.tuple(id, fc.integer({ min: 1, max: 3 }))),
      willOf: fc.option(id),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ op: fc.constant('acknowledge' as const), id, nth: fc.nat({ max: 5 }) }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('release' as const), id, nth: fc.nat({ max: 5 }) }) },
  fc.record({ op: fc.constant('releaseIncoming' as const), id, messageId: fc.integer({ min: 1, max: 3 }) }),
  fc.record({ op: fc.constant('will' as const), id, payload }),
  fc.record({ op: fc.constant('deleteWill' as const), id }),
  fc.record({ op: fc.constant('reopen' as const) }),
)
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never
type Of<Name extends Operation['op']> = Operation & { op: Name }

/** Does one operation in the model, and starts it in the store. */
class Runner {
  readonly model = new Model()
  readonly started: Promise<unknown>[] = []
  store: Store

  constructor(store: Store) {
    this.store = store
  }

  run(step: Exclude<Operation, { op: 'reopen' }>): void {
    if (step.op === 'publish') return this.#publish(step)
    if (step.op === 'will' || step.op === 'deleteWill') return this.#will(step)
    const modelled = this.model.sessions.get(step.id)
    if (step.op === 'create') return this.#create(step.id)
    if (modelled !== undefined) this.#onSession(step, modelled, this.#handle(step.id))
  }

  #create(name: string): void {
    this.started.push(this.store.createSession('client', name))
    if (this.model.sessions.has(name)) return
    this.model.sessions.set(name, {
      queue: [],
      subscriptions: new Map(),
      incoming: new Set(),
      expiresAtMs: 0,
    })
    this.model.lastSeqs.set(name, 0)
  }

  #onSession(
    step: Exclude<Operation, Of<'publish' | 'will' | 'deleteWill' | 'create' | 'reopen'>>,
    modelled: ModelSession,
    handle: StoredSession,
  ): void {
    const { store, started } = this
    switch (step.op) {
      case 'remove':
        started.push(store.removeSession(handle))
        this.model.sessions.delete(step.id)
        return
      case 'disconnect':
        started.push(store.sessionDisconnected(handle, { expiresAtMs: step.expiresAtMs, sentUpToSeq: 0 }))
        modelled.expiresAtMs = step.expiresAtMs
        return
      case 'subscribe': {
        started.push(
          store.putSubscriptions(
            handle,
            step.filters.map(([filter, granted]) => ({ filter, matchFilter: filter, qos: granted })),
          ),
        )
        for (const [filter, granted] of step.filters) modelled.subscriptions.set(filter, granted)
        return
      }
      case 'unsubscribe':
        started.push(store.removeSubscriptions(handle, step.filters))
        for (const filter of step.filters) modelled.subscriptions.delete(filter)
        return
      case 'acknowledge': {
        const [entry] = modelled.queue.splice(step.nth, 1)
        if (entry !== undefined) store.acknowledge(handle, entry.seq, entry.payload.length)
        return
      }
      case 'release': {
        const entry = modelled.queue[step.nth]
        if (entry === undefined) return
        started.push(release(store, handle, entry.seq, entry.payload.length))
        entry.released = true
        entry.qos = 2
        return
      }
      case 'releaseIncoming':
        started.push(releaseIncoming(store, handle, step.messageId))
        modelled.incoming.delete(step.messageId)
        return
      default:
        return step satisfies never
    }
  }

  #publish(step: Of<'publish'>): void {
    const targets = step.targets.filter(([name]) => this.model.sessions.has(name))
    const incoming =
      step.incoming !== null && this.model.sessions.has(step.incoming[0]) ? step.incoming : undefined
    const before = new Map(targets.map(([name]) => [name, this.#handle(name).lastSeq]))
    this.started.push(
      publish(this.store, {
        message: message(step.topic, step.payload),
        targets: targets.map(([name, granted]) => ({ session: this.#handle(name), qos: granted })),
        retain: step.retain,
        ...(incoming && { incoming: { session: this.#handle(incoming[0]), messageId: incoming[1] } }),
        ...(step.willOf !== null && { willOf: step.willOf }),
      }),
    )
    if (step.willOf !== null && !this.model.wills.has(step.willOf)) return
    if (incoming !== undefined) {
      const taken = this.model.sessions.get(incoming[0])?.incoming
      if (taken?.has(incoming[1]) === true) return
      taken?.add(incoming[1])
    }
    for (const [name, granted] of targets) this.#enqueue(name, granted, step.payload, before)
    if (step.willOf !== null) this.model.wills.delete(step.willOf)
    if (!step.retain) return
    const { retained } = this.model
    const admitted = retained.has(step.topic) || retained.size < limits.retainedMaxMessages
    if (step.payload === '') retained.delete(step.topic)
    else if (admitted) retained.set(step.topic, step.payload)
  }

  #enqueue(name: string, granted: 1 | 2, text: string, before: Map<string, number>): void {
    const queue = this.model.sessions.get(name)?.queue ?? []
    const weight = queue.reduce((sum, entry) => sum + (entry.released ? 0 : entry.payload.length), 0)
    if (queue.length >= limits.queueMaxMessages || weight + text.length > limits.queueMaxBytes) return
    const seq = (before.get(name) ?? 0) + 1
    assert(seq > (this.model.lastSeqs.get(name) ?? 0), 'a sequence number was given out twice')
    before.set(name, seq)
    this.model.lastSeqs.set(name, seq)
    queue.push({ seq, qos: granted, payload: text, released: false })
  }

  #will(step: Of<'will'> | Of<'deleteWill'>): void {
    if (step.op === 'deleteWill') {
      this.model.wills.delete(step.id)
      this.started.push(this.store.deleteWill(step.id))
      return
    }
    this.model.wills.set(step.id, step.payload)
    this.started.push(this.store.putWill({ clientId: step.id, message: message('w', step.payload) }))
  }

  #handle(name: string): StoredSession {
    const session = this.store.sessions.get(name)
    if (session === undefined) throw new Error(`the store has no session ${name}`)
    return session
  }
}

async function compare({ store, model }: Runner): Promise<void> {
  const [found, expected] = [await snapshot(store), model.snapshot()]
  assert.deepEqual({ ...found, wills: found.wills.sort() }, { ...expected, wills: expected.wills.sort() })
}

async function check(create: () => Store, steps: readonly Operation[], reopens: boolean): Promise<void> {
  const runner = new Runner(create())
  await runner.store.open()
  try {
    for (const step of steps) {
      if (step.op !== 'reopen') runner.run(step)
      else {
        await Promise.all(runner.started.splice(0))
        if (reopens) {
          await runner.store.close()
          runner.store = create()
          await runner.store.open()
        }
        await compare(runner)
      }
    }
    // Memory is ahead of the answers: what is asked now sees every write asked before.
    const { retained, sums } = await snapshot(runner.store)
    const expected = runner.model.snapshot()
    assert.deepEqual({ retained, sums }, { retained: expected.retained, sums: expected.sums })
    await Promise.all(runner.started.splice(0))
    await compare(runner)
  } finally {
    await runner.store.close()
  }
}

const histories = fc.array(operation, { minLength: 5, maxLength: 60, size: 'max' })

describe('random operations leave what the obvious model has', () => {
  it('in memory', async () => {
    await fc.assert(
      fc.asyncProperty(histories, (steps) => check(() => createMemoryStore(limits), steps, false)),
      { numRuns: 300 },
    )
  })

  it('on disk, through closing and opening', async () => {
    await fc.assert(
      fc.asyncProperty(histories, async (steps) => {
        const folder = await temporaryFolder()
        const log = createSilentLog()
        const options = { path: folder.path, sync: false, cacheBytes: 1_000_000, limits, log }
        try {
          await check(() => createEmbeddedStore(options), steps, true)
        } finally {
          await folder.remove()
        }
      }),
      { numRuns: 60 },
    )
  })
})
