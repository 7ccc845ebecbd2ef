import fc from 'fast-check'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { Backlog, type Entry } from '../../../src/broker/backlog.ts'
import { TunnelMQError } from '../../../src/errors.ts'
import { Message } from '../../../src/broker/message.ts'
import type { QueueEntry, Store, StoredSession } from '../../../src/store/contract.ts'
import { PATIENCE } from '../../support/eventually.ts'
import { message } from '../../support/store-fixtures.ts'

/** The queue of one session in a store whose commits, answers and reads come when the test says so. */
class SlowQueue {
  /** Published and not committed: counted, and not readable. */
  readonly uncommitted: number[] = []
  /** Committed: readable. */
  readonly entries: QueueEntry[] = []
  /** Reads that wait for their answer. */
  readonly reads: { answer: () => void; fail: (error?: Error) => void }[] = []
  readonly #payload: string
  #lastSeq = 0

  constructor(payload = 'x') {
    this.#payload = payload
  }

  get session(): StoredSession {
    const queuedCount = this.entries.length + this.uncommitted.length
    return { queuedCount, lastSeq: this.#lastSeq } as StoredSession
  }

  get store(): Store {
    const readQueue: Store['readQueue'] = (_session, afterSeq, maxCount) => {
      const look = () => this.entries.filter(({ seq }) => seq > afterSeq).slice(0, maxCount)
      // Every second read sees what there was when it was asked, the others what there is when it is answered.
      const early = this.reads.length % 2 === 0 ? look() : undefined
      return new Promise((resolve, reject) =>
        this.reads.push({
          answer: () => resolve(early ?? look()),
          fail: (error = new Error('disk')) => reject(error),
        }),
      )
    }
    return { readQueue, handedOut: () => {} } as unknown as Store
  }

  /** Sequence numbers have gaps. */
  publish(count: number, gap = 1): void {
    for (let i = 0; i < count; i++) this.uncommitted.push((this.#lastSeq += gap))
  }

  /** Commits some; returns their sequence numbers. */
  commit(count: number): number[] {
    const seqs = this.uncommitted.splice(0, count)
    for (const seq of seqs)
      this.entries.push({ seq, qos: 1, state: 'publish', message: message('t', this.#payload) })
    return seqs
  }

  acknowledge(seq: number): void {
    const index = this.entries.findIndex((entry) => entry.seq === seq)
    if (index >= 0) this.entries.splice(index, 1)
  }
}

function createEntry(seq: number, payload = 'x'): Entry {
  return {
    seq,
    qos: 1,
    state: 'publish',
    message: Message.from(message('t', payload)),
    payloadBytes: payload.length,
    messageId: 0,
    dup: false,
    lease: undefined,
  }
}

/** Promises that have been settled have run their handlers. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

let queue: SlowQueue
let failures: unknown[]

function createBacklog(): Backlog {
  return new Backlog(queue.store, (error) => failures.push(error))
}

beforeEach(() => {
  queue = new SlowQueue()
  failures = []
})

function takeSeqs(backlog: Backlog): number[] {
  const seqs: number[] = []
  for (let entry = backlog.peek(); entry !== undefined; entry = backlog.peek()) {
    seqs.push(entry.seq)
    backlog.shift()
  }
  return seqs
}

/** A receiver and what it should be given: everything unacknowledged at its start, then all that is committed. */
class Receiver {
  readonly backlog = createBacklog()
  readonly told: number[] = []
  delivered: number[] = []
  expected: number[] = []
  isOnline = false

  commit(count: number): void {
    const seqs = queue.commit(count)
    this.told.push(...seqs)
    this.expected.push(...seqs)
  }

  /** The store tells of commits, in order; nobody listens while there is no connection. */
  tell(count: number): void {
    for (const seq of this.told.splice(0, count)) if (this.isOnline) this.backlog.stored(createEntry(seq))
  }

  restart(): void {
    this.isOnline = true
    this.delivered = []
    this.expected = queue.entries.map(({ seq }) => seq)
    this.backlog.restart(queue.session)
  }

  suspend(): void {
    this.isOnline = false
    this.backlog.clear()
  }

  take(count: number): void {
    for (let i = 0; i < count && this.isOnline; i++) {
      const entry = this.backlog.peek()
      if (entry === undefined) return
      this.delivered.push(entry.seq)
      this.backlog.shift()
    }
  }

  acknowledge(which: number): void {
    const seq = this.delivered[which % this.delivered.length]
    if (seq !== undefined) queue.acknowledge(seq)
  }

  refill(): void {
    if (this.isOnline) this.backlog.refill(0, undefined, () => {})
  }

  /** Reads to the end of the queue, before and after the rest was told of. */
  async drain(): Promise<void> {
    this.commit(Infinity)
    await this.#readAll()
    this.tell(Infinity)
    await this.#readAll()
  }

  async #readAll(): Promise<void> {
    do {
      this.refill()
      for (const read of queue.reads.splice(0)) read.answer()
      await settled()
      const before = this.delivered.length
      this.take(Infinity)
      this.refill()
      if (this.delivered.length === before && queue.reads.length === 0) return
    } while (this.delivered.length <= this.expected.length)
  }
}

describe('the backlog of a stored queue', () => {
  const count = fc.oneof(fc.integer({ min: 1, max: 5 }), fc.constantFrom(150, 250))
  const anyStep = fc.oneof(
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('publish' as const), count }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('commit' as const), count }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('tell' as const), count }) },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('take' as const), count }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('acknowledge' as const), which: fc.nat() }) },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('refill' as const) }) },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('answer' as const), which: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('suspend' as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const) }) },
  )

  it('does not give an entry that an earlier connection has acknowledged, though it is told of it only now', async () => {
    queue = new SlowQueue()
    const receiver = new Receiver()
    receiver.restart()
    queue.publish(2, 1)
    receiver.commit(2)
    receiver.tell(1)
    receiver.suspend()
    receiver.restart()
    receiver.refill()
    queue.reads.splice(0).forEach((read) => read.answer())
    await settled()
    receiver.take(2)
    expect(receiver.delivered).toHaveLength(2)
    receiver.acknowledge(0)
    receiver.acknowledge(1)
    receiver.restart()
    receiver.tell(1)
    receiver.take(1)
    expect(receiver.delivered).toEqual([])
  })

  it('gives each stored entry once and in order, after any stores, reads, losses and returns', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyStep, { maxLength: 50, size: 'max' }), async (steps) => {
        queue = new SlowQueue()
        const receiver = new Receiver()
        receiver.restart()
        for (const step of steps) {
          if (step.kind === 'publish') queue.publish(step.count, 1 + (step.count % 3))
          else if (step.kind === 'commit') receiver.commit(step.count)
          else if (step.kind === 'tell') receiver.tell(step.count)
          else if (step.kind === 'take') receiver.take(step.count)
          else if (step.kind === 'acknowledge') receiver.acknowledge(step.which)
          else if (step.kind === 'refill') receiver.refill()
          else if (step.kind === 'answer') {
            const [read] = queue.reads.splice(step.which % Math.max(1, queue.reads.length), 1)
            read?.answer()
            await settled()
          } else if (step.kind === 'suspend') receiver.suspend()
          else receiver.restart()
          expect(receiver.delivered).toEqual(receiver.expected.slice(0, receiver.delivered.length))
          expect(receiver.backlog.count).toBeLessThanOrEqual(400)
        }
        if (!receiver.isOnline) receiver.restart()
        await receiver.drain()
        expect(receiver.delivered).toEqual(receiver.expected)
        expect(receiver.backlog.bytes).toBe(0)
        expect(failures).toEqual([])
      }),
      { numRuns: 200 },
    )
  })

  it('keeps only the front of a long queue in memory', async () => {
    queue.publish(10_000)
    queue.commit(10_000)
    const backlog = createBacklog()
    backlog.restart(queue.session)
    const seqs: number[] = []
    while (seqs.length < 10_000) {
      backlog.refill(0, undefined, () => {})
      queue.reads.shift()!.answer()
      await settled()
      expect(backlog.count).toBeLessThanOrEqual(200)
      seqs.push(...takeSeqs(backlog))
    }
    expect(seqs).toEqual(Array.from({ length: 10_000 }, (_, index) => index + 1))
  })

  it('keeps no more in memory of what is stored while nobody takes it, and reads it later', async () => {
    const receiver = new Receiver()
    receiver.restart()
    queue.publish(1_000)
    receiver.commit(1_000)
    receiver.tell(1_000)
    expect(receiver.backlog.count).toBe(200)
    expect(receiver.delivered).toEqual([])
    await receiver.drain()
    expect(receiver.delivered).toEqual(receiver.expected)
  })

  it('marks as DUP what may have been sent before [MQTT-3.3.1-1]', async () => {
    queue.publish(3)
    queue.commit(3)
    const backlog = createBacklog()
    backlog.restart(queue.session)
    backlog.refill(2, undefined, () => {})
    queue.reads.shift()!.answer()
    await settled()
    const dups: boolean[] = []
    for (let entry = backlog.peek(); entry !== undefined; entry = backlog.peek()) {
      dups.push(entry.dup)
      backlog.shift()
    }
    expect(dups).toEqual([true, true, false])
  })

  it('reads again by itself while the store is away, and tells nobody', async () => {
    queue.publish(1)
    queue.commit(1)
    const backlog = createBacklog()
    backlog.restart(queue.session)
    backlog.refill(0, undefined, () => {})
    queue.reads.shift()!.fail(new TunnelMQError('TMQ_STORE_UNAVAILABLE', 'Redis is away'))
    await vi.waitFor(() => expect(queue.reads).toHaveLength(1), PATIENCE)
    queue.reads.shift()!.answer()
    await settled()
    expect(takeSeqs(backlog)).toEqual([1])
    expect(failures).toEqual([])
  })

  it('tells when a read has failed, and reads again when it is asked to', async () => {
    queue.publish(1)
    queue.commit(1)
    const backlog = createBacklog()
    backlog.restart(queue.session)
    backlog.refill(0, undefined, () => {})
    queue.reads.shift()!.fail()
    await settled()
    expect(failures).toEqual([new Error('disk')])
    backlog.refill(0, undefined, () => {})
    queue.reads.shift()!.answer()
    await settled()
    expect(takeSeqs(backlog)).toEqual([1])
  })

  it('neither tells of nor uses a read of an earlier connection', async () => {
    queue.publish(1)
    queue.commit(1)
    const backlog = createBacklog()
    let calls = 0
    for (const end of ['fail', 'answer'] as const) {
      backlog.restart(queue.session)
      backlog.refill(0, undefined, () => calls++)
      backlog.restart(queue.session)
      queue.reads.shift()![end]()
      await settled()
    }
    expect(failures).toEqual([])
    expect(calls).toBe(0)
    expect(backlog.count).toBe(0)
  })
})

