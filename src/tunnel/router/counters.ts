import { resetNames, type ResetName } from '../protocol/reset-code.ts'

/** Why a frame did not go on: a label of tunnelmq_tunnel_frames_dropped_total. */
export const tunnelDropReasons = [
  'away',
  'slow',
  'rate',
  'forbidden',
  'malformed',
  'credit',
  'unknown-stream',
] as const
export type TunnelDropReason = (typeof tunnelDropReasons)[number]

/** How a stream ended: `closed` is in order; `moved`: it goes on at another pod, where its client is now. */
export type StreamEnd = 'closed' | 'moved' | ResetName
export const streamEnds: readonly StreamEnd[] = ['closed', 'moved', ...resetNames]

/** Since the start; only growing. */
export interface TunnelCounters {
  opened: number
  readonly refused: Record<ResetName, number>
  readonly ended: Record<StreamEnd, number>
  /** Of frames that were passed on, without their headers: from clients and from agents. */
  readonly bytes: { up: number; down: number }
  readonly frames: { up: number; down: number }
  readonly dropped: Record<TunnelDropReason, number>
}

export function createTunnelCounters(): TunnelCounters {
  return {
    opened: 0,
    refused: zeros(resetNames),
    ended: zeros(streamEnds),
    bytes: { up: 0, down: 0 },
    frames: { up: 0, down: 0 },
    dropped: zeros(tunnelDropReasons),
  }
}

function zeros<K extends string>(keys: readonly K[]): Record<K, number> {
  return Object.fromEntries(keys.map((key) => [key, 0])) as Record<K, number>
}
