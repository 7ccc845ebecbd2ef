import { describe, expect, it } from 'vitest'
import type { TunnelMQError } from '../../../src/errors.ts'
import {
  type ClusterPod,
  claimAt,
  failureOf,
  openClusterPods,
  type Tenant,
  willOf,
} from '../../support/cluster-pods.ts'
import { message, publish } from '../../support/store-fixtures.ts'

/** Everything that was asked has been answered, and every loss was told. */
async function survivors(tenants: readonly Tenant[]): Promise<number> {
  await Promise.all(tenants.map(({ claimed }) => claimed))
  let open = -1
  await expect
    .poll(
      () => {
        const before = open
        open = tenants.filter(({ isOpen }) => isOpen).length
        return open <= 1 && open === before
      },
      { interval: 5 },
    )
    .toBe(true)
  return open
}

function two(pods: readonly ClusterPod[]): [ClusterPod, ClusterPod] {
  return pods as [ClusterPod, ClusterPod]
}

describe('the ownership of client ids', () => {
  it('lets the last one have it, after the one before has closed its connection', async () => {
    const [a, b] = two((await openClusterPods(2)).pods)
    const first = claimAt(a, 'x')
    await first.claimed
    const second = claimAt(b, 'x')
    await second.claimed
    expect(first.losses).toEqual(['taken-over'])
    expect([first.isOpen, second.isOpen]).toEqual([false, true])
    expect(b.cluster.stats()).toMatchObject({ claims: 1, takeovers: 1, owned: 1 })
    expect(a.cluster.stats()).toMatchObject({ claims: 1, lostClaims: 1, owned: 0 })
  })

  it('leaves exactly one survivor when two pods claim it at once, 200 times', async () => {
    const [a, b] = two((await openClusterPods(2, { cluster: { takeoverMs: 10_000 } })).pods)
    for (let round = 0; round < 200; round++) {
      const id = `x${round % 7}`
      const tenants = round % 2 === 0 ? [claimAt(a, id), claimAt(b, id)] : [claimAt(b, id), claimAt(a, id)]
      expect(await survivors(tenants)).toBe(1)
      if (round % 3 === 0) await Promise.all(tenants.map((tenant) => tenant.release()))
    }
  })

  it('leaves exactly one survivor of claims that come from three pods, several each, in any order', async () => {
    const { pods } = await openClusterPods(3, { cluster: { takeoverMs: 10_000 } })
    for (let round = 0; round < 50; round++) {
      const tenants: Tenant[] = []
      for (let index = 0; index < 9; index++) {
        const pod = pods[(index * 7 + round) % 3]
        if (pod !== undefined) tenants.push(claimAt(pod, 'x'))
        if (index % 4 === round % 4) await new Promise((resolve) => setImmediate(resolve))
      }
      expect(await survivors(tenants)).toBe(1)
      const state = tenants.map(({ isOpen }) => isOpen)
      expect(state.filter(Boolean)).toHaveLength(1)
    }
  })

  it('does not wait for a word when release and claim cross', async () => {
    const [a, b] = two((await openClusterPods(2, { cluster: { takeoverMs: 5_000 } })).pods)
    let slowest = 0
    for (let round = 0; round < 60; round++) {
      const [from, to] = round % 2 === 0 ? [a, b] : [b, a]
      const first = claimAt(from, 'x')
      await first.claimed
      const startedAt = performance.now()
      const second = claimAt(to, 'x')
      if (round % 3 > 0) await new Promise((resolve) => setTimeout(resolve, round % 3))
      void first.release()
      await second.claimed
      slowest = Math.max(slowest, performance.now() - startedAt)
      await second.release()
    }
    // Whoever waits for a word waits for `takeoverMs`.
    expect(slowest).toBeLessThan(5_000)
  })

  it('gives it to a second connection at the same pod, whichever is released first', async () => {
    const { pods } = await openClusterPods(1)
    const [pod] = pods as [ClusterPod]
    const first = claimAt(pod, 'x')
    await first.claimed
    void first.release()
    const second = claimAt(pod, 'x')
    await second.claimed
    const third = claimAt(pod, 'x')
    await third.claimed
    expect(second.losses).toEqual(['taken-over'])
    expect(third.isOpen).toBe(true)
    expect(pod.cluster.stats().owned).toBe(1)
  })

  it('waits for a pod that says nothing no longer than it must, and that one learns of it later', async () => {
    const [a, b] = two((await openClusterPods(2, { cluster: { leaseMs: 20_000, takeoverMs: 700 } })).pods)
    const first = claimAt(a, 'x')
    await first.claimed
    a.proxy.isolate()
    const startedAt = performance.now()
    const second = claimAt(b, 'x')
    await second.claimed
    expect(performance.now() - startedAt).toBeGreaterThan(600)
    expect(second.isOpen).toBe(true)
    a.proxy.thaw()
    await expect.poll(() => first.losses.length).toBe(1)
    expect(second.losses).toEqual([])
  })

  it('ends the connection of a client id wherever it is, and no later one', async () => {
    const [a, b] = two((await openClusterPods(2)).pods)
    expect(await b.cluster.kick('x')).toBe(false)
    const first = claimAt(a, 'x')
    await first.claimed
    expect(await b.cluster.kick('x')).toBe(true)
    await expect.poll(() => first.losses).toEqual(['kicked'])
    const second = claimAt(a, 'x')
    await second.claimed
    expect(await a.cluster.kick('x')).toBe(true)
    await expect.poll(() => second.losses).toEqual(['kicked'])
    await expect.poll(() => b.cluster.kick('x')).toBe(false)
  })

  it('leaves a session as it was when the CONNECT that wanted it is refused', async () => {
    const { redis, pods } = await openClusterPods(1)
    const LATER_MS = 4_000_000_000_000
    const request = { sessionId: 'x', clean: false, will: undefined, username: undefined, onLost() {} }
    const claim = (expirySeconds: number) =>
      pods[0]!.cluster.claim({ ...request, expirySeconds, maxSessions: 10, maxConnectionsPerUser: 0 })
    const end = { sentUpToSeq: 0, willDueAtMs: 0 }
    await (await claim(60)).release({ ...end, expiresAtMs: LATER_MS })
    await (await claim(7)).release({ ...end, expiresAtMs: LATER_MS + 1, isRefused: true })
    expect(await redis.command('HMGET', '{tunnelmq}:s:cx', 'expires', 'expiry')).toEqual([
      String(LATER_MS),
      '60',
    ])
  })

  it('puts the will of the new connection in place when the former owner has published its own', async () => {
    const { redis, pods } = await openClusterPods(2)
    const [a, b] = two(pods)
    const old = willOf('x', 'old')
    const claimed = await a.cluster.claim({
      sessionId: 'x',
      clean: true,
      will: old,
      username: undefined,
      maxSessions: 10,
      maxConnectionsPerUser: 0,
      onLost() {
        void publish(a.store, { message: old.message, willOf: 'x' }).then(async ({ duplicate }) => {
          expect(duplicate).toBe(false)
          await claimed.release({ expiresAtMs: 0, sentUpToSeq: 0, willDueAtMs: 0 })
        })
      },
    })
    const second = claimAt(b, 'x', { will: willOf('x', 'new') })
    await second.claimed
    const will = await redis.command('HGET', '{tunnelmq}:wills', 'x')
    expect(String(will)).toMatch(/^2:/)
    expect(String(will)).toContain('new')
    await second.release()
    expect(await redis.command('HLEN', '{tunnelmq}:wills')).toBe(0)
  })

  it('keeps a stored session when it goes from pod to pod', async () => {
    const [a, b] = two((await openClusterPods(2)).pods)
    const first = claimAt(a, 'x', { clean: false })
    const made = await first.claimed
    expect(made?.present).toBe(false)
    const stored = made?.stored
    expect(stored).toBeDefined()
    if (stored === undefined) return
    await a.store.putSubscriptions(stored, [{ filter: 'f', matchFilter: 'f', qos: 1 }])
    await publish(a.store, { message: message('f', '1'), targets: [{ session: stored, qos: 1 }] })
    const second = claimAt(b, 'x', { clean: false })
    const found = await second.claimed
    expect(found?.present).toBe(true)
    expect(found?.stored?.queuedCount).toBe(1)
    expect(first.losses).toEqual(['taken-over'])
    await expect(
      a.store.putSubscriptions(stored, [{ filter: 'g', matchFilter: 'g', qos: 1 }]),
    ).rejects.toThrow('claim')
  })

  it('claims what is connected again when Redis was restarted empty', async () => {
    const { redis, pods } = await openClusterPods(2)
    const [a, b] = two(pods)
    const first = claimAt(a, 'x')
    await first.claimed
    await redis.flush()
    for (const pod of pods)
      await expect.poll(() => pod.told.filter((text) => text === 'emptied').length).toBe(1)
    for (const pod of pods) await expect.poll(() => failureOf(pod)).toBe(undefined)
    expect(first.losses).toEqual([])
    expect(String(await redis.command('HGET', '{tunnelmq}:owner', 'x'))).toBe(`1:${a.link.pod}`)
    const second = claimAt(b, 'x')
    await second.claimed
    expect(first.losses).toEqual(['taken-over'])
  })

  it('is not lost to a late write of the connection before at the same pod', async () => {
    const { pods } = await openClusterPods(1)
    const [pod] = pods as [ClusterPod]
    const first = claimAt(pod, 'x', { clean: false })
    const stored = (await first.claimed)?.stored
    if (stored === undefined) throw new Error('not stored')
    const second = claimAt(pod, 'x', { clean: false })
    // In one batch with the claim, and with the number of the first.
    const late = pod.store.putSubscriptions(stored, [{ filter: 'f', matchFilter: 'f', qos: 1 }])
    await expect(late).rejects.toThrow('claim')
    await second.claimed
    expect(first.losses).toHaveLength(1)
    await pod.store.putSubscriptions(stored, [{ filter: 'g', matchFilter: 'g', qos: 1 }])
    expect(second.losses).toEqual([])
    expect(pod.cluster.stats()).toMatchObject({ owned: 1, fencedWrites: 1 })
  })

  it.each([
    ['another has it', 'publishes', [2], 'taken-over'],
    ['another has it', 'reads', [], 'taken-over'],
    ['another has it', 'receives', 'TMQ_STOPPED', 'taken-over'],
    ['nobody has it', 'receives', 'TMQ_STOPPED', 'fenced'],
  ] as const)('learns that %s before it delivers what it %s', async (who, does, result, loss) => {
    const { redis, pods } = await openClusterPods(2)
    const [a, b] = two(pods)
    const first = claimAt(a, 'x', { clean: false })
    const stored = (await first.claimed)?.stored
    if (stored === undefined) throw new Error('not stored')
    const targets = [{ session: stored, qos: 1 }] as const
    await publish(a.store, { message: message('f', '1'), targets })
    if (who === 'nobody has it') await redis.command('HDEL', '{tunnelmq}:owner', 'x')
    else await redis.command('HSET', '{tunnelmq}:owner', 'x', `99:${b.link.pod}`)
    const incoming = { session: stored, messageId: 1 }
    const done = {
      publishes: async () => (await publish(a.store, { message: message('f', '2'), targets })).seqs,
      reads: () => a.store.readQueue(stored, 0, 10, 10_000),
      receives: () =>
        publish(a.store, { message: message('f', '2'), incoming }).catch(({ code }: TunnelMQError) => code),
    }
    expect(await done[does]()).toEqual(result)
    expect(first.losses).toEqual([loss])
    expect(first.isOpen).toBe(false)
  })

  it('leaves one survivor when Redis has lost everything, and gives numbers that it has given before', async () => {
    const { redis, pods } = await openClusterPods(2)
    const [a, b] = two(pods)
    for (let index = 0; index < 5; index++) await claimAt(a, `other${index}`).claimed
    const first = claimAt(a, 'x')
    await first.claimed
    a.proxy.isolate()
    await redis.flush()
    await expect.poll(() => b.told).toContain('emptied')
    await expect.poll(() => failureOf(b)).toBe(undefined)
    const second = claimAt(b, 'x')
    await second.claimed
    expect(second.isOpen).toBe(true)
    a.proxy.thaw()
    await expect.poll(() => second.losses).toEqual(['taken-over'])
    await expect.poll(() => failureOf(a)).toBe(undefined)
    expect([first.isOpen, second.isOpen]).toEqual([true, false])
  })

  it('leaves one survivor when they come while the links are cut again and again', async () => {
    const { redis, pods } = await openClusterPods(2, { cluster: { leaseMs: 20_000, takeoverMs: 1_000 } })
    const [a, b] = two(pods)
    for (let round = 0; round < 15; round++) {
      const cut = round % 2 === 0 ? a : b
      const tenants = [claimAt(a, 'x')]
      if (round % 3 === 0) await tenants[0]?.claimed
      cut.proxy.cut()
      tenants.push(claimAt(b, 'x'), claimAt(a, 'x'))
      await Promise.all(tenants.map(({ claimed }) => claimed))
      for (const pod of pods) await expect.poll(() => failureOf(pod)).toBe(undefined)
      const last = claimAt(round % 4 < 2 ? a : b, 'x')
      await last.claimed
      expect(last.isOpen).toBe(true)
      await expect.poll(() => [...tenants, last].filter(({ isOpen }) => isOpen).length).toBe(1)
      expect(await redis.command('HEXISTS', '{tunnelmq}:owner', 'x')).toBe(1)
    }
  })
})
