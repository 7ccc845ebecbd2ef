/** Of OpenTelemetry's semantic conventions where they have a name, else `tunnelmq.*`. Never a payload or a secret. */
export type Attributes = Readonly<
  Record<string, string | number | boolean | readonly string[] | readonly number[]>
>

/** Something that takes time, and is told to a collector when it has ended. */
export interface Span {
  set(attributes: Attributes): void
  /** A moment in it, now or so many milliseconds ago. */
  event(name: string, agoMs?: number): void
  /** A part of it, which begins now. */
  child(name: string, attributes?: Attributes): Span
  /** Once; what comes after it is ignored. `failure`: why it did not do what was asked. */
  end(failure?: string): void
}

export interface SpanStart {
  readonly name: string
  readonly attributes: Attributes
  /** How long ago it began, in ms; default: now. */
  readonly agoMs?: number
}

export interface TracingFigures {
  /** Spans that the collector has taken. */
  readonly sent: number
  /** More than `tracing.maxQueuedSpans` were waiting. */
  readonly queueFull: number
  /** The collector was away, or did not want them. */
  readonly notSent: number
}

/**
 * Traces, as the broker sees them. Where there is no `tracing.endpoint` there is none of this, and every place that
 * would tell of something tests one field for undefined. Nothing here waits, throws, or keeps more than its bound.
 */
export interface Tracing {
  /** A trace of its own, as a server sees it. */
  begin(start: SpanStart): Span
  /** True for one of `tracing.sampleOneIn` messages. */
  samples(): boolean
  figures(): TracingFigures
  /** Sends what waits, within a bounded time. Never rejects. */
  close(): Promise<void>
}
