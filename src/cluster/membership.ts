import { TunnelMQError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { RedisLink } from '../store/redis/contract.ts'
import type { ClusterEvents, PodFigures, PodId, PodState } from './contract.ts'
import { decodeFigures, encodeFigures } from './figures.ts'
import { isPodId } from './other-pods.ts'

/** How often the figures of other pods are fetched; they are for totals that people read. */
const FIGURES_EVERY_MS = 2_000

export interface MembershipOptions {
  readonly link: RedisLink
  readonly leaseMs: number
  readonly log: Log
  /** Has been silent for too long. Called with each beat for as long as that holds. */
  readonly onSilent: (pod: PodId) => void
  readonly onGone: (pod: PodId) => void
}

/** Who else is there: the pods that beat in Redis, and what they say of themselves. */
export class Membership {
  readonly #link: RedisLink
  readonly #options: MembershipOptions
  /** Other pods → last beat. */
  readonly #beats = new Map<PodId, number>()
  readonly #figures = new Map<PodId, PodFigures>()
  #events: ClusterEvents | undefined
  #redisNowMs = 0
  #figuresAtMs = -Infinity
  #deadPods = 0
  #garbage = 0

  constructor(options: MembershipOptions) {
    this.#options = options
    this.#link = options.link
    this.#link.onLoad(() => this.#load())
    this.#link.follower.onLog('pod', ([, , pod, what]) => {
      if (typeof pod !== 'string') throw new TunnelMQError('TMQ_STORE', 'not news of a pod')
      if (what === 'joined') this.#joined(pod)
      else if (what === 'left' || what === 'dead') this.#gone(pod, what)
      else throw new TunnelMQError('TMQ_STORE', 'not news of a pod')
    })
    this.#link.onBeat((nowMs, beats) => this.#beat(nowMs, beats))
  }

  start(events: ClusterEvents, figures: () => PodFigures): void {
    this.#events = events
    this.#link.setInfo(() => encodeFigures(figures()))
    for (const pod of this.#others()) events.podJoined(pod)
  }

  pods(): readonly PodState[] {
    const self = this.#link.pod
    return [self, ...this.#others()].map((id) => ({
      id,
      isSelf: id === self,
      silentMs: Math.max(0, this.#redisNowMs - (this.#beats.get(id) ?? this.#redisNowMs)),
      figures: this.#figures.get(id),
    }))
  }

  stats(): { pods: number; deadPods: number; garbage: number } {
    return { pods: this.#others().length + 1, deadPods: this.#deadPods, garbage: this.#garbage }
  }

  /** All are compared with what was known: those that went while the log was not read are told as dead. */
  async #load(): Promise<void> {
    const reply = await this.#link.command('HKEYS', this.#link.key('pods'))
    const present = new Set(
      Array.isArray(reply) ? reply.filter((name) => Buffer.isBuffer(name)).map(String) : [],
    )
    for (const pod of this.#others()) if (!present.has(pod)) this.#gone(pod, 'dead')
    for (const pod of present) this.#joined(pod)
  }

  #joined(pod: PodId): void {
    if (pod === this.#link.pod || this.#beats.has(pod) || !isPodId(pod)) return
    this.#beats.set(pod, this.#redisNowMs)
    this.#events?.podJoined(pod)
  }

  #gone(pod: PodId, how: 'left' | 'dead'): void {
    if (!this.#beats.delete(pod)) return
    this.#figures.delete(pod)
    if (how === 'dead') this.#deadPods++
    this.#options.log.info({ pod, how }, 'pod is gone')
    this.#options.onGone(pod)
    this.#events?.podGone(pod, how === 'left' ? 'stopped' : 'dead')
  }

  #beat(nowMs: number, beats: ReadonlyMap<string, number>): void {
    this.#redisNowMs = nowMs
    for (const [pod, atMs] of beats) {
      // Who joins and who goes is told by the log, in its order with what they want.
      if (this.#beats.has(pod)) this.#beats.set(pod, atMs)
      if (pod !== this.#link.pod && nowMs - atMs > this.#options.leaseMs) this.#options.onSilent(pod)
    }
    // What somebody else has written in place of a beat is none.
    for (const pod of this.#beats.keys()) if (!beats.has(pod)) this.#options.onSilent(pod)
    if (nowMs - this.#figuresAtMs < FIGURES_EVERY_MS) return
    this.#figuresAtMs = nowMs
    void this.#loadFigures()
  }

  async #loadFigures(): Promise<void> {
    try {
      const reply = await this.#link.command('HGETALL', this.#link.key('podinfo'))
      if (!Array.isArray(reply)) return
      for (let at = 0; at + 1 < reply.length; at += 2) {
        const pod = String(reply[at])
        if (pod !== this.#link.pod && !this.#beats.has(pod)) continue
        const text = String(reply[at + 1])
        // It has joined, and has none yet.
        if (text === '{}') continue
        const figures = decodeFigures(text)
        if (figures === undefined) this.#garbage++
        else this.#figures.set(pod, figures)
      }
    } catch (error) {
      this.#options.log.debug({ err: error }, 'figures of pods not read')
    }
  }

  #others(): PodId[] {
    return [...this.#beats.keys()]
  }
}
