import { vi } from 'vitest'
import type { Delivery } from '../support/load-client.ts'

/**
 * Payloads of the fault tests are `<publisher> <number>`: so what was acknowledged can be held against what came,
 * message by message.
 */
export function texts(deliveries: readonly Delivery[]): string[] {
  return deliveries.map(({ payload }) => payload.toString())
}

/** What was promised and did not come. */
export function missing(promised: Iterable<string>, came: Iterable<string>): string[] {
  const got = new Set(came)
  return [...promised].filter((text) => !got.has(text))
}

/** Resolves when nothing is missing. */
export async function allCome(
  promised: readonly string[],
  came: readonly Delivery[],
  timeoutMs = 40_000,
): Promise<void> {
  const isThere = (): boolean => came.length >= promised.length && missing(promised, texts(came)).length === 0
  await eventually(isThere, timeoutMs).catch((error: unknown) => {
    const gone = missing(promised, texts(came))
    throw new Error(`${gone.length} of ${promised.length} did not come: ${gone.slice(0, 20).join(', ')}`, {
      cause: error,
    })
  })
}

export function repeated(came: readonly Delivery[]): Delivery[] {
  const seen = new Set<string>()
  return came.filter(({ payload }) => {
    const text = payload.toString()
    if (seen.has(text)) return true
    seen.add(text)
    return false
  })
}

/** Of what came again: how many bore DUP, and which should have. `resent`: sent twice by their publishers. */
export function dupsOf(
  came: readonly Delivery[],
  resent: ReadonlySet<string>,
): { marked: number; wrong: string[] } {
  const again = repeated(came)
  return {
    marked: again.filter(({ dup }) => dup).length,
    // A publisher that has lost its PUBACK publishes anew: to the broker that is another message.
    wrong: again
      .filter(({ dup, payload }) => !dup && !resent.has(payload.toString()))
      .map(({ payload }) => payload.toString()),
  }
}

/** First deliveries that came after a later one of the same publisher, topic and QoS. [MQTT-4.6.0-6] */
export function outOfOrder(came: readonly Delivery[]): string[] {
  const last = new Map<string, number>()
  const again = new Set(repeated(came))
  const wrong: string[] = []
  for (const delivery of came) {
    if (again.has(delivery)) continue
    const text = delivery.payload.toString()
    const [publisher = '', number = ''] = text.split(' ')
    const key = `${publisher} ${delivery.topic} ${delivery.qos}`
    if (Number(number) <= (last.get(key) ?? -1)) wrong.push(`${key}: ${text} after ${last.get(key)}`)
    else last.set(key, Number(number))
  }
  return wrong
}

/** One line a test: what was acknowledged, and what of it was delivered or is queued. */
export function report(test: string, acknowledgedCount: number, accounted: string): void {
  console.log(`fault ${test}: ${acknowledgedCount} acknowledged, ${accounted}`)
}

/** Waits for what another process, or the broker in this one, does in its own time. Metrics cost ms: ask less often. */
export async function eventually(check: () => unknown, timeoutMs = 40_000, intervalMs = 10): Promise<void> {
  await vi.waitFor(
    async () => {
      if (!(await check())) throw new Error(`not within ${timeoutMs} ms: ${check.toString()}`)
    },
    { timeout: timeoutMs, interval: intervalMs },
  )
}
