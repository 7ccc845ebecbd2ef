import type { ClusterConfig } from '../config/cluster-schema.ts'
import type { RedisLink } from '../store/redis/contract.ts'
import type { PodId } from './contract.ts'
import type { OtherPods } from './other-pods.ts'

const CHANNEL = 'applied'
/** Pod, epoch of the data, position. */
const HINT = /^([0-9a-f]{16}) (\S{1,64}) (\d{1,15})$/

export interface AppliedOptions {
  readonly link: RedisLink
  readonly beatMs: ClusterConfig['beatMs']
  readonly others: OtherPods
  /** Another pod has said something new. */
  readonly onHint: () => void
  readonly garbage: () => void
}

/**
 * Pods tell each other up to where they have applied the log. By pub/sub: a hint that is lost delays, and is said
 * again with the next beat.
 */
export interface Applied {
  /** -1: nothing is known. */
  by(pod: PodId): number
  start(): void
  close(): void
}

export function createApplied({ link, beatMs, others, onHint, garbage }: AppliedOptions): Applied {
  const { follower } = link
  const positions = new Map<PodId, number>()
  /** Of the data whose positions are meant. */
  let epoch = ''
  let saying: NodeJS.Immediate | undefined
  let timer: NodeJS.Timeout | undefined

  const say = (): void => {
    saying = undefined
    // After a failover the position may be one of a log that is lost: it is said when all is loaded again.
    if (epoch === '' || others.ids.size === 0 || link.failure !== undefined) return
    // What is not sent is said again.
    link.prompt.publish(CHANNEL, Buffer.from(`${link.pod} ${epoch} ${follower.position}`))
  }
  const saySoon = (): void => {
    saying ??= setImmediate(say)
  }

  link.prompt.subscribe(CHANNEL, (message) => {
    const [, pod, ofEpoch, position] = HINT.exec(message.toString('latin1')) ?? []
    if (pod === undefined) return garbage()
    if (pod === link.pod || ofEpoch !== epoch || !others.ids.has(pod)) return
    positions.set(pod, Number(position))
    onHint()
  })
  others.onGone((pod) => positions.delete(pod))
  // The entries of one pod are told, too: others wait for positions, whoever wrote what is there.
  follower.onProgress(saySoon)
  link.onLoad(async () => {
    epoch = String(await link.command('GET', link.key('epoch')))
    positions.clear()
  })
  link.onReloaded(saySoon)

  return {
    by: (pod) => positions.get(pod) ?? -1,
    start() {
      timer = setInterval(say, beatMs).unref()
      saySoon()
    },
    close() {
      clearInterval(timer)
      if (saying !== undefined) clearImmediate(saying)
    },
  }
}
