import type { PodId } from '../cluster/contract.ts'
import type { PublishTarget } from '../store/contract.ts'
import type { ClientSession } from './client-session.ts'
import type { Message } from './message.ts'
import type { ShareGroup } from './share-group.ts'

/**
 * When those get a message who have no stored queue. `at-once`. `when-new`: when the write says that it was not
 * there before. `here`: at once, and nobody else gets it. `each-pod`: the same, of what every pod tells its own.
 */
export type When = 'at-once' | 'when-new' | 'here' | 'each-pod'

/** Those who do not get a message at once: because it has to be stored for them first, or because they are elsewhere. */
export class Receivers {
  readonly when: When
  targets: PublishTarget[] | undefined
  /** Other pods with connected sessions to which it matches. */
  pods: PodId[] | undefined
  #receivers: (ClientSession | ShareGroup)[] | undefined
  #later: (() => void)[] | undefined

  constructor(when: When) {
    this.when = when
  }

  add(target: PublishTarget, receiver: ClientSession | ShareGroup): void {
    if (this.targets === undefined) {
      this.targets = [target]
      this.#receivers = [receiver]
    } else {
      this.targets.push(target)
      this.#receivers!.push(receiver)
    }
  }

  /** Nobody gets it from a stored queue, or at another pod. */
  get isLocal(): boolean {
    return this.when === 'here' || this.when === 'each-pod'
  }

  /** Several filters of one pod may match. */
  addPod(pod: PodId): void {
    if (this.isLocal) return
    if (this.pods === undefined) this.pods = [pod]
    else if (!this.pods.includes(pod)) this.pods.push(pod)
  }

  later(deliver: () => void): void {
    if (this.#later === undefined) this.#later = [deliver]
    else this.#later.push(deliver)
  }

  /** It has not been delivered before. */
  isNew(): void {
    if (this.#later === undefined) return
    for (const deliver of this.#later) deliver()
  }

  /** The write has succeeded, with these sequence numbers. */
  stored(seqs: readonly number[], message: Message): void {
    const targets = this.targets
    if (targets === undefined) return
    for (let i = 0; i < targets.length; i++) {
      const seq = seqs[i]!
      if (seq === 0) continue
      const receiver = this.#receivers![i]!
      if ('outbox' in receiver) receiver.outbox.stored(seq, message, targets[i]!.qos)
      else receiver.committed(seq, message)
    }
  }
}
