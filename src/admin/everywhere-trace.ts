import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { TracePage, TraceRequest } from './api/resources.ts'
import type { Everywhere } from './everywhere.ts'
import { mergePackets } from './merge.ts'

/**
 * A trace of all pods. Its id names the trace at each of them, and `after` how far each has been read, so that every pod
 * can answer the next request and none has to remember who reads.
 */
interface Part {
  readonly pod: string
  readonly id: string
}

const MAX_PARTS = 100

/** Rejects with what stopped it at this pod; others that cannot are left out. */
export async function startTrace(all: Everywhere, request: TraceRequest): Promise<{ id: string }> {
  const started = await all.askAll('startTrace', request)
  return { id: traceId(started.map(({ pod, answer }) => ({ pod, id: answer.id }))) }
}

/** Undefined: no pod has it any more. Rejects with TMQ_USAGE when `after` is not of this trace. */
export async function readTrace(
  all: Everywhere,
  id: string,
  after: string,
  waitMs: number,
): Promise<TracePage | undefined> {
  const parts = partsOf(id, all)
  if (parts === undefined) return undefined
  const positions = positionsOf(after, parts.length)

  let batches = await readParts(all, parts, positions, 0)
  // Nothing anywhere: the first that has something ends the wait for all. What the others show meanwhile they keep.
  if (waitMs > 0 && batches.some((batch) => batch?.isOpen) && batches.every((batch) => isEmpty(batch))) {
    const waiting = parts.map((_, index) =>
      readParts(all, [parts[index]!], [positions[index]!], waitMs).then(([batch]) => ({ index, batch })),
    )
    const first = await firstWith(waiting, ({ batch }) => !isEmpty(batch))
    // None: then all have come, and say whether it goes on.
    batches =
      first === undefined
        ? (await Promise.all(waiting)).map(({ batch }) => batch)
        : batches.map((batch, index) => (index === first.index ? first.batch : batch))
  }

  if (batches.every((batch) => batch === undefined) && all.missing.size === 0) return undefined
  return {
    packets: mergePackets(batches.map((batch) => batch?.packets ?? [])),
    next: batches.map((batch, index) => batch?.next ?? positions[index]).join('.'),
    missed: batches.reduce((sum, batch) => sum + (batch?.missed ?? 0), 0),
    isOpen: all.missing.size > 0 || batches.some((batch) => batch?.isOpen === true),
  }
}

/** False: no pod has it any more. */
export async function stopTrace(all: Everywhere, id: string): Promise<boolean> {
  const parts = partsOf(id, all) ?? []
  const there = parts.filter(({ pod }) => all.podIds.includes(pod))
  const answers = await Promise.all(there.map((part) => all.askOne(part.pod, 'stopTrace', part.id)))
  return answers.some((found) => found?.answer === true)
}

type Batch = NonNullable<Awaited<ReturnType<typeof readParts>>[number]>

function readParts(all: Everywhere, parts: readonly Part[], positions: readonly number[], waitMs: number) {
  return Promise.all(
    parts.map(async ({ pod, id }, index) => {
      // Gone, and its part of the trace with it.
      if (!all.podIds.includes(pod)) return undefined
      const found = await all.askOne(pod, 'readTrace', id, positions[index] ?? 0, waitMs)
      return found?.answer
    }),
  )
}

function isEmpty(batch: Batch | undefined): boolean {
  return batch === undefined || (batch.packets.length === 0 && batch.missed === 0)
}

/** The first that fulfils it; undefined when all have come and none does. Rejects with the first that rejects. */
function firstWith<T>(
  promises: readonly Promise<T>[],
  isGood: (value: T) => boolean,
): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const done = promises.map((promise) =>
      promise.then((value) => {
        if (isGood(value)) resolve(value)
      }),
    )
    Promise.all(done).then(() => resolve(undefined), reject)
  })
}

function traceId(parts: readonly Part[]): string {
  return Buffer.from(JSON.stringify(parts.map(({ pod, id }) => [pod, id]))).toString('base64url')
}

/** Of pods that live; undefined: it is no id of ours, or none of its pods is there. */
function partsOf(id: string, all: Everywhere): Part[] | undefined {
  let read: unknown
  try {
    read = JSON.parse(Buffer.from(id, 'base64url').toString())
  } catch {
    return undefined
  }
  if (!Array.isArray(read) || read.length > MAX_PARTS) return undefined
  const parts = read.map((part: unknown): Part | undefined => {
    const [pod, own] = Array.isArray(part) ? (part as unknown[]) : []
    return typeof pod === 'string' && typeof own === 'string' ? { pod, id: own } : undefined
  })
  if (!parts.every((part) => part !== undefined)) return undefined
  // Each pod once: one request is not to be made hundreds.
  if (new Set(parts.map(({ pod }) => pod)).size < parts.length) return undefined
  // A pod that has gone took its part with it; the places of `after` stay.
  return parts.some(({ pod }) => all.podIds.includes(pod)) ? parts : undefined
}

function positionsOf(after: string, count: number): number[] {
  const positions = after === '' ? Array<number>(count).fill(0) : after.split('.').map(Number)
  if (positions.length === count && positions.every((one) => Number.isSafeInteger(one) && one >= 0))
    return positions
  throw new TunnelMQError(ErrorCode.usage, 'after: is not the `next` of this trace')
}
