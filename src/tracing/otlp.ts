import {
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  type Span as ApiSpan,
  type Tracer,
} from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { resourceFromAttributes } from '@opentelemetry/resources'
import {
  AlwaysOnSampler,
  BatchSpanProcessor,
  TracerProvider,
  type ReadableSpan,
  type SpanExporter,
  type SpanProcessor,
} from '@opentelemetry/sdk-trace'
import type { TracingConfig } from '../config/tracing-schema.ts'
import type { Log } from '../log.ts'
import type { Attributes, Span, SpanStart, Tracing } from './contract.ts'

export interface OtlpOptions {
  readonly config: TracingConfig & { readonly endpoint: string }
  readonly version: string
  /** `service.instance.id`: the pod, or a name of this process. */
  readonly instance: string
  readonly log: Log
}

/** Spans in one request. */
const BATCH_SPANS = 512
/** A topic may have 4096 bytes, a SUBSCRIBE hundreds of filters. */
const SPAN_LIMITS = { attributeValueLengthLimit: 1_024, attributeCountLimit: 64, eventCountLimit: 64 }
/** How long a stop waits for a collector. */
const CLOSE_MS = 3_000
const WARN_INTERVAL_MS = 60_000

/** Spans to a collector by OTLP over HTTP. Of the SDK nothing is made global, so that a program around us keeps its own. */
export function createOtlpTracing({ config, version, instance, log }: OtlpOptions): Tracing {
  const delivery = new Delivery(config, log)
  const provider = new TracerProvider({
    resource: resourceFromAttributes({
      'service.name': config.serviceName,
      'service.version': version,
      'service.instance.id': instance,
    }),
    // Who asks for a span has decided: contexts do not come in from elsewhere, MQTT 3.1.1 has no place for them.
    sampler: new AlwaysOnSampler(),
    spanLimits: SPAN_LIMITS,
    spanProcessors: [delivery],
  })
  const tracer = provider.getTracer('tunnelmq', version)
  /** One of each so many, at a random place: counting alone would choose the same one of clients that take turns. */
  let place = 0
  let chosen = 0
  return {
    begin: (start) => begin(tracer, start),
    samples() {
      if (config.sampleOneIn === 0) return false
      if (place === 0) chosen = Math.floor(Math.random() * config.sampleOneIn)
      const isChosen = place === chosen
      place = (place + 1) % config.sampleOneIn
      return isChosen
    },
    figures: () => delivery.figures,
    async close() {
      const sent = provider.shutdown().catch((error: unknown) => delivery.failed(0, error))
      await withDeadline(sent, Math.min(CLOSE_MS, config.timeoutMs))
    },
  }
}

/** The way of ended spans: a bounded queue, batches, the collector. Counts what gets lost on it. */
class Delivery implements SpanProcessor {
  readonly figures = { sent: 0, queueFull: 0, notSent: 0 }
  readonly #batches: BatchSpanProcessor
  readonly #maxQueued: number
  readonly #endpoint: string
  readonly #log: Log
  #queued = 0
  readonly #losses = {
    'queue-full': { warnedAtMs: -Infinity, spans: 0 },
    'not-sent': { warnedAtMs: -Infinity, spans: 0 },
  }

  constructor(config: OtlpOptions['config'], log: Log) {
    this.#maxQueued = config.maxQueuedSpans
    this.#endpoint = withoutUser(config.endpoint)
    this.#log = log
    const exporter = new OTLPTraceExporter({
      url: config.endpoint,
      headers: config.headers,
      timeoutMillis: config.timeoutMs,
    })
    this.#batches = new BatchSpanProcessor({
      exporter: this.#counted(exporter),
      maxQueueSize: config.maxQueuedSpans,
      maxExportBatchSize: Math.min(BATCH_SPANS, config.maxQueuedSpans),
      scheduledDelayMillis: config.exportIntervalMs,
      // The exporter keeps the same deadline, and says more when it has passed.
      exportTimeoutMillis: config.timeoutMs + 1_000,
    })
  }

  #counted(exporter: SpanExporter): SpanExporter {
    return {
      export: (spans, done) => {
        this.#queued -= spans.length
        exporter.export(spans, (result) => {
          if (result.error === undefined) this.figures.sent += spans.length
          else this.failed(spans.length, result.error)
          // What has failed is counted and logged: for the batches it is done, or the SDK would tell others of it.
          done({ code: 0 })
        })
      },
      shutdown: () => exporter.shutdown(),
    }
  }

  onStart(): void {}

  onEnd(span: ReadableSpan): void {
    // The batches have the same bound, and do not say what they drop.
    if (this.#queued >= this.#maxQueued) {
      this.figures.queueFull++
      this.#lost('queue-full', 1, 'too many wait')
      return
    }
    this.#queued++
    this.#batches.onEnd(span)
  }

  failed(count: number, error: unknown): void {
    this.figures.notSent += count
    this.#lost('not-sent', count, reasonOf(error))
  }

  /**
   * At most a line a minute of each loss: a collector that is away is not to fill the disk, and what then piles up is not
   * to hide why it is away.
   */
  #lost(loss: 'queue-full' | 'not-sent', count: number, reason: string): void {
    const lost = this.#losses[loss]
    lost.spans += count
    const atMs = performance.now()
    if (atMs - lost.warnedAtMs < WARN_INTERVAL_MS) return
    this.#log.warn({ endpoint: this.#endpoint, loss, spans: lost.spans, reason }, 'spans not sent')
    lost.warnedAtMs = atMs
    lost.spans = 0
  }

  forceFlush(): Promise<void> {
    return this.#batches.forceFlush()
  }

  shutdown(): Promise<void> {
    return this.#batches.shutdown()
  }
}

function begin(tracer: Tracer, { name, attributes, agoMs = 0 }: SpanStart): Span {
  const options = { kind: SpanKind.SERVER, attributes: mutable(attributes), startTime: nowMs() - agoMs }
  return wrap(tracer, tracer.startSpan(name, options, ROOT_CONTEXT))
}

function wrap(tracer: Tracer, span: ApiSpan): Span {
  return {
    set: (attributes) => void span.setAttributes(mutable(attributes)),
    event: (name, agoMs = 0) => void span.addEvent(name, nowMs() - agoMs),
    child(name, attributes = {}) {
      const options = { kind: SpanKind.INTERNAL, attributes: mutable(attributes), startTime: nowMs() }
      return wrap(tracer, tracer.startSpan(name, options, trace.setSpan(ROOT_CONTEXT, span)))
    },
    end(failure) {
      // The SDK complains of a span that ends twice, and not of one that is asked first.
      if (!span.isRecording()) return
      if (failure !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: failure })
      span.end(nowMs())
    },
  }
}

/** Unix time in ms with its fraction, on one clock that never goes back: children must lie within their parents. */
function nowMs(): number {
  return performance.timeOrigin + performance.now()
}

type MutableAttributes = Record<string, string | number | boolean | string[] | number[]>
const mutable = (attributes: Attributes) => attributes as MutableAttributes

/** The collector's own words may repeat what it was sent: the status is enough. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { code } = error as { code?: string | number }
  return code === undefined ? error.message : `${error.message} (${code})`
}

function withoutUser(endpoint: string): string {
  const url = new URL(endpoint)
  url.username = url.password = ''
  return url.href
}

async function withDeadline(work: Promise<void>, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const deadline = new Promise<void>((resolve) => (timer = setTimeout(resolve, timeoutMs)))
  await Promise.race([work, deadline])
  clearTimeout(timer)
}