describe('the backlog in memory', () => {
  it('is first in, first out, with its bytes counted; what comes back is next', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('push' as const), size: fc.nat(9) }),
      fc.record({ kind: fc.constant('shift' as const), size: fc.constant(0) }),
      fc.record({ kind: fc.constant('unshift' as const), size: fc.nat(9) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100, size: 'max' }), (steps) => {
        const backlog = createBacklog()
        const twin: Entry[] = []
        for (const [index, { kind, size }] of steps.entries()) {
          const entry = createEntry(index, 'x'.repeat(size))
          if (kind === 'push') {
            backlog.push(entry)
            twin.push(entry)
          } else if (kind === 'unshift') {
            backlog.unshift(entry)
            twin.unshift(entry)
          } else {
            backlog.shift()
            twin.shift()
          }
          expect(backlog.peek()).toBe(twin[0])
          expect(backlog.count).toBe(twin.length)
          expect(backlog.bytes).toBe(twin.reduce((sum, one) => sum + one.payloadBytes, 0))
        }
        expect(backlog.takeAll()).toEqual(twin)
        expect(backlog.count).toBe(0)
      }),
    )
  })

  it('keeps its order over more entries than it lets pile up behind its front', () => {
    const backlog = createBacklog()
    const seqs: number[] = []
    for (let i = 0; i < 5_000; i++) {
      backlog.push(createEntry(i))
      backlog.push(createEntry(i + 0.5))
      seqs.push(backlog.peek()!.seq)
      backlog.shift()
    }
    seqs.push(...takeSeqs(backlog))
    expect(seqs).toEqual(Array.from({ length: 10_000 }, (_, index) => index / 2))
  })
})

