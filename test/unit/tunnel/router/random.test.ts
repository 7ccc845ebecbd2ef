import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Decision } from '../../../../src/hooks/decision.ts'
import { encodeFrame, type FrameType } from '../../../../src/tunnel/protocol/frame.ts'
import { frames } from '../../../support/tunnel-frames.ts'
import type { TunnelRouter } from '../../../../src/tunnel/router/router.ts'
import { PodEnd, PodsWorld } from './pods-world.ts'
import { allowed, createRouterWorld, type FakeEnd, refused, settle } from './world.ts'

const NAMES = ['pi7', 'pi8', 'laptop', 'phone'] as const
const USERS = ['ann', 'mallory', undefined] as const
const LIMITS = { maxStreams: 7, maxStreamsPerClient: 4, maxStreamsPerAgent: 5, maxPendingBytes: 4_096 }

const name = fc.constantFrom(...NAMES)
const topic = fc
  .tuple(name, fc.constantFrom('ssh', 'web'), name, fc.constantFrom('up', 'down'))
  .map(([agent, service, client, direction]) => `$tunnel/${agent}/${service}/${client}/${direction}`)
const id = fc.nat(3)
const place = fc.oneof(fc.nat(40), fc.constantFrom(65_536, 65_537, 1_048_576, 2 ** 48 - 1))
const legal = fc
  .record({ stream: id, offset: place, acked: place, limit: place, fin: fc.boolean() })
  .chain(({ stream, ...fields }) =>
    fc.constantFrom(
      frames.open(stream, { limit: fields.limit }),
      frames.open(stream, { token: 'ffeeddccbbaa9988' }),
      frames.accept(stream, fields.limit),
      frames.data(stream, fields.offset, 'x'.repeat(fields.acked % 40), fields),
      frames.data(stream, 0, '', { fin: true, limit: 99 }),
      frames.ack(stream, fields),
      frames.resume(stream, fields),
      frames.reset(stream, 7),
      frames.ping(stream, fields),
      frames.pong(stream, fields),
    ),
  )
const illegal = fc.oneof(
  fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
  fc
    .record({ type: fc.nat(9), flags: fc.nat(3), stream: id, payload: fc.uint8Array({ maxLength: 10 }) })
    .map(({ type, payload, ...header }) =>
      encodeFrame(
        { type: type as FrameType, ...header, offset: 0, acked: 0, limit: 0 },
        Buffer.from(payload),
      ),
    ),
)
const frame = fc.oneof({ weight: 9, arbitrary: legal }, { weight: 1, arbitrary: illegal })

interface Talk {
  readonly do: 'meet' | 'part'
  readonly agent: string
  readonly client: string
  readonly id: number
}
type Step =
  | { readonly do: 'send'; readonly name: string; readonly topic: string; readonly frame: Buffer }
  | {
      readonly do: 'own'
      readonly name: string
      readonly to: string
      readonly up: boolean
      readonly frame: Buffer
    }
  | {
      readonly do: 'come'
      readonly name: string
      readonly user: string | undefined
      readonly role: 0 | 1 | 2
    }
  | { readonly do: 'go' | 'unsubscribe' | 'revoke' | 'recheck' | 'answer'; readonly name: string }
  | Talk
  | { readonly do: 'slow'; readonly name: string; readonly bytes: number }
  | { readonly do: 'wait'; readonly ms: number }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({ do: fc.constantFrom('meet', 'meet', 'part'), agent: name, client: name, id }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('send' as const), name, topic, frame }) },
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant('own' as const), name, to: name, up: fc.boolean(), frame }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('come' as const),
      name,
      user: fc.constantFrom(...USERS),
      role: fc.constantFrom(0 as const, 1 as const, 2 as const),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom('go', 'unsubscribe', 'revoke', 'recheck', 'answer'),
      name,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('slow' as const), name, bytes: fc.constantFrom(0, 5_000, 9_000) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(50, 1_000, 15_000) }),
  },
)

/** One broker, or several. */
interface Scene {
  readonly routers: readonly TunnelRouter[]
  /** What was logged by one of them. */
  linesOf(router: TunnelRouter): readonly Record<string, unknown>[]
  routerOf(end: FakeEnd): TunnelRouter
  end(name: string, facts: { username: string | undefined }): FakeEnd
  advance(ms: number, stepMs: number): void
  /** What was said reaches everybody. */
  flow(): void
}

function oneBroker(config: object): Scene {
  const world = createRouterWorld({ ...LIMITS, resumeTimeoutMs: 20_000, ...config })
  const { router, lines, end, advance } = world
  return {
    routers: [router],
    linesOf: () => lines,
    routerOf: () => router,
    end,
    advance,
    flow: () => undefined,
  }
}

/** Connections come to each in turn; frames between them are lost now and then, and the log of one is late. */
function threePods(config: object): Scene {
  const pods = ['a', 'b', 'c']
  const world = new PodsWorld(pods, { ...LIMITS, resumeTimeoutMs: 20_000, ...config })
  let count = 0
  world.lose = () => count++ % 11 === 0
  return {
    routers: pods.map((pod) => world.router(pod)),
    linesOf: (router) => world.lines.filter(({ pod }) => world.router(String(pod)) === router),
    routerOf: (end) => world.router(end instanceof PodEnd ? end.pod : ''),
    end(who, facts) {
      world.lagging.clear()
      world.lagging.add(pods[(count >> 2) % 3]!)
      return world.end(pods[count++ % 3]!, who, facts)
    },
    advance(ms, stepMs) {
      world.lagging.clear()
      world.advance(ms, Math.min(stepMs, 1_000))
    },
    flow: () => world.flow(),
  }
}

