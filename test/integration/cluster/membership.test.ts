import { describe, expect, it } from 'vitest'
import type { StoredSession } from '../../../src/store/contract.ts'
import {
  type ClusterPod,
  claimAt,
  failureOf,
  openClusterPod,
  openClusterPods,
  willOf,
} from '../../support/cluster-pods.ts'
import { message, publish } from '../../support/store-fixtures.ts'

const LEASE_MS = 2_500

function queueAt({ store }: ClusterPod): StoredSession {
  const group = store.groups.get('g/f')
  if (group === undefined) throw new Error('no such group')
  return group
}

describe('the membership of pods', () => {
  it('knows who is there, with their figures, and who has left in order', async () => {
    const { redis, pods } = await openClusterPods(2)
    const [a, b] = pods as [ClusterPod, ClusterPod]
    await expect.poll(() => a.told).toEqual([`joined ${b.link.pod}`])
    expect(b.told).toEqual([`joined ${a.link.pod}`])
    await expect
      .poll(() => a.cluster.pods().map(({ id, figures }) => [id, figures?.bytesSent]))
      .toEqual([
        [a.link.pod, 8],
        [b.link.pod, 8],
      ])
    expect(a.cluster.stats()).toMatchObject({ pods: 2, garbage: 0 })
    await b.stop()
    await expect.poll(() => a.told).toContain(`gone ${b.link.pod} stopped`)
    expect(a.cluster.stats()).toMatchObject({ pods: 1, deadPods: 0 })
    expect(await redis.command('KEYS', `*${b.link.pod}*`)).toEqual([])
  })

  it('declares a pod that is cut off dead within its lease and a little, once, and clears up after it', async () => {
    const { redis, pods } = await openClusterPods(3, { sessionExpiryMs: 60_000 })
    const [dead, b, c] = pods as [ClusterPod, ClusterPod, ClusterPod]
    const name = dead.link.pod
    await claimAt(dead, 'stored', { clean: false }).claimed
    await claimAt(dead, 'clean', { will: willOf('clean') }).claimed
    dead.cluster.want('a/#')
    dead.cluster.joinGroup('g/f', 'f')
    await dead.cluster.settled()
    dead.proxy.isolate()
    const cutAt = performance.now()
    for (const pod of [b, c]) await expect.poll(() => pod.told).toContain(`gone ${name} dead`)
    expect(performance.now() - cutAt).toBeLessThan(LEASE_MS + 8_000)
    await expect.poll(() => redis.command('SCARD', '{tunnelmq}:dying')).toBe(0)
    expect(await redis.command('KEYS', `*${name}*`)).toEqual([])
    expect(await redis.command('HLEN', '{tunnelmq}:owner')).toBe(0)
    expect(await redis.command('EXISTS', '{tunnelmq}:gm:g/f')).toBe(0)
    const expires = Number(await redis.command('ZSCORE', '{tunnelmq}:expiry', 'cstored'))
    expect(expires - Date.now()).toBeGreaterThan(50_000)
    expect(expires - Date.now()).toBeLessThan(61_000)
    expect(b.told.filter((text) => text.startsWith('gone'))).toHaveLength(1)
  })

  it('closes everything at a pod that was declared dead, which comes back under another name', async () => {
    const { pods } = await openClusterPods(2)
    const [lost, b] = pods as [ClusterPod, ClusterPod]
    const name = lost.link.pod
    const first = claimAt(lost, 'x')
    await first.claimed
    lost.proxy.isolate()
    await expect.poll(() => b.told).toContain(`gone ${name} dead`)
    const second = claimAt(b, 'x')
    await second.claimed
    lost.proxy.thaw()
    await expect.poll(() => lost.told).toContain('expelled')
    expect(first.losses).toEqual(['fenced'])
    await expect.poll(() => failureOf(lost)).toBe(undefined)
    expect(lost.link.pod).not.toBe(name)
    await expect.poll(() => b.told).toContain(`joined ${lost.link.pod}`)
    expect(second.losses).toEqual([])
    const third = claimAt(lost, 'x')
    await third.claimed
    expect(third.isOpen).toBe(true)
    expect(second.losses).toEqual(['taken-over'])
  })

  it('declares nobody dead when Redis was frozen for longer than a lease', async () => {
    const { redis, pods } = await openClusterPods(3)
    const tenants = pods.map((pod, index) => claimAt(pod, `x${index}`, { will: willOf(`x${index}`) }))
    await Promise.all(tenants.map(({ claimed }) => claimed))
    redis.freeze()
    await new Promise((resolve) => setTimeout(resolve, 10_000))
    redis.thaw()
    for (const pod of pods) await expect.poll(() => failureOf(pod)).toBe(undefined)
    // As long as it would take.
    await new Promise((resolve) => setTimeout(resolve, LEASE_MS + 1_500))
    for (const pod of pods) expect(pod.told.filter((text) => !text.startsWith('joined'))).toEqual([])
    expect(tenants.map(({ isOpen }) => isOpen)).toEqual([true, true, true])
    expect(await redis.command('HLEN', '{tunnelmq}:owner')).toBe(3)
  })

  it('ends sessions of a dead pod in time, and none of those whose clients are back', async () => {
    const { redis, pods } = await openClusterPods(2, { sessionExpiryMs: 1_000, cluster: { takeoverMs: 200 } })
    const [dead, b] = pods as [ClusterPod, ClusterPod]
    await claimAt(dead, 'away', { clean: false }).claimed
    await claimAt(dead, 'back', { clean: false }).claimed
    dead.proxy.isolate()
    await expect.poll(() => b.told).toContain(`gone ${dead.link.pod} dead`)
    const back = await claimAt(b, 'back', { clean: false }).claimed
    expect(back?.present).toBe(true)
    await expect
      .poll(
        async () => {
          await b.store.sweep(Date.now())
          return redis.command('HKEYS', '{tunnelmq}:sessions')
        },
        { timeout: 10_000 },
      )
      .toEqual(['cback'])
    expect([...b.store.sessions.keys()]).toEqual(['back'])
  })

  it('ends what a pod has left behind in Redis when nobody lived to see it die', async () => {
    const { redis, pods } = await openClusterPods(1)
    const [dead] = pods as [ClusterPod]
    const name = dead.link.pod
    const ids = Array.from({ length: 700 }, (_, index) => `x${index}`)
    await Promise.all(ids.map((id) => claimAt(dead, id, { will: willOf(id), clean: false }).claimed))
    dead.proxy.isolate()
    await new Promise((resolve) => setTimeout(resolve, LEASE_MS + 1_000))
    const next = await openClusterPod(redis)
    // Nobody has beaten for longer than 2 s, perhaps: then it has a whole lease first.
    await expect.poll(() => next.told).toContain(`gone ${name} dead`)
    await expect.poll(() => next.told.filter((text) => text.startsWith('will ')).length).toBe(ids.length)
    expect(await redis.command('ZCARD', '{tunnelmq}:expiry')).toBe(ids.length)
  })

  it('frees what a dead pod has leased of a shared subscription, and wakes members elsewhere', async () => {
    const { redis, pods } = await openClusterPods(3)
    const [dead, b, c] = pods as [ClusterPod, ClusterPod, ClusterPod]
    const group = await dead.store.createSession('group', 'g/f')
    for (const pod of pods) {
      pod.cluster.joinGroup('g/f', 'f')
      await pod.cluster.settled()
    }
    for (const text of ['1', '2', '3']) {
      await publish(b.store, { message: message('f', text), targets: [{ session: queueAt(b), qos: 1 }] })
    }
    expect(await dead.store.readQueue(group, 0, 10, 100_000)).toHaveLength(3)
    expect(await b.store.readQueue(queueAt(b), 0, 10, 100_000)).toHaveLength(0)
    const wakeUps = (pod: ClusterPod): number => pod.told.filter((text) => text === 'filled g/f').length
    const before = [wakeUps(b), wakeUps(c)]
    dead.proxy.isolate()
    await expect.poll(() => redis.command('ZCARD', '{tunnelmq}:gr:g/f')).toBe(3)
    await expect
      .poll(() => [wakeUps(b), wakeUps(c)].map((count, at) => count - (before[at] ?? 0)))
      .toEqual([1, 1])
    expect(await b.store.readQueue(queueAt(b), 0, 10, 100_000)).toHaveLength(3)
    await expect
      .poll(async () => ((await redis.command('SMEMBERS', '{tunnelmq}:gm:g/f')) as string[]).toSorted())
      .toEqual([`p${b.link.pod}`, `p${c.link.pod}`].toSorted())
  })

  it('takes what is not a beat for the beat of a dead pod', async () => {
    const { redis, pods } = await openClusterPods(1)
    const [pod] = pods as [ClusterPod]
    await redis.command('HSET', '{tunnelmq}:pods', 'feedfeedfeedfeed', 'rubbish')
    pod.link.reload('test')
    await expect.poll(() => pod.told).toContain('gone feedfeedfeedfeed dead')
    expect(await redis.command('HKEYS', '{tunnelmq}:pods')).toEqual([pod.link.pod])
  })

  it('leaves a burial that was begun to whoever lives', async () => {
    const { redis, pods } = await openClusterPods(1)
    await redis.command('SADD', '{tunnelmq}:dying', 'feedfeedfeedfeed')
    await redis.command('SADD', '{tunnelmq}:owned:feedfeedfeedfeed', 'x', 'y')
    await redis.command(
      'HSET',
      '{tunnelmq}:owner',
      'x',
      '5:feedfeedfeedfeed',
      'y',
      `9:${pods[0]?.link.pod ?? ''}`,
    )
    await expect.poll(() => redis.command('SCARD', '{tunnelmq}:dying')).toBe(0)
    expect(await redis.command('HKEYS', '{tunnelmq}:owner')).toEqual(['y'])
  })
})
