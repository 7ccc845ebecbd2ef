import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type RedisServer, startRedis } from '../../support/redis-server.ts'
import { startRoutingPod, type RoutingPod } from '../../support/routing-pods.ts'

let redis: RedisServer
beforeAll(async () => {
  redis = await startRedis()
})
afterAll(() => redis.remove())
beforeEach(() => redis.flush())

async function durationOf(promise: Promise<void>): Promise<number> {
  const beganMs = performance.now()
  await promise
  return performance.now() - beganMs
}

/** A pod that stops applying the log at the next entry of this kind, for as long as it is held. */
async function holdablePod(kind: string): Promise<RoutingPod & { hold: () => void; release: () => void }> {
  let held: Promise<void> | undefined
  let release = (): void => undefined
  const pod = await startRoutingPod(redis, {
    before: (link) => link.follower.onLog(kind, () => held),
  })
  return {
    ...pod,
    hold() {
      held = new Promise((resolve) => (release = resolve))
    },
    release() {
      held = undefined
      release()
    },
  }
}

describe('settled', () => {
  it('resolves alone, and with others as soon as they have applied what was wanted', async () => {
    const a = await startRoutingPod(redis)
    a.routing.want('alone')
    expect(await durationOf(a.routing.settled())).toBeLessThan(5_000)
    const b = await startRoutingPod(redis)
    const c = await startRoutingPod(redis)
    for (let index = 0; index < 50; index++) {
      a.routing.want(`f/${index}`)
      await a.routing.settled()
      expect(b.told.wants).toContain(`${a.link.pod} f/${index}`)
      expect(c.told.wants).toContain(`${a.link.pod} f/${index}`)
    }
    expect(a.routing.stats().lateSettles).toBe(0)
  })

  it('answers thousands that ask at once, with few questions to Redis', async () => {
    const [a] = await Promise.all([startRoutingPod(redis), startRoutingPod(redis)])
    a.routing.want('x')
    await a.routing.settled()
    const before = a.link.writer.commits
    const asked = Array.from({ length: 5_000 }, () => a.routing.settled())
    await Promise.all(asked)
    expect(a.link.writer.commits - before).toBeLessThan(5)
    expect(a.routing.stats().lateSettles).toBe(0)
  })

  it('waits for a pod that has not applied it, until that pod cannot be fresh any more', async () => {
    const a = await startRoutingPod(redis)
    const b = await holdablePod('want')
    a.routing.want('before')
    await a.routing.settled()
    b.hold()
    a.routing.want('x')
    let wasFreshAfterwards: boolean | undefined
    const ms = await durationOf(a.routing.settled().then(() => void (wasFreshAfterwards = b.routing.isFresh)))
    expect(ms).toBeGreaterThan(900)
    expect(b.link.follower.position).toBeLessThan(a.link.follower.position)
    expect(wasFreshAfterwards).toBe(false)
    expect(a.routing.stats().lateSettles).toBe(1)
    b.release()
    await expect.poll(() => b.routing.isFresh).toBe(true)
    expect(b.told.wants).toContain(`${a.link.pod} x`)
    a.routing.want('y')
    await a.routing.settled()
    expect(a.routing.stats().lateSettles).toBe(1)
  })

  it('resolves as soon as the pod that was waited for has applied it', async () => {
    const a = await startRoutingPod(redis)
    const b = await holdablePod('want')
    await expect.poll(() => b.routing.isFresh).toBe(true)
    b.hold()
    a.routing.want('x')
    const settled = a.routing.settled()
    await expect.poll(() => a.link.follower.position).toBe(3)
    b.release()
    await settled
    expect(b.told.wants).toContain(`${a.link.pod} x`)
    expect(a.routing.stats().lateSettles).toBe(0)
  })

  it('has here what was stored anywhere before', async () => {
    const [a, b] = await Promise.all([startRoutingPod(redis), startRoutingPod(redis)])
    for (let index = 0; index < 20; index++) {
      a.routing.want(`f/${index}`)
      a.routing.joinGroup(`g/${index}`, 'x')
      await expect
        .poll(() => redis.command('SISMEMBER', `{tunnelmq}:wants:${a.link.pod}`, `f/${index}`))
        .toBe(1)
      await b.routing.settled()
      expect(b.told.wants).toContain(`${a.link.pod} f/${index}`)
      expect(b.told.groups).toContain(`${a.link.pod} g/${index} x`)
    }
  })

  it('is late, and not wrong, while pub/sub connections are killed', async () => {
    const [a, b] = await Promise.all([startRoutingPod(redis), startRoutingPod(redis)])
    for (let index = 0; index < 10; index++) {
      a.routing.want(`f/${index}`)
      const settled = a.routing.settled()
      await redis.command('CLIENT', 'KILL', 'TYPE', 'pubsub')
      expect(await durationOf(settled)).toBeLessThan(8_000)
      expect(b.told.wants).toContain(`${a.link.pod} f/${index}`)
    }
    const message = { topic: 't', payload: Buffer.from('x'), qos: 0, retain: false, publisher: '' } as const
    await expect
      .poll(() => {
        a.routing.send([b.link.pod], { ...message, publishedAtMs: 1, expiresAtMs: 0 })
        return b.told.messages.length
      })
      .toBeGreaterThan(0)
  })

  it('is not given while Redis is frozen: nobody is fresh, and who asks is told in time', async () => {
    const [a, b] = await Promise.all([
      startRoutingPod(redis, { redis: { holdMs: 2_000 } }),
      startRoutingPod(redis, { redis: { holdMs: 500 } }),
    ])
    await expect.poll(() => a.routing.isFresh && b.routing.isFresh).toBe(true)
    redis.freeze()
    a.routing.want('x')
    const beganMs = performance.now()
    await expect(a.routing.settled()).rejects.toMatchObject({ code: 'TMQ_STORE_UNAVAILABLE' })
    expect(performance.now() - beganMs).toBeLessThan(10_000)
    expect([a.routing.isFresh, b.routing.isFresh]).toEqual([false, false])
    const held = new Promise<Error | undefined>((resolve) => b.routing.onceFresh(resolve))
    expect(await held).toMatchObject({ code: 'TMQ_STORE_UNAVAILABLE' })
    const again = new Promise<Error | undefined>((resolve) => a.routing.onceFresh(resolve))
    redis.thaw()
    expect(await again).toBeUndefined()
    await expect.poll(() => a.routing.settled().then(() => [...b.told.wants])).toEqual([`${a.link.pod} x`])
  })

  it('does not wait for a pod that has left', async () => {
    const a = await startRoutingPod(redis)
    const b = await holdablePod('want')
    a.routing.want('x')
    await a.routing.settled()
    b.hold()
    a.routing.want('y')
    const settled = a.routing.settled()
    await expect.poll(() => redis.command('SCARD', `{tunnelmq}:wants:${a.link.pod}`)).toBe(2)
    b.release()
    await b.link.close()
    await settled
    a.routing.want('z')
    await a.routing.settled()
    expect(a.routing.stats().lateSettles).toBe(0)
  })

  it('waits for a pod that was declared dead and may not know it, for as long as that can be fresh', async () => {
    const a = await startRoutingPod(redis)
    const b = await holdablePod('want')
    a.routing.want('x')
    await a.routing.settled()
    b.hold()
    const position = await redis.command('INCR', '{tunnelmq}:logpos')
    const dead = JSON.stringify(['pod', a.link.pod, b.link.pod, 'dead'])
    await redis.command('XADD', '{tunnelmq}:log', `${String(position)}-0`, 'e', dead)
    a.routing.want('y')
    let wasFreshAfterwards: boolean | undefined
    await a.routing.settled().then(() => void (wasFreshAfterwards = b.routing.isFresh))
    expect(wasFreshAfterwards).toBe(false)
    expect(a.told.wants.size).toBe(0)
    a.routing.want('z')
    await a.routing.settled()
    expect(a.routing.stats().lateSettles).toBe(1)
    b.release()
  })
})
