import { tally } from '../../tally.ts'

/** One address has at most this part of all. */
const ADDRESS_SHARE = 8

/** So many requests at once, of which one address has at most an eighth. */
export class Places {
  readonly #maxCount: number
  readonly #byAddress = new Map<string, number>()
  #count = 0

  constructor(maxCount: number) {
    this.#maxCount = maxCount
  }

  get count(): number {
    return this.#count
  }

  /** Who has too many for there to be one more; undefined: there is room for this address. */
  fullFor(address: string): 'everybody' | 'address' | undefined {
    if (this.#count >= this.#maxCount) return 'everybody'
    const share = Math.ceil(this.#maxCount / ADDRESS_SHARE)
    return (this.#byAddress.get(address) ?? 0) < share ? undefined : 'address'
  }

  /** Has a place while it works. */
  async during<T>(address: string, work: () => Promise<T>): Promise<T> {
    this.#add(address, 1)
    try {
      return await work()
    } finally {
      this.#add(address, -1)
    }
  }

  #add(address: string, change: 1 | -1): void {
    this.#count += change
    tally(this.#byAddress, address, change)
  }
}
