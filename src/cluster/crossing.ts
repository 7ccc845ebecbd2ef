import type { Log } from '../log.ts'
import type { StoredMessage } from '../store/contract.ts'
import type { RedisLink } from '../store/redis/contract.ts'
import { createBlobWriter, type BlobWriter } from './blob-writer.ts'
import type { ClusterEvents, PodId } from './contract.ts'
import { createArrivals } from './crossing-arrivals.ts'
import type { OtherPods } from './other-pods.ts'

export interface CrossingOptions {
  readonly link: RedisLink
  readonly others: OtherPods
  /** Bytes that have come and are not delivered yet; above it they are dropped, and counted. */
  readonly maxWaitingBytes: number
  readonly log: Log
  readonly garbage: () => void
}

export interface CrossingCounts {
  readonly out: { readonly qos0: number; readonly frame: number }
  readonly in: { readonly qos0: number; readonly frame: number }
  readonly dropped: number
}

/**
 * QoS 0 and frames of tunnels, between pods, by pub/sub: one channel a pod. What is for one pod is gathered for a turn
 * of the event loop, so that a message costs its bytes, and not a command. In order from pod to pod.
 */
export interface Crossing {
  start(events: ClusterEvents): void
  send(pods: readonly PodId[], message: StoredMessage): void
  sendToGroup(pod: PodId, key: string, message: StoredMessage): void
  sendFrame(pod: PodId, mountpoint: string, topic: string, frame: Buffer): void
  readonly pendingBytes: number
  onceDrained(listener: () => void): void
  close(): void
  readonly counts: CrossingCounts
}

export function createCrossing({ link, others, maxWaitingBytes, log, garbage }: CrossingOptions): Crossing {
  const writers = new Map<PodId, BlobWriter>()
  const gathering = new Set<BlobWriter>()
  const counts = { out: { qos0: 0, frame: 0 }, in: { qos0: 0, frame: 0 }, dropped: 0 }
  let flushing: NodeJS.Immediate | undefined
  let drained: (() => void)[] = []
  let events: ClusterEvents | undefined

  const flush = (): void => {
    flushing = undefined
    for (const writer of gathering) writer.flush()
    gathering.clear()
    if (link.publishPendingBytes === 0) tellDrained()
  }

  const writerTo = (pod: PodId): BlobWriter => {
    let writer = writers.get(pod)
    if (writer === undefined) {
      const channel = `in:${pod}`
      writer = createBlobWriter(
        () => link.pod,
        (blob, { messages, frames }) => {
          if (link.publish(channel, blob)) {
            counts.out.qos0 += messages
            counts.out.frame += frames
          } else counts.dropped += messages + frames
        },
      )
      writers.set(pod, writer)
    }
    gathering.add(writer)
    flushing ??= setImmediate(flush)
    return writer
  }

  const tellDrained = (): void => {
    if (drained.length === 0) return
    const listeners = drained
    drained = []
    for (const listener of listeners) listener()
  }
  link.onPublishDrained(tellDrained)

  others.onGone((pod) => {
    const writer = writers.get(pod)
    if (writer !== undefined) gathering.delete(writer)
    writers.delete(pod)
  })

  const arrivals = createArrivals({
    maxWaitingBytes,
    log,
    garbage,
    sink: {
      message(message, group) {
        counts.in.qos0++
        events?.message(message, group)
      },
      frame(pod, mountpoint, topic, frame) {
        counts.in.frame++
        events?.tunnelFrame(pod, mountpoint, topic, frame)
      },
    },
    dropped: (count) => (counts.dropped += count),
  })
  const listen = (): void => link.subscribe(`in:${link.pod}`, (blob) => arrivals.take(blob))
  listen()
  link.onExpelled(listen)

  return {
    start(listener) {
      events = listener
    },
    send(pods, message) {
      let record: Buffer | undefined
      for (const pod of pods) {
        const writer = writerTo(pod)
        if (record !== undefined) writer.copy(record)
        else {
          record = writer.message(message, undefined)
          if (record === undefined) {
            counts.dropped += pods.length
            return
          }
        }
      }
    },
    sendToGroup(pod, key, message) {
      if (writerTo(pod).message(message, key) === undefined) counts.dropped++
    },
    sendFrame(pod, mountpoint, topic, frame) {
      if (!writerTo(pod).frame(mountpoint, topic, frame)) counts.dropped++
    },
    get pendingBytes() {
      let bytes = link.publishPendingBytes
      for (const writer of gathering) bytes += writer.bytes
      return bytes
    },
    onceDrained(listener) {
      drained.push(listener)
      // Nothing waits: then nothing would be told.
      if (link.publishPendingBytes === 0) flushing ??= setImmediate(flush)
    },
    close() {
      if (flushing !== undefined) clearImmediate(flushing)
      flush()
      arrivals.close()
    },
    counts,
  }
}
