import assert from 'node:assert/strict'
import { expect } from 'vitest'
import type { StoredSession } from '../../src/store/contract.ts'
import type { RedisStore } from '../../src/store/redis/contract.ts'
import type { ModelSession, RedisModel } from './redis-model.ts'
import type { RedisPod } from './redis-pods.ts'
import type { RedisServer } from './redis-server.ts'
import { GROUP } from './redis-steps.ts'
import { wholeQueue } from './store-fixtures.ts'

export interface World {
  readonly server: RedisServer
  readonly prefix: string
  readonly model: RedisModel
  readonly pods: readonly RedisPod[]
}

export function podAt({ pods }: World, index: number): RedisPod {
  const found = pods[index]
  assert(found)
  return found
}

/** As a store has it, if the model has it. */
export function sessionAt({ model }: World, store: RedisStore, name: string): StoredSession | undefined {
  const modelled = name === GROUP ? model.group : model.sessions.get(name)
  const session = name === GROUP ? store.groups.get(name) : store.sessions.get(name)
  assert.equal(session !== undefined, modelled !== undefined, `session ${name}`)
  return session
}

/** Compares what all pods, and Redis, have with the model. They are caught up. */
export async function compare(world: World): Promise<void> {
  const { model, server, prefix } = world
  for (const one of world.pods) {
    const { store } = one
    for (const name of ['a', 'b', GROUP]) sessionAt(world, store, name)
    for (const [name, { subscriptions }] of model.sessions) {
      const found = [...(store.sessions.get(name)?.subscriptions.values() ?? [])]
      assert.deepEqual(new Map(found.map((sub) => [sub.filter, sub.qos])), subscriptions)
    }
    const retained = store
      .retainedMatching('#')
      .map((found) => [found.topic, found.payload.toString()] as const)
    assert.deepEqual(new Map(retained), model.retained)
  }
  for (const [name, session] of model.sessions) await compareSession(world, name, session)
  if (model.group !== undefined)
    await compareFigures(world, `g${GROUP}`, model.group.entries, model.group.lastSeq)
  const wills = (await server.command('HGETALL', `${prefix}wills`)) as string[]
  assert.deepEqual(wills.filter((_, at) => at % 2 === 0).sort(), [...model.wills.keys()].sort())
}

async function compareSession(world: World, name: string, session: ModelSession): Promise<void> {
  const owner = world.model.owners.get(name)
  const { store } = podAt(world, owner?.pod ?? 0)
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
  await compareFigures(world, `c${name}`, session.entries, session.lastSeq)
  const ids = (await world.server.command('SMEMBERS', `${world.prefix}i:c${name}`)) as string[]
  assert.deepEqual(new Set(ids.map(Number)), session.incoming)
}

async function compareFigures(
  { server, prefix }: World,
  kid: string,
  entries: ModelSession['entries'],
  lastSeq: number,
): Promise<void> {
  const bytes = entries.reduce((sum, entry) => sum + (entry.isReleased ? 0 : entry.payload.length), 0)
  const found = await server.command('HMGET', `${prefix}s:${kid}`, 'seq', 'n', 'b')
  assert.deepEqual(found, [`${lastSeq}`, `${entries.length}`, `${bytes}`])
}
