import { describe, expect, it } from 'vitest'
import { type ClusterPod, openClusterPod, openClusterPods } from '../../support/cluster-pods.ts'

const limits = { banFailures: 3, banWindowMs: 60_000, banMs: 60_000 }

describe('bans of all pods', () => {
  it('tells every pod of a ban, also those that start later', async () => {
    const { redis, pods } = await openClusterPods(2)
    const [a, b] = pods as [ClusterPod, ClusterPod]
    a.cluster.ban('192.0.2.1', Date.now() + 60_000)
    await expect.poll(() => b.told).toContain('banned 192.0.2.1')
    const later = await openClusterPod(redis)
    expect(later.told).toContain('banned 192.0.2.1')
  })

  it('counts refused credentials over all pods', async () => {
    const { redis, pods } = await openClusterPods(3, { limits })
    for (const pod of pods) pod.cluster.credentialsRefused('192.0.2.1')
    pods[0]?.cluster.credentialsRefused('192.0.2.2')
    for (const pod of pods) await expect.poll(() => pod.told).toContain('banned 192.0.2.1')
    for (const pod of pods) expect(pod.told).not.toContain('banned 192.0.2.2')
    expect(await redis.command('EXISTS', '{tunnelmq}:failures:192.0.2.1')).toBe(0)
    expect(Number(await redis.command('PTTL', '{tunnelmq}:failures:192.0.2.2'))).toBeGreaterThan(0)
  })

  it('counts nothing where nobody is to be banned', async () => {
    const { redis, pods } = await openClusterPods(1, { limits: { banFailures: 0 } })
    const [pod] = pods as [ClusterPod]
    pod.cluster.credentialsRefused('192.0.2.1')
    await pod.cluster.settled()
    expect(await redis.command('KEYS', '*failures*')).toEqual([])
  })

  it('lifts a ban at every pod, with what was counted towards one', async () => {
    const { redis, pods } = await openClusterPods(2, { limits })
    const [a, b] = pods as [ClusterPod, ClusterPod]
    a.cluster.ban('192.0.2.1', Date.now() + 60_000)
    b.cluster.credentialsRefused('192.0.2.1')
    await expect.poll(() => b.told).toContain('banned 192.0.2.1')
    expect(await b.cluster.unban('192.0.2.1')).toBe(true)
    for (const pod of pods) await expect.poll(() => pod.told.at(-1)).toBe('unbanned 192.0.2.1')
    expect(await redis.command('KEYS', '*failures*')).toEqual([])
    expect(await a.cluster.unban('192.0.2.1')).toBe(false)
    // It can be banned again, for a shorter time.
    a.cluster.ban('192.0.2.1', Date.now() + 30_000)
    for (const pod of pods) await expect.poll(() => pod.told.at(-1)).toBe('banned 192.0.2.1')
  })

  it('lifts, when it loads, a ban that was lifted while the pod was away', async () => {
    const { redis, pods } = await openClusterPods(1)
    const [pod] = pods as [ClusterPod]
    pod.cluster.ban('192.0.2.1', Date.now() + 60_000)
    await expect.poll(() => pod.told).toContain('banned 192.0.2.1')
    await redis.command('DEL', '{tunnelmq}:bans')
    pod.link.reload('a test')
    await expect.poll(() => pod.told.at(-1)).toBe('unbanned 192.0.2.1')
  })

  it('forgets bans that are over, and keeps a longer one', async () => {
    const { redis, pods } = await openClusterPods(2)
    const [a, b] = pods as [ClusterPod, ClusterPod]
    a.cluster.ban('192.0.2.1', Date.now() + 500)
    a.cluster.ban('192.0.2.2', Date.now() + 500)
    b.cluster.ban('192.0.2.2', Date.now() + 60_000)
    await expect.poll(() => redis.command('HKEYS', '{tunnelmq}:bans')).toEqual(['192.0.2.2'])
  })
})
