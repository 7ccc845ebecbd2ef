import assert from 'node:assert/strict'
import { expect } from 'vitest'
import type { StoredSession } from '../../src/store/contract.ts'
import type { RedisStore } from '../../src/store/redis/contract.ts'
import { compare, podAt, sessionAt, type World } from './redis-compare.ts'
import { bounds, RedisModel, type ModelSession } from './redis-model.ts'
import { ask, bury, createRedisPod, newPrefix, type RedisPod } from './redis-pods.ts'
import type { RedisServer } from './redis-server.ts'
import { GROUP, type Of, PODS, SHARED, type Step, words } from './redis-steps.ts'
import { openRedisWire, type RedisWire } from './redis-wire.ts'
import { message, publish, release, releaseIncoming, settled, wholeQueue } from './store-fixtures.ts'

/** Does each step in the model and on a pod, and compares the answers; then what all pods have. */
export class RedisRun implements World {
  readonly server: RedisServer
  readonly prefix = newPrefix()
  readonly model = new RedisModel()
  readonly pods: RedisPod[] = []
  readonly #wires: RedisWire[] = []
  cuts = 0

  constructor(server: RedisServer) {
    this.server = server
  }

  async start(): Promise<void> {
    for (let index = 0; index < PODS; index++) await this.#startPod(index)
  }

  async stop(): Promise<void> {
    for (const index of this.pods.keys()) await this.#stopPod(index)
  }

  async do(next: Step): Promise<void> {
    await this.#caughtUp()
    if ('cut' in next && next.cut !== null) this.#wires[next.pod]?.cutAt(words[next.op] ?? '', next.cut)
    await this.#step(podAt(this, next.pod).store, next)
    await settled(podAt(this, next.pod).store)
    // Not made: this step had nothing to write.
    this.#wires[next.pod]?.cutAt('nothing', 'before')
    await this.#caughtUp()
    await compare(this)
  }

  async #startPod(index: number): Promise<void> {
    const wire = await openRedisWire(this.server.port)
    const one = createRedisPod({ url: wire.url, keyPrefix: this.prefix, limits: bounds })
    await one.open()
    await ask(one, 'group', '1', GROUP, 'jobs')
    this.pods[index] = one
    this.#wires[index] = wire
    this.model.begin(index)
  }

  async #stopPod(index: number): Promise<void> {
    await podAt(this, index).store.close()
    this.cuts += this.#wires[index]?.cuts ?? 0
    this.#wires[index]?.close()
  }

  /** Every pod knows all that was written. */
  async #caughtUp(): Promise<void> {
    const head = Number(await this.server.command('GET', `${this.prefix}logpos`))
    for (const one of this.pods) {
      await one.link.follower.reached(head, 5_000)
      await expect.poll(() => one.link.failure, { interval: 5 }).toBeUndefined()
    }
  }

  async #step(store: RedisStore, next: Step): Promise<void> {
    switch (next.op) {
      case 'claim':
        return this.#claim(store, next)
      case 'die':
        return this.#die(next.pod)
      case 'publish':
        return this.#publish(store, next)
      case 'publishWill':
        return this.#publishWill(store, next)
      case 'lease':
        return this.#lease(store, next)
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
        return this.#onSession(store, next)
    }
  }

  async #claim(store: RedisStore, { pod: index, id: name, clean, will }: Of<'claim'>): Promise<void> {
    const before = this.model.owners.get(name)
    const isHeld = this.model.believed[index]?.has(name) === true
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
      [present, isElsewhere ? podAt(this, before.pod).link.pod : undefined, before?.number ?? 0],
    )
    assert(reply.claim > (before?.number ?? 0))
    this.model.claim(index, name, reply.claim, isClean)
    // The will of who lives, and has to publish it, stays until the new owner puts its own: also at this pod.
    if (before !== undefined || isHeld) await store.putClaimedWill(name, reply.claim, stored)
    this.model.wills.delete(name)
    if (will !== null) this.model.wills.set(name, { number: reply.claim, text: will })
    const session = this.model.sessions.get(name)
    assert.equal(reply.stored?.queuedCount, session?.entries.length)
    assert.deepEqual(new Set(reply.stored?.incomingIds), new Set(session?.incoming))
  }

  async #die(index: number): Promise<void> {
    const { pod } = podAt(this, index).link
    await this.#stopPod(index)
    await bury(podAt(this, (index + 1) % PODS), pod)
    this.model.die(index)
    await this.#startPod(index)
  }

  async #publish(store: RedisStore, next: Of<'publish'>): Promise<void> {
    const { model } = this
    const targets = next.targets.flatMap(([name, granted]) => {
      const session = sessionAt(this, store, name)
      return session === undefined ? [] : [{ session, name, qos: name === GROUP ? (1 as const) : granted }]
    })
    const [publisherId = '', messageId = 0] = next.incoming ?? []
    const publisher = next.incoming === null ? undefined : sessionAt(this, store, publisherId)
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
    const group = sessionAt(this, store, GROUP)
    if (group === undefined) return
    const leased = (await store.readQueue(group, 0, count, 1_000)).map(({ seq }) => seq)
    assert.deepEqual(leased, this.model.free().slice(0, count))
    for (const seq of leased) this.model.group?.leases.set(seq, index)
  }

  async #leased(store: RedisStore, { op, pod: index, nth: place }: Of<'giveBack'>): Promise<void> {
    const group = sessionAt(this, store, GROUP)
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
    const session = sessionAt(this, store, next.id)
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
}