describe('a queue into which other brokers write as well', () => {
  const step = fc.oneof(
    fc.constant('publish' as const),
    fc.constant('tell' as const),
    fc.constant('read' as const),
    fc.constant('take' as const),
  )

  it('gives every entry once and in order, in whichever order they are told of', async () => {
    const run = fc.asyncProperty(
      fc.array(step, { maxLength: 60, size: 'max' }),
      fc.infiniteStream(fc.nat()),
      async (steps, random) => {
        queue = new SlowQueue()
        const backlog = new Backlog(queue.store, (error) => failures.push(error), 'gapless')
        backlog.restart(queue.session)
        const untold: number[] = []
        const got: number[] = []
        let published = 0
        const pull = async (): Promise<void> => {
          await settled()
          got.push(...takeSeqs(backlog))
          backlog.refill(0, undefined, () => {})
        }
        const tell = (): void => {
          if (untold.length === 0) return
          const [seq] = untold.splice(random.next().value % untold.length, 1)
          backlog.stored(createEntry(seq!))
        }
        for (const one of steps) {
          if (one === 'publish') {
            queue.publish(1)
            untold.push(...queue.commit(1))
            published++
          } else if (one === 'tell') tell()
          else if (one === 'read') queue.reads.shift()?.answer()
          else await pull()
        }
        while (untold.length > 0) tell()
        for (let i = 0; i < 10; i++) {
          await pull()
          queue.reads.shift()?.answer()
        }
        expect(got).toEqual(Array.from({ length: published }, (_, index) => index + 1))
      },
    )
    await fc.assert(run, { numRuns: 300 })
  })

  it('is read again when something may have been missed', async () => {
    const backlog = new Backlog(queue.store, (error) => failures.push(error), 'gapless')
    backlog.restart(queue.session)
    queue.publish(2)
    queue.commit(2)
    backlog.rescan()
    backlog.refill(0, undefined, () => {})
    queue.reads.shift()!.answer()
    await settled()
    expect(takeSeqs(backlog)).toEqual([1, 2])
  })
})
