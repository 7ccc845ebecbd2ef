import type { Socket } from 'node:net'
import { processCpuMs, peakResidentMib, residentKib } from '../load/meter.ts'
import { isRight, pieceAt } from './known-stream.ts'
import type { BulkOrder, Figures, Role, TunnelProcess } from './plan.ts'

/** Sending and receiving the known stream, at either end. */

const BYTES_PER_MB = 1e6
const BYTES_PER_KIB = 1024
const BYTES_PER_MIB = 2 ** 20

/** Writes the known stream into the socket for as long as it lives. */
export function feed(socket: Socket, onSent?: (bytes: number) => void): void {
  let position = 0
  const fill = (): void => {
    while (!socket.destroyed) {
      const piece = pieceAt(position)
      position += piece.length
      onSent?.(piece.length)
      if (!socket.write(piece)) return
    }
  }
  socket.on('drain', fill)
  fill()
}

/** Checks what one stream brings. */
export class StreamCheck {
  #position = 0

  /** Throws at the first wrong byte: what a tunnel that changes bytes reaches is no figure. */
  take(bytes: Buffer): void {
    if (!isRight(this.#position, bytes))
      throw new Error(
        `wrong bytes between ${this.#position} and ${this.#position + bytes.length} of a stream`,
      )
    this.#position += bytes.length
  }
}

/** Counts what a group of streams brings: the warm-up, then the bytes that count, then it has a result. */
export class GroupMeter {
  readonly #order: BulkOrder
  #bytes = 0
  #start: { readonly bytes: number; readonly atMs: number; readonly cpuMs: CpuTimes } | undefined
  #isDone = false

  constructor(order: BulkOrder) {
    this.#order = order
  }

  /** The figures, once: with the bytes that complete them. */
  add(bytes: number): Figures | undefined {
    this.#bytes += bytes
    const { warmupBytes, timedBytes, processes } = this.#order
    if (this.#bytes < warmupBytes || this.#isDone) return undefined
    if (this.#start === undefined) {
      this.#start = { bytes: this.#bytes, atMs: performance.now(), cpuMs: cpuTimes(processes) }
      return undefined
    }
    const counted = this.#bytes - this.#start.bytes
    if (counted < timedBytes) return undefined
    this.#isDone = true
    const elapsedMs = performance.now() - this.#start.atMs
    const megabytes = counted / BYTES_PER_MB
    return {
      megabytesPerSecond: megabytes / (elapsedMs / 1000),
      ...cpuFigures(this.#start.cpuMs, cpuTimes(processes), megabytes),
    }
  }
}

/** Resident bytes of each process now, to be compared with its peak later. */
export function residentBytes(processes: readonly TunnelProcess[]): ReadonlyMap<number, number> {
  return new Map(processes.map(({ pid }) => [pid, (residentKib(pid) ?? Number.NaN) * BYTES_PER_KIB]))
}

/** How far the peak of each role is above what it had before. */
export function growth(processes: readonly TunnelProcess[], before: ReadonlyMap<number, number>): Figures {
  const figures: Figures = {}
  for (const { role, pid } of processes) {
    const grownBytes = (peakResidentMib(pid) ?? Number.NaN) * BYTES_PER_MIB - (before.get(pid) ?? Number.NaN)
    if (Number.isFinite(grownBytes))
      figures[`${role}GrowthMb`] = (figures[`${role}GrowthMb`] ?? 0) + grownBytes / BYTES_PER_MB
  }
  return figures
}

type CpuTimes = ReadonlyMap<Role, number>

function cpuTimes(processes: readonly TunnelProcess[]): CpuTimes {
  const times = new Map<Role, number>()
  for (const { role, pid } of processes)
    times.set(role, (times.get(role) ?? 0) + (processCpuMs(pid) ?? Number.NaN))
  return times
}

function cpuFigures(from: CpuTimes, to: CpuTimes, megabytes: number): Figures {
  const figures: Figures = {}
  let sumMs = 0
  for (const [role, ms] of to) {
    const spentMs = ms - (from.get(role) ?? 0)
    if (!Number.isFinite(spentMs)) return {}
    figures[`${role}CpuMsPerMb`] = spentMs / megabytes
    sumMs += spentMs
  }
  return { ...figures, cpuMsPerMb: sumMs / megabytes }
}
