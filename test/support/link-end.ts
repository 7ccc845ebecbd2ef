import { onTestFinished, vi } from 'vitest'
import { createMqttLink } from '../../src/tunnel/link/mqtt-link.ts'
import type { AttemptFailure, LinkDown, MqttLinkOptions } from '../../src/tunnel/link/options.ts'
import type { Link } from '../../src/tunnel/link/link.ts'
import { type FrameHeader, FrameType, HEADER_BYTES } from '../../src/tunnel/protocol/frame.ts'
import type { Route } from '../../src/tunnel/protocol/names.ts'

/** A link and everything that it has told. */
export interface LinkEnd {
  readonly link: Link
  /** In order: `up`, `down REASON`, `room`, `status AGENT JSON`. */
  readonly told: string[]
  readonly frames: { readonly route: Route; readonly frame: Buffer }[]
  readonly failures: AttemptFailure[]
  readonly downs: LinkDown[]
  /** Resolves when it has told this so often. */
  until(what: string | RegExp, count?: number): Promise<void>
  untilFrames(count: number): Promise<void>
  untilFailures(count: number): Promise<void>
}

const WAIT = { timeout: 20_000, interval: 5 } as const

/** Attached at once; closed when the test ends. Tries again without much waiting. */
export function openLink(options: MqttLinkOptions): LinkEnd {
  const told: string[] = []
  const frames: LinkEnd['frames'] = []
  const failures: AttemptFailure[] = []
  const downs: LinkDown[] = []
  const link = createMqttLink({
    random: () => 0,
    ...options,
    onDown: (down) => void downs.push(down),
    onAttemptFailed: (failure) => void failures.push(failure),
  })
  link.attach({
    up: () => void told.push('up'),
    down: (reason) => void told.push(`down ${reason}`),
    frame: (route, frame) => void frames.push({ route, frame }),
    room: () => void told.push('room'),
    status: (agent, payload) => void told.push(`status ${agent} ${payload?.toString() ?? 'removed'}`),
  })
  onTestFinished(() => link.close(0))
  const matching = (what: string | RegExp): number =>
    told.filter((line) => (typeof what === 'string' ? line === what : what.test(line))).length
  return {
    link,
    told,
    frames,
    failures,
    downs,
    until: (what, count = 1) =>
      vi.waitFor(() => {
        if (matching(what) < count) throw new Error(`not told ${what} ${count} times: ${told.join('; ')}`)
      }, WAIT),
    untilFrames: (count) =>
      vi.waitFor(() => {
        if (frames.length < count) throw new Error(`${frames.length} frames instead of ${count}`)
      }, WAIT),
    untilFailures: (count) =>
      vi.waitFor(() => {
        if (failures.length < count) throw new Error(`${failures.length} failures instead of ${count}`)
      }, WAIT),
  }
}

export function dataHeader(offset: number, fields: Partial<FrameHeader> = {}): FrameHeader {
  return { type: FrameType.data, flags: 0, stream: 7, offset, acked: 0, limit: 1_048_576, ...fields }
}

/** OPEN, which the broker wants to see before anything else of a stream. */
export const openHeader: FrameHeader = dataHeader(0, { type: FrameType.open })
export const openPayload = Buffer.from('{"v":1,"token":"9f86d081884c7d65"}')

export const payloadOf = (frame: Buffer): Buffer => frame.subarray(HEADER_BYTES)
