import type { IClientOptions } from 'mqtt'

type IdProvider = NonNullable<IClientOptions['messageIdProvider']>

/** Half of all packet identifiers: SUBSCRIBE is this far from the PUBLISH packets that go at the same time. */
const APART = 32_768

/**
 * Packet identifiers of a connection to the other broker: for a message, the one that it has in the queue here. That
 * is the same after a restart, so that a message at QoS 2 that the other broker already holds is known there when it
 * comes again, instead of being held for ever; and no new one is taken for it.
 */
export class PacketIds implements IdProvider {
  #next: number | undefined
  #last = 0
  #otherCount = 0

  /** For the message that is published within `publish`. */
  use(messageId: number, publish: () => void): void {
    this.#next = messageId
    publish()
    this.#next = undefined
  }

  allocate(): number {
    if (this.#next !== undefined) return (this.#last = this.#next)
    return ((this.#last + APART + this.#otherCount++) % 65_535) + 1
  }

  getLastAllocated(): number {
    return this.#last
  }

  // Which of them are in use, the queue here knows.
  register(): boolean {
    return true
  }

  deallocate(): void {}
  clear(): void {}
}
