import { describe, expect, it } from 'vitest'
import type { Store } from '../../../src/store/contract.ts'
import { createMemoryStore } from '../../../src/store/memory.ts'
import { BrokerParts, type PartsClient } from '../../support/broker-parts.ts'
import { createFakeCluster, type FakeCluster } from '../../support/fake-cluster.ts'
import { createLeasingStore } from '../../support/leasing-store.ts'
import { testLimits } from '../../support/store-fixtures.ts'

const filter = '$share/g/t'
const key = 'g/t'

interface Pod {
  readonly parts: BrokerParts
  readonly cluster: FakeCluster
}

/** Pods on one store; each hears of the group as it would from Redis. */
async function openPods(count: number, maxInflight = 4): Promise<{ store: Leasing; pods: Pod[] }> {
  const memory = createMemoryStore({ ...testLimits, queueMaxMessages: 10_000 })
  await memory.open()
  const store = createLeasingStore(memory)
  await store.createSession('group', key)
  const pods: Pod[] = []
  for (let i = 0; i < count; i++) {
    const cluster = createFakeCluster(store)
    const parts = await BrokerParts.open({ store, cluster, maxInflight })
    parts.subscriptions.queueAdded(store.groups.get(key)!)
    pods.push({ parts, cluster })
  }
  return { store, pods }
}
type Leasing = Store & { readonly leased: ReadonlySet<number> }

async function member({ parts }: Pod, id: string): Promise<PartsClient> {
  const client = await parts.connect(id, true)
  await client.subscribe(filter, 1)
  return client
}

async function publish(pods: readonly Pod[], texts: readonly string[]): Promise<void> {
  for (const text of texts) await pods[0]!.parts.publish('t', text, 1)
  for (const { parts } of pods) parts.subscriptions.groupFilled(key)
  for (const { parts } of pods) await parts.quiet()
}

function numbers(count: number): string[] {
  return Array.from({ length: count }, (_, index) => String(index + 1))
}

describe('a shared subscription over several pods', () => {
  it('gives each message to one member, at whichever pod', async () => {
    const { store, pods } = await openPods(2)
    const members = [await member(pods[0]!, 'a'), await member(pods[1]!, 'b')]
    await publish(pods, numbers(100))
    const got: string[] = []
    for (let idle = 0; idle < 3; idle++) {
      for (const one of members) {
        const news = one.takeAndAcknowledge()
        if (news.length > 0) idle = 0
        got.push(...news)
      }
      for (const { parts } of pods) await parts.quiet()
    }
    expect(got.toSorted((a, b) => Number(a) - Number(b))).toEqual(numbers(100))
    expect(store.groups.get(key)).toMatchObject({ queuedCount: 0 })
  })

  it('leases no more than its members here have room for', async () => {
    const { store, pods } = await openPods(1)
    await member(pods[0]!, 'a')
    await member(pods[0]!, 'b')
    await publish(pods, numbers(100))
    expect(store.leased.size).toBe(8)
  })

  it('gives back what a member has not acknowledged when nobody here can take it', async () => {
    const { store, pods } = await openPods(2)
    const leaving = await member(pods[0]!, 'a')
    await publish(pods, numbers(3))
    expect(leaving.packets()).toHaveLength(3)
    leaving.lose()
    expect(store.leased.size).toBe(0)
    const staying = await member(pods[1]!, 'b')
    await pods[1]!.parts.quiet()
    expect(staying.takeAndAcknowledge()).toEqual(numbers(3))
  })

  it('sends QoS 0 to one member over all pods, in turn', async () => {
    const { pods } = await openPods(1)
    const [{ parts, cluster }] = pods as [Pod]
    const here = await member(pods[0]!, 'a')
    parts.subscriptions.podInGroup('b', key, 't', true)
    parts.subscriptions.podInGroup('c', key, 't', true)
    for (const text of numbers(6)) await parts.publish('t', text, 0)
    expect(here.takeAndAcknowledge()).toEqual(['1', '4'])
    expect(cluster.sent).toEqual(['b/g/t t=2', 'c/g/t t=3', 'b/g/t t=5', 'c/g/t t=6'])
    parts.subscriptions.podGone('b')
    here.lose()
    await parts.publish('t', '7', 0)
    expect(cluster.sent.at(-1)).toBe('c/g/t t=7')
  })

  it('is forgotten with its queue, its members and the pods that have some', async () => {
    const { store, pods } = await openPods(1)
    const { parts } = pods[0]!
    const client = await member(pods[0]!, 'a')
    parts.subscriptions.podInGroup('b', key, 't', true)
    client.lose()
    const queue = store.groups.get(key)!
    await store.removeSession(queue)
    parts.subscriptions.queueRemoved(queue)
    expect(parts.subscriptions.groupCount).toBe(1)
    parts.subscriptions.podGone('b')
    expect(parts.subscriptions.groupCount).toBe(0)
    expect(parts.subscriptions.match('t')).toEqual([])
  })
})
