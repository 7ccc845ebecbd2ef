import type { RedisLink } from './contract.ts'
import type { Replica } from './replica.ts'
import { listIn, numberIn, textIn } from './reply.ts'
import type { Requests } from './requests.ts'
import type { RedisSession } from './session.ts'

/** What one op looks at. */
const PORTION = 100
/** Payload bytes that one op looks at, about. */
const PORTION_BYTES = 1024 * 1024
/** Queues that one sweep looks at. */
const MAX_QUEUES = 1_000

/** Ends what has an end: retained messages, sessions of clients that stayed away, and entries of their queues. */
export class Sweep {
  expiredSessions = 0
  readonly #link: RedisLink
  readonly #requests: Requests
  readonly #replica: Replica
  /** Queues that the next sweep begins after: those of connected sessions stay where they are. */
  #skipped = 0

  constructor(link: RedisLink, requests: Requests, replica: Replica) {
    this.#link = link
    this.#requests = requests
    this.#replica = replica
  }

  async sweep(nowMs: number): Promise<void> {
    await this.#retained(nowMs)
    await this.#sessions(nowMs)
    await this.#queues(nowMs)
  }

  async #retained(nowMs: number): Promise<void> {
    for (;;) {
      const [looked, position] = await this.#ask('expire-retained', nowMs, PORTION)
      if (numberIn(looked) > 0) await this.#requests.applied(position)
      if (numberIn(looked) < PORTION) return
    }
  }

  async #sessions(nowMs: number): Promise<void> {
    for (;;) {
      const [looked, ended, position] = await this.#ask('expire-sessions', nowMs, PORTION)
      this.expiredSessions += numberIn(ended)
      if (numberIn(ended) > 0) await this.#requests.applied(position)
      if (numberIn(looked) < PORTION) return
    }
  }

  async #queues(nowMs: number): Promise<void> {
    const key = this.#link.key('qexpiry')
    const range = [key, '-inf', nowMs, 'LIMIT', this.#skipped, MAX_QUEUES] as const
    const kids = listIn(await this.#link.command('ZRANGEBYSCORE', ...range)).map(textIn)
    for (const kid of kids) if (!(await this.#queue(kid, nowMs))) this.#skipped++
    if (kids.length < MAX_QUEUES) this.#skipped = 0
  }

  /** False: somebody is connected, who lets go of what has expired. */
  async #queue(kid: string, nowMs: number): Promise<boolean> {
    const session = this.#replica.byKid(kid)
    if (session === undefined) return this.#queueOf(kid, undefined, nowMs)
    if (session.claim > 0 || session.readsUnderWay > 0 || session.sweeping !== undefined) return false
    let isFree = true
    session.sweeping = this.#queueOf(kid, session, nowMs).then((answer) => {
      isFree = answer
    })
    try {
      await session.sweeping
    } finally {
      session.sweeping = undefined
    }
    return isFree
  }

  async #queueOf(kid: string, session: RedisSession | undefined, nowMs: number): Promise<boolean> {
    const average = session === undefined ? 0 : session.queuedBytes / Math.max(1, session.queuedCount)
    const portion = Math.max(1, Math.min(PORTION, Math.floor(PORTION_BYTES / Math.max(1, average))))
    let earliest = '0'
    for (let from = Math.max(session?.readUpToSeq ?? 0, session?.sentUpToSeq ?? 0); ;) {
      const reply = await this.#ask('expire-entries', kid, nowMs, from, portion, earliest)
      from = numberIn(reply[0])
      if (from < 0) return false
      if (session !== undefined) this.#replica.index.dequeue(session, numberIn(reply[1]), numberIn(reply[2]))
      if (from === 0) return true
      earliest = textIn(reply[3])
    }
  }

  #ask(name: string, ...args: (string | number)[]): ReturnType<Requests['ask']> {
    return this.#requests.ask(name, args, { patience: 'now', frees: true })
  }
}
