import type { RedisLink } from '../store/redis/contract.ts'
import type { PodId } from './contract.ts'
import { decodeTexts } from './reply-texts.ts'

export interface OtherPods {
  /** In this order they have joined, or were found. */
  readonly ids: ReadonlySet<PodId>
  /** In the order in which they were added. */
  onGone(listener: (pod: PodId, how: 'stopped' | 'dead') => void): void
}

/** What a pod is called; nothing else among them is one, or is waited for. */
export function isPodId(name: string): boolean {
  return /^[0-9a-f]{16}$/.test(name)
}

/** Who else has joined and is not gone, at the position of the follower: other parts need it in that order. */
export function createOtherPods(link: RedisLink): OtherPods {
  const ids = new Set<PodId>()
  const listeners: ((pod: PodId, how: 'stopped' | 'dead') => void)[] = []

  const gone = (pod: PodId, how: 'stopped' | 'dead'): void => {
    if (ids.delete(pod)) for (const listener of listeners) listener(pod, how)
  }

  // What is not such news is counted by whoever tells the broker.
  link.follower.onLog('pod', ([, , pod, what]) => {
    if (typeof pod !== 'string' || !isPodId(pod)) return
    if (what === 'joined' && pod !== link.pod) ids.add(pod)
    else if (what === 'left' || what === 'dead') gone(pod, what === 'left' ? 'stopped' : 'dead')
  })
  link.onLoad(async () => {
    const found = new Set(decodeTexts(await link.command('HKEYS', link.key('pods'))).filter(isPodId))
    found.delete(link.pod)
    for (const pod of ids) if (!found.has(pod)) gone(pod, 'dead')
    for (const pod of found) ids.add(pod)
  })

  return { ids, onGone: (listener) => void listeners.push(listener) }
}
