import type { Log } from '../log.ts'
import type { StoredMessage } from '../store/contract.ts'
import type { RedisLink } from '../store/redis/contract.ts'
import type { BlobCounts } from './blob-writer.ts'
import type { ClusterEvents, PodId } from './contract.ts'
import { createCrossingLane } from './crossing-lane.ts'
import type { OtherPods } from './other-pods.ts'

export interface CrossingOptions {
  readonly link: RedisLink
  readonly others: OtherPods
  /** Bytes that have come and are not delivered yet, for each of the two; above it they are dropped, and counted. */
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
 * QoS 0 and frames of tunnels, between pods, by pub/sub: a lane and a channel of each pod for either, so that a flood
 * of one does not drop the other.
 */
export interface Crossing {
  start(events: ClusterEvents): void
  send(pods: readonly PodId[], message: StoredMessage): void
  sendToGroup(pod: PodId, key: string, message: StoredMessage): void
  sendFrame(pod: PodId, mountpoint: string, topic: string, frame: Buffer): void
  /** Of frames. */
  readonly pendingBytes: number
  /** Of all. */
  readonly waitingBytes: number
  /** Of frames. */
  onceDrained(listener: () => void): void
  close(): void
  readonly counts: CrossingCounts
}

export function createCrossing({ link, others, maxWaitingBytes, log, garbage }: CrossingOptions): Crossing {
  const counts = { out: { qos0: 0, frame: 0 }, in: { qos0: 0, frame: 0 }, dropped: 0 }
  let events: ClusterEvents | undefined
  const dropped = (count: number): void => {
    counts.dropped += count
  }
  const ofLanes = {
    link,
    others,
    maxWaitingBytes,
    log,
    garbage,
    dropped,
    sink: {
      message(message: StoredMessage, group: string | undefined) {
        counts.in.qos0++
        events?.message(message, group)
      },
      frame(pod: PodId, mountpoint: string, topic: string, frame: Buffer) {
        counts.in.frame++
        events?.tunnelFrame(pod, mountpoint, topic, frame)
      },
    },
    sent({ messages: messageCount, frames: frameCount }: BlobCounts) {
      counts.out.qos0 += messageCount
      counts.out.frame += frameCount
    },
  }
  const messages = createCrossingLane({ ...ofLanes, lane: link.bulk, channelOf: (pod) => `in:${pod}` })
  const frames = createCrossingLane({ ...ofLanes, lane: link.prompt, channelOf: (pod) => `frames:${pod}` })

  return {
    start(listener) {
      events = listener
    },
    send(pods, message) {
      let record: Buffer | undefined
      for (const pod of pods) {
        const writer = messages.writerTo(pod)
        if (record !== undefined) writer.copy(record)
        else {
          record = writer.message(message, undefined)
          if (record === undefined) return dropped(pods.length)
        }
      }
    },
    sendToGroup(pod, key, message) {
      if (messages.writerTo(pod).message(message, key) === undefined) dropped(1)
    },
    sendFrame(pod, mountpoint, topic, frame) {
      if (!frames.writerTo(pod).frame(mountpoint, topic, frame)) dropped(1)
    },
    get pendingBytes() {
      return frames.pendingBytes
    },
    get waitingBytes() {
      return frames.pendingBytes + messages.pendingBytes
    },
    onceDrained: (listener) => frames.onceDrained(listener),
    close() {
      messages.close()
      frames.close()
    },
    counts,
  }
}
