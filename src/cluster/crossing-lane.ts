import type { Lane, RedisLink } from '../store/redis/contract.ts'
import { createBlobWriter, type BlobCounts, type BlobWriter } from './blob-writer.ts'
import type { PodId } from './contract.ts'
import { createArrivals, type ArrivalsOptions } from './crossing-arrivals.ts'
import type { OtherPods } from './other-pods.ts'

export interface CrossingLaneOptions extends ArrivalsOptions {
  readonly link: RedisLink
  readonly lane: Lane
  /** Of what comes to a pod this way. */
  readonly channelOf: (pod: PodId) => string
  readonly others: OtherPods
  readonly sent: (counts: BlobCounts) => void
}

/**
 * One way of pub/sub between pods. What is for one pod is gathered for a turn of the event loop, so that a message
 * costs its bytes, and not a command. In order from pod to pod.
 */
export interface CrossingLane {
  /** What is written to it goes out at the end of this turn. */
  writerTo(pod: PodId): BlobWriter
  readonly pendingBytes: number
  /** Once, when some of what waits was taken; not within this call. */
  onceDrained(listener: () => void): void
  /** What is gathered is sent. */
  close(): void
}

export function createCrossingLane(options: CrossingLaneOptions): CrossingLane {
  const { link, lane, channelOf, others, sent, dropped } = options
  const writers = new Map<PodId, BlobWriter>()
  const gathering = new Set<BlobWriter>()
  let flushing: NodeJS.Immediate | undefined
  let drained: (() => void)[] = []

  const tellDrained = (): void => {
    if (drained.length === 0) return
    const listeners = drained
    drained = []
    for (const listener of listeners) listener()
  }

  const flush = (): void => {
    flushing = undefined
    for (const writer of gathering) writer.flush()
    gathering.clear()
    if (lane.pendingBytes === 0) tellDrained()
  }

  const flushLater = (): void => {
    flushing ??= setImmediate(flush)
  }

  lane.onDrained(tellDrained)
  others.onGone((pod) => {
    const writer = writers.get(pod)
    if (writer !== undefined) gathering.delete(writer)
    writers.delete(pod)
  })

  const arrivals = createArrivals(options)
  const listen = (): void => lane.subscribe(channelOf(link.pod), (blob) => arrivals.take(blob))
  listen()
  link.onExpelled(listen)

  return {
    writerTo(pod) {
      let writer = writers.get(pod)
      if (writer === undefined) {
        const channel = channelOf(pod)
        writer = createBlobWriter(
          () => link.pod,
          (blob, counts) => {
            if (lane.publish(channel, blob)) sent(counts)
            else dropped(counts.messages + counts.frames)
          },
        )
        writers.set(pod, writer)
      }
      gathering.add(writer)
      flushLater()
      return writer
    },
    get pendingBytes() {
      let bytes = lane.pendingBytes
      for (const writer of gathering) bytes += writer.bytes
      return bytes
    },
    onceDrained(listener) {
      drained.push(listener)
      // Nothing waits: then nothing would be told.
      if (lane.pendingBytes === 0) flushLater()
    },
    close() {
      if (flushing !== undefined) clearImmediate(flushing)
      flush()
      arrivals.close()
    },
  }
}