/** Connections that come and go, whose handlers answer at once, late, or not until they are gone. */
class Crowd {
  readonly scene: Scene
  readonly all: FakeEnd[] = []
  readonly #live = new Map<string, FakeEnd>()
  readonly #waiting: { readonly name: string; readonly give: (decision: Decision) => void }[] = []
  #count = 0

  constructor(scene: Scene) {
    this.scene = scene
  }

  come(who: string, username: string | undefined, role: 0 | 1 | 2): void {
    this.#live.get(who)?.leave()
    const end = this.scene.end(who, { username })
    this.all.push(end)
    this.#live.set(who, end)
    end.answer = () => {
      const kind = this.#count++ % 5
      if (kind === 4) return refused
      if (kind < 2) return allowed
      return new Promise((resolve) => this.#waiting.push({ name: who, give: resolve }))
    }
    if (role !== 1) end.serve()
    if (role !== 0) end.listen()
  }

  /** What two ends say that know what they do. */
  #talk({ do: what, agent, client, id: stream }: Talk): void {
    const base = `$tunnel/${agent}/ssh/${client}`
    const up = (...all: Buffer[]): void => {
      const end = this.#live.get(client)
      if (end?.holdCount === 0) end.send(`${base}/up`, ...all)
    }
    const down = (...all: Buffer[]): void => {
      const end = this.#live.get(agent)
      if (end?.holdCount === 0) end.send(`${base}/down`, ...all)
    }
    if (what === 'meet') {
      up(frames.open(stream), frames.data(stream, 0, 'x'))
      down(frames.accept(stream))
      return
    }
    up(frames.data(stream, 0, 'x', { fin: true }))
    down(frames.data(stream, 0, '', { fin: true, acked: 2 }))
    up(frames.ack(stream, { offset: 2, acked: 1, fin: true }))
  }

  take(one: Step): void {
    if (one.do === 'wait') return this.scene.advance(one.ms, one.ms)
    if ('agent' in one) return this.#talk(one)
    if (one.do === 'come') return this.come(one.name, one.user, one.role)
    const end = this.#live.get(one.name)
    switch (one.do) {
      case 'answer':
        this.#waiting.shift()?.give(this.#count++ % 3 === 0 ? refused : allowed)
        return
      case 'go':
      case 'revoke':
        end?.leave(one.do === 'go' ? 'lost' : 'revoked')
        return void this.#live.delete(one.name)
      case 'unsubscribe':
        if (end !== undefined) this.scene.routerOf(end).detach(end, 'serve')
        return
      case 'recheck':
        if (end !== undefined) void this.scene.routerOf(end).recheck(end)
        return
      case 'slow':
        if (end !== undefined) end.pendingBytes = one.bytes
        return
      case 'send':
        // What waits for an answer is not read from the connection.
        if (end?.holdCount === 0) end.send(one.topic, one.frame)
        return
      case 'own': {
        const [agent, client] = one.up ? [one.to, one.name] : [one.name, one.to]
        const own = `$tunnel/${agent}/ssh/${client}/${one.up ? 'up' : 'down'}`
        if (end?.holdCount === 0) end.send(own, one.frame)
        return
      }
      default:
        return one satisfies never
    }
  }

  async finish(): Promise<void> {
    for (const { give } of this.#waiting) give(refused)
    await settle()
    for (const { give } of this.#waiting) give(refused)
    await settle()
    for (const end of this.#live.values()) end.leave()
    this.scene.advance(125_000, 5_000)
  }
}

describe('whatever comes, in whatever order', () => {
  it.each([
    ['', oneBroker, {}, 500],
    [', with rates', oneBroker, { bytesPerSecondPerStream: 1_000, bytesPerSecondPerAgent: 1_500 }, 500],
    [', with limits of time', oneBroker, { idleTimeoutMs: 8_000, maxDurationMs: 14_000 }, 500],
    [', at three pods', threePods, {}, 200],
    [', at three pods, with rates', threePods, { bytesPerSecondPerStream: 1_000 }, 200],
  ])(
    'never throws, keeps to its limits, and leaves nothing behind%s',
    async (_title, open, config, numRuns) => {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 200 }), async (steps) => {
          const crowd = new Crowd(open(config))
          const { routers } = crowd.scene
          for (const who of NAMES) crowd.come(who, 'ann', 2)
          for (const one of steps) {
            crowd.take(one)
            crowd.scene.flow()
            if (one.do === 'answer') await settle()
            for (const { streamCount } of routers) expect(streamCount).toBeLessThanOrEqual(LIMITS.maxStreams)
          }
          await crowd.finish()
          expect(crowd.all.map(({ holdCount }) => holdCount)).toEqual(crowd.all.map(() => 0))
          for (const router of routers) {
            expect(router.held()).toEqual({
              seats: 0,
              lanes: 0,
              streams: 0,
              ended: 0,
              shaped: 0,
              expected: 0,
            })
            const { opened, ended } = router.counters
            const endedCount = Object.values(ended).reduce((sum, count) => sum + count, 0)
            const resumed = crowd.scene.linesOf(router).filter(({ msg }) => msg === 'stream resumed').length
            expect(endedCount).toBe(opened + resumed)
          }
        }),
        { numRuns },
      )
    },
  )
})
