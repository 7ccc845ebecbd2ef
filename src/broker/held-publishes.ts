import type { Cluster } from '../cluster/contract.ts'
import { ErrorCode, TunnelMQError } from '../errors.ts'

interface Held {
  readonly bytes: number
  /** Once. */
  go: ((error: Error | undefined) => void) | undefined
}

/**
 * Messages at QoS 1 and 2 that came while it was not certain that all subscriptions are known here. They go on in
 * their order when it is, or fail when it was not for too long.
 */
export class HeldPublishes {
  readonly #cluster: Pick<Cluster, 'isFresh' | 'onceFresh'>
  readonly #maxBytes: number
  #waiting: Held[] = []
  /** Of those that go on now, where we are. */
  #head = 0
  #bytes = 0

  /** `maxBytes`: of payload, from all publishers. */
  constructor(cluster: Pick<Cluster, 'isFresh' | 'onceFresh'>, maxBytes: number) {
    this.#cluster = cluster
    this.#maxBytes = maxBytes
  }

  /** Also behind others that wait: nobody overtakes. */
  get mustWait(): boolean {
    return !this.#cluster.isFresh || this.#waiting.length > 0
  }

  /** `go` is called once, and not within this call. */
  add(bytes: number, go: (error: Error | undefined) => void): void {
    if (this.#bytes + bytes > this.#maxBytes) {
      const text = `${this.#bytes} bytes wait for Redis (store.redis.maxPendingBytes)`
      setImmediate(go, new TunnelMQError(ErrorCode.storeUnavailable, text))
      return
    }
    const held: Held = { bytes, go }
    this.#waiting.push(held)
    this.#bytes += bytes
    this.#cluster.onceFresh((error) => {
      if (error === undefined) this.#goOn()
      else this.#fail(held, error)
    })
  }

  #goOn(): void {
    // Within a call of ours: an acknowledgement lets more be read, which is behind what waits.
    if (this.#head > 0) return
    while (this.#head < this.#waiting.length) {
      const held = this.#waiting[this.#head++]!
      this.#bytes -= held.bytes
      settle(held, undefined)
    }
    this.#waiting = []
    this.#head = 0
  }

  #fail(held: Held, error: Error): void {
    const place = this.#waiting.indexOf(held)
    if (place < 0) return
    this.#waiting.splice(place, 1)
    this.#bytes -= held.bytes
    settle(held, error)
  }
}

function settle(held: Held, error: Error | undefined): void {
  const { go } = held
  held.go = undefined
  go?.(error)
}
