import type { WebhookConfig } from '../../config/webhook-schema.ts'
import type { WebhookCounters } from '../../counters.ts'
import type { HandlerLog } from '../log.ts'
import type { ServiceRequest } from './service.ts'

/** Tells the service what has happened. Nobody waits for it; what there is no room for is dropped, and counted. */
export interface Notifier {
  /** Those of one client arrive in their order. */
  tell(clientId: string, request: ServiceRequest): void
  /** Resolves when all is told, or after `withinMs`. */
  close(withinMs: number): Promise<void>
}

export interface NotifierOptions {
  readonly config: WebhookConfig['notify']
  readonly counters: WebhookCounters
  readonly log: HandlerLog
  readonly handler: string
  readonly send: (request: ServiceRequest) => Promise<unknown>
}

/** Between two lines of the log about what was dropped. */
const COMPLAIN_EVERY_MS = 10_000

export function createNotifier({ config, counters, log, handler, send }: NotifierOptions): Notifier {
  // One at a time in each lane, and a client is always in the same one.
  const lanes = Array.from({ length: config.concurrent }, () => ({
    waiting: [] as ServiceRequest[],
    isBusy: false,
  }))
  const idle: (() => void)[] = []
  let count = 0
  let bytes = 0
  let isClosed = false
  let complainedAtMs = -Infinity

  function drop(why: string): void {
    counters.dropped++
    if (performance.now() - complainedAtMs < COMPLAIN_EVERY_MS) return
    complainedAtMs = performance.now()
    log.error({ handler, why, dropped: counters.dropped }, 'notifications dropped')
  }

  async function run(lane: (typeof lanes)[number]): Promise<void> {
    lane.isBusy = true
    for (let request = lane.waiting.shift(); request !== undefined; request = lane.waiting.shift()) {
      await send(request).catch((error: unknown) =>
        drop(error instanceof Error ? error.message : String(error)),
      )
      count--
      counters.queued--
      bytes -= request.body.length
    }
    lane.isBusy = false
    if (count === 0) for (const resolve of idle.splice(0)) resolve()
  }

  return {
    tell(clientId, request) {
      if (isClosed || count >= config.maxQueued || bytes + request.body.length > config.maxQueuedBytes)
        return drop(isClosed ? 'the broker stops' : 'the queue is full')
      const lane = lanes[hash(clientId) % lanes.length]!
      count++
      counters.queued++
      bytes += request.body.length
      lane.waiting.push(request)
      if (!lane.isBusy) void run(lane)
    },
    async close(withinMs) {
      isClosed = true
      if (count === 0) return
      let timer: NodeJS.Timeout | undefined
      const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, withinMs)))
      await Promise.race([new Promise<void>((resolve) => idle.push(resolve)), late])
      clearTimeout(timer)
      for (const { waiting } of lanes) {
        counters.dropped += waiting.length
        counters.queued -= waiting.length
        waiting.length = 0
      }
    },
  }
}

/** FNV-1a. */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (let index = 0; index < text.length; index++)
    value = Math.imul(value ^ text.charCodeAt(index), 0x01000193) >>> 0
  return value
}
