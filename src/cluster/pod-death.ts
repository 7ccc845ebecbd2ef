import type { Log } from '../log.ts'
import type { RedisLink } from '../store/redis/contract.ts'
import type { PodId } from './contract.ts'
import { submitted } from './submitted.ts'

/** Claims, or groups, of a dead pod that one run of a script ends: a few ms of Redis' time. */
const PORTION = 500

export interface PodDeathOptions {
  readonly link: RedisLink
  readonly leaseMs: number
  /** Of sessions that have none of their own, ms; 0: never. */
  readonly sessionExpiryMs: number
  readonly log: Log
  /** Wills of a dead pod are due. */
  readonly onWillsDue: () => void
}

/**
 * Ends pods that do not live any more, in two steps: `dead` says so, in one script with the proof that it is true;
 * `bury` then ends what they owned, in portions. Any pod may do either, also several at once, and a burial that
 * is left half done is found in the set `dying` by the others.
 */
export class PodDeath {
  readonly #options: PodDeathOptions
  readonly #underWay = new Set<PodId>()

  constructor(options: PodDeathOptions) {
    this.#options = options
  }

  /** Has been silent for longer than its lease, by Redis' time. The script decides. */
  suspect(pod: PodId): void {
    this.#once(pod, async () => {
      const { link, leaseMs, log } = this.#options
      const reply = await submitted(link.writer, 'dead', [pod, leaseMs], { patience: 'now', frees: true })
      if (reply !== 1) return
      log.warn({ deadPod: pod }, 'pod declared dead')
      await this.#bury(pod)
    })
  }

  /** Takes up what others have left: those that died in a burial, and pods that left in a hurry. */
  async tick(): Promise<void> {
    const { link, log } = this.#options
    try {
      const dying = await link.command('SMEMBERS', link.key('dying'))
      if (!Array.isArray(dying)) return
      for (const pod of dying)
        if (Buffer.isBuffer(pod)) this.#once(pod.toString(), () => this.#bury(pod.toString()))
    } catch (error) {
      log.debug({ err: error }, 'dying pods not read')
    }
  }

  async #bury(pod: PodId): Promise<void> {
    const { link, sessionExpiryMs, onWillsDue } = this.#options
    const args = [pod, sessionExpiryMs, PORTION]
    let more: unknown = 1
    while (more === 1) {
      more = await submitted(link.writer, 'bury', args, { patience: 'now', frees: true })
      onWillsDue()
    }
  }

  #once(pod: PodId, task: () => Promise<void>): void {
    if (this.#underWay.has(pod)) return
    this.#underWay.add(pod)
    task()
      .catch((error: unknown) => this.#options.log.debug({ err: error, deadPod: pod }, 'burial not finished'))
      .finally(() => this.#underWay.delete(pod))
  }
}
