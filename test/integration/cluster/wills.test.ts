import { describe, expect, it } from 'vitest'
import { type ClusterPod, claimAt, openClusterPods, willOf } from '../../support/cluster-pods.ts'

/** By all pods together. */
function published(pods: readonly ClusterPod[]): string[] {
  return pods.flatMap(({ told }) => told.filter((text) => text.startsWith('will ')))
}

describe('wills of clients that nobody owns any more', () => {
  it('publishes each once when a pod has died and three live', async () => {
    const { redis, pods } = await openClusterPods(4)
    const [dead] = pods as [ClusterPod]
    const ids = Array.from({ length: 1_200 }, (_, index) => `x${index}`)
    await Promise.all(ids.map((id) => claimAt(dead, id, { will: willOf(id) }).claimed))
    dead.proxy.isolate()
    const expected = ids.map((id) => `will will/${id}`).toSorted()
    // What is lent and not published comes up again 3 s later.
    await expect.poll(() => published(pods).length, { timeout: 60_000 }).toBe(ids.length)
    expect(published(pods).toSorted()).toEqual(expected)
    expect(await redis.command('HLEN', '{tunnelmq}:wills')).toBe(0)
    expect(await redis.command('ZCARD', '{tunnelmq}:willdue')).toBe(0)
    await expect.poll(() => redis.command('SCARD', '{tunnelmq}:dying')).toBe(0)
    expect(await redis.command('HLEN', '{tunnelmq}:owner')).toBe(0)
  })

  it('publishes none of clients that are back before their pod is declared dead', async () => {
    const { pods } = await openClusterPods(3, { cluster: { takeoverMs: 200 } })
    const [dead, b] = pods as [ClusterPod, ClusterPod]
    await claimAt(dead, 'back', { will: willOf('back', 'old') }).claimed
    await claimAt(dead, 'away', { will: willOf('away') }).claimed
    dead.proxy.isolate()
    const again = claimAt(b, 'back', { will: willOf('back', 'new') })
    await again.claimed
    await expect.poll(() => published(pods)).toEqual(['will will/away'])
    expect(again.isOpen).toBe(true)
  })

  it('publishes one that was kept at the release when its time has come, and not before', async () => {
    const { pods } = await openClusterPods(2)
    const [a] = pods as [ClusterPod]
    const tenant = claimAt(a, 'x', { will: willOf('x') })
    await tenant.claimed
    await tenant.release(Date.now() + 2_500)
    const releasedAt = performance.now()
    await expect.poll(() => published(pods)).toEqual(['will will/x'])
    expect(performance.now() - releasedAt).toBeGreaterThan(2_000)
  })

  it('publishes none that was kept at the release when the client is back in time', async () => {
    const { redis, pods } = await openClusterPods(2)
    const [a, b] = pods as [ClusterPod, ClusterPod]
    const tenant = claimAt(a, 'x', { will: willOf('x') })
    await tenant.claimed
    await tenant.release(Date.now() + 1_500)
    await claimAt(b, 'x').claimed
    await claimAt(a, 'mark', { will: willOf('mark') }).claimed.then((claim) =>
      claim?.release({ expiresAtMs: 0, sentUpToSeq: 0, willDueAtMs: Date.now() + 2_000 }),
    )
    await expect.poll(() => published(pods)).toEqual(['will will/mark'])
    expect(await redis.command('HLEN', '{tunnelmq}:wills')).toBe(0)
  })

  it('takes away what cannot be read, and counts it', async () => {
    const { redis, pods } = await openClusterPods(1)
    const [pod] = pods as [ClusterPod]
    await redis.command('HSET', '{tunnelmq}:wills', 'x', 'rubbish')
    await redis.command('ZADD', '{tunnelmq}:willdue', 1, 'x')
    await expect.poll(() => redis.command('HLEN', '{tunnelmq}:wills')).toBe(0)
    expect(pod.cluster.stats().garbage).toBe(1)
    expect(published(pods)).toEqual([])
  })
})
