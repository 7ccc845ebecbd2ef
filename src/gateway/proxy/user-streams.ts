import { tally } from '../../tally.ts'

/** Who has a stream: each connection of a proxy door is a client of its own, and only they say whose it is. */
export interface StreamUser {
  /** Undefined or empty, as of tokens: it is nobody's. */
  readonly username: string | undefined
  readonly address: string
}

/** Streams at once of each user of one listener; of each address, where there is no user name. */
export class UserStreams {
  readonly #maxCount: number
  readonly #counts = new Map<string, number>()

  constructor(maxCount: number) {
    this.#maxCount = maxCount
  }

  /** One more; its end is to be called once. Undefined: that would be one too many. */
  begin({ username = '', address }: StreamUser): (() => void) | undefined {
    const user = username === '' ? `address ${address}` : `user ${username}`
    if ((this.#counts.get(user) ?? 0) >= this.#maxCount) return undefined
    tally(this.#counts, user, 1)
    return () => tally(this.#counts, user, -1)
  }
}
