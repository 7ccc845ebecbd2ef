import type { Ban, BanRequest } from '../../admin/api/resources.ts'
import type { Cluster } from '../../cluster/contract.ts'
import type { Admission } from '../../listeners/admission.ts'
import { canonicalAddress } from '../../listeners/cidr.ts'
import { timeOf } from './client-facts.ts'

/** Bans of addresses; of a broker among several they are those of all. */
export class Addresses {
  readonly #admission: Admission
  readonly #cluster: Cluster

  constructor(admission: Admission, cluster: Cluster) {
    this.#admission = admission
    this.#cluster = cluster
  }

  list(): Ban[] {
    // Admission reads a clock that nobody sets.
    const offsetMs = Date.now() - performance.now()
    const pod = this.#cluster.isShared ? null : this.#cluster.pod
    return this.#admission.bans().map(({ address, untilMs }) => ({
      address,
      until: timeOf(offsetMs + untilMs)!,
      pod,
    }))
  }

  /** Of connections to come: those that are there stay. One that lasts longer already is given as it is. */
  ban({ address: written, seconds }: BanRequest): Ban {
    const address = canonicalAddress(written)
    const forMs = seconds * 1_000
    this.#admission.ban(address, forMs)
    this.#cluster.ban(address, Date.now() + forMs)
    return this.list().find((ban) => ban.address === address)!
  }

  async unban(written: string): Promise<boolean> {
    const address = canonicalAddress(written)
    const isShared = await this.#cluster.unban(address)
    return this.#admission.unban(address) || isShared
  }
}
