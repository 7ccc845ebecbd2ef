import type { PodId } from '../../cluster/contract.ts'
import type { TunnelRole } from './seats.ts'

/** A frame of a sender at another pod, which has not been announced here yet. */
interface EarlyFrame {
  readonly pod: PodId
  readonly topic: string
  readonly frame: Buffer
  readonly atMs: number
}

/** Whose frame it is. */
export interface Sender {
  readonly mountpoint: string
  readonly name: string
  readonly role: TunnelRole
}

/** The log is some milliseconds behind the frames; who has not come by then sends again. */
const MAX_WAIT_MS = 1_000
const MAX_BYTES = 4_194_304
/** An empty frame costs something as well. */
const FRAME_OVERHEAD_BYTES = 256

/**
 * Frames that were faster than the word that their sender is there: seats come with the log, frames beside it. They
 * wait for it, or each first OPEN and RESUME would be lost, and be repeated a second later only.
 */
export class EarlyFrames {
  readonly #now: () => number
  readonly #bySender = new Map<string, EarlyFrame[]>()
  #bytes = 0

  constructor(now: () => number) {
    this.#now = now
  }

  get count(): number {
    return this.#bySender.size
  }

  /** @returns false: too many wait. */
  keep(sender: Sender, pod: PodId, topic: string, frame: Buffer): boolean {
    const bytes = frame.length + FRAME_OVERHEAD_BYTES
    if (this.#bytes + bytes > MAX_BYTES) return false
    this.#bytes += bytes
    const key = keyOf(sender)
    const early = { pod, topic, frame, atMs: this.#now() }
    const known = this.#bySender.get(key)
    if (known === undefined) this.#bySender.set(key, [early])
    else known.push(early)
    return true
  }

  /** The sender is at that pod: what has come of it from there, in its order. Of others it is forgotten. */
  take(sender: Sender, pod: PodId): readonly Pick<EarlyFrame, 'topic' | 'frame'>[] {
    const key = keyOf(sender)
    const frames = this.#bySender.get(key)
    if (frames === undefined) return []
    this.#bySender.delete(key)
    this.#released(frames)
    const oldestMs = this.#now() - MAX_WAIT_MS
    return frames.filter((early) => early.pod === pod && early.atMs >= oldestMs)
  }

  /** Every second. */
  sweep(): void {
    const oldestMs = this.#now() - MAX_WAIT_MS
    for (const [key, frames] of this.#bySender) {
      // The newest is the last.
      if (frames.at(-1)!.atMs >= oldestMs) continue
      this.#bySender.delete(key)
      this.#released(frames)
    }
  }

  #released(frames: readonly EarlyFrame[]): void {
    for (const { frame } of frames) this.#bytes -= frame.length + FRAME_OVERHEAD_BYTES
  }
}

/** Names have no `/`. */
const keyOf = ({ mountpoint, name, role }: Sender): string => `${role}/${name}/${mountpoint}`
