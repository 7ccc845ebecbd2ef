import { expect } from 'vitest'
import { LoadClient } from '../support/load-client.ts'
import type { Pods } from '../support/pods.ts'
import { eventually, missing, repeated, texts } from './ledger.ts'

/** At each pod a publisher, and a subscriber with a stored session: messages of all to all. */
export class Mesh {
  readonly publishers: LoadClient[] = []
  readonly subscribers: LoadClient[] = []
  readonly #pods: Pods
  #number = 0

  constructor(pods: Pods) {
    this.#pods = pods
  }

  async open(): Promise<void> {
    for (const [index, port] of this.#pods.ports.entries()) {
      const publisher = new LoadClient({ port, clientId: `publisher-${index}` })
      const subscriber = new LoadClient({ port, clientId: `subscriber-${index}`, clean: false })
      await Promise.all([publisher.connect(), subscriber.connect()])
      await subscriber.subscribe(['mesh/#', 2])
      this.publishers.push(publisher)
      this.subscribers.push(subscriber)
    }
  }

  /** A message at QoS 1 and one at QoS 2 from each of these pods, which every one of them gets; resolves to the ms. */
  async exchange(pods: readonly number[]): Promise<number> {
    const startedAt = performance.now()
    const round = this.#number++
    const due = pods.flatMap((pod) => [`least-${pod} ${round}`, `exact-${pod} ${round}`])
    const sent = pods.flatMap((pod) =>
      ([1, 2] as const).map((qos) =>
        this.publishers[pod]!.publish({
          topic: 'mesh/a',
          payload: `${qos === 1 ? 'least' : 'exact'}-${pod} ${round}`,
          qos,
        }),
      ),
    )
    await Promise.all(sent)
    await eventually(() =>
      pods.every((pod) => missing(due, texts(this.subscribers[pod]!.received)).length === 0),
    )
    return performance.now() - startedAt
  }

  /** QoS 0 from the first pod to the last, again and again until one comes; resolves to the ms. */
  async trickle(): Promise<number> {
    const startedAt = performance.now()
    const payload = `volatile ${this.#number++}`
    await eventually(async () => {
      await this.publishers[0]!.publish({ topic: 'mesh/0', payload, qos: 0 })
      return texts(this.subscribers.at(-1)!.received).includes(payload)
    })
    return performance.now() - startedAt
  }

  /** All that was acknowledged has come everywhere, and nothing of QoS 2 twice. Returns how much that is. */
  check(): number {
    const acknowledged = this.publishers.flatMap((publisher) => [...publisher.acknowledged])
    for (const { received } of this.subscribers) {
      expect(missing(acknowledged, texts(received))).toEqual([])
      expect(repeated(received.filter(({ qos }) => qos === 2))).toEqual([])
    }
    return acknowledged.length
  }
}
