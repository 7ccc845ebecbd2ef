import type { Refusal } from '../admin/api/resources.ts'
import type { Connection } from './connection.ts'
import { cutText } from './cut-text.ts'

/** What was refused, to whom; what is not known is undefined. Never credentials. */
export interface Refused {
  readonly point: Refusal['point']
  readonly client?: string | undefined
  readonly username?: string | undefined
  readonly address?: string | undefined
  readonly listener?: string | undefined
  readonly topic?: string | undefined
  /** Undefined: a limit, or the protocol. */
  readonly handler?: string | undefined
  readonly reason: string
}

interface Kept extends Refused {
  atMs: number
  times: number
}

/**
 * The last refusals of this pod, for people who ask why something does not work. Whoever is refused may come again at
 * once and for ever: equal ones in a row are one, and the oldest make room.
 */
export class Refusals {
  readonly #max: number
  readonly #now: () => number
  /** A ring, once it is full: `#next` is the oldest then. */
  readonly #kept: Kept[] = []
  #next = 0
  /** As it was given: what was cut is compared whole. */
  #last: { readonly refused: Refused; readonly kept: Kept } | undefined

  constructor(max: number, now: () => number = Date.now) {
    this.#max = max
    this.#now = now
  }

  note(refused: Refused): void {
    const last = this.#last
    if (last !== undefined && isSame(last.refused, refused)) {
      last.kept.times++
      last.kept.atMs = this.#now()
      return
    }
    const { point, client, username, address, listener, topic, handler, reason } = refused
    const kept: Kept = {
      point,
      client: client && cutText(client),
      username: username && cutText(username),
      address,
      listener,
      topic: topic && cutText(topic),
      handler,
      reason: cutText(reason),
      atMs: this.#now(),
      times: 1,
    }
    this.#last = { refused, kept }
    this.#kept[this.#next] = kept
    this.#next = (this.#next + 1) % this.#max
  }

  /** Newest first. */
  list(pod: string, limit: number): Refusal[] {
    const count = this.#kept.length
    const found: Refusal[] = []
    for (let back = 1; back <= Math.min(limit, count); back++) {
      const { point, client, username, address, listener, topic, handler, reason, atMs, times } =
        this.#kept[(this.#next - back + count) % count]!
      found.push({
        at: new Date(atMs).toISOString(),
        pod,
        point,
        client: client ?? null,
        username: username ?? null,
        address: address ?? null,
        listener: listener ?? null,
        topic: topic ?? null,
        handler: handler ?? null,
        reason,
        times,
      })
    }
    return found
  }
}

/** Who is refused, as far as its connection is known. */
export function whoOf(connection: Connection): Pick<Refused, 'client' | 'username' | 'address' | 'listener'> {
  const { session, transport } = connection
  const { address, listener } = transport.peer
  return { client: session?.id, username: session?.username, address, listener }
}

function isSame(a: Refused, b: Refused): boolean {
  return (
    a.topic === b.topic &&
    a.reason === b.reason &&
    a.client === b.client &&
    a.address === b.address &&
    a.point === b.point &&
    a.handler === b.handler &&
    a.username === b.username &&
    a.listener === b.listener
  )
}
