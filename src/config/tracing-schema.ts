import { z } from 'zod'
import { timerMs } from './duration-schema.ts'

/** The part `tracing` of the configuration; see schema.ts for its rules. */

const positive = z.int().min(1)

export const tracingSchema = z
  .strictObject({
    endpoint: z
      .string()
      .regex(/^https?:\/\/[^\s]+$/)
      .meta({ secret: true, secretUrl: true })
      .optional()
      .describe(
        'OpenTelemetry: where spans are sent by OTLP over HTTP, for example `http://collector:4318/v1/traces`. Without it, nothing is loaded, and nothing costs anything.',
      ),
    headers: z
      .record(z.string(), z.string())
      .default({})
      .meta({ secret: true })
      .describe('HTTP headers for the endpoint, for example of authentication.'),
    serviceName: z.string().min(1).default('tunnelmq').describe('`service.name` of the spans.'),
    sampleOneIn: z
      .int()
      .min(0)
      .default(100)
      .describe(
        'Of so many messages the way of one is traced; 0: of none. Connections, subscriptions and streams always are.',
      ),
    maxQueuedSpans: positive
      .default(2_048)
      .describe('Spans that wait to be sent; more are dropped, and counted.'),
    exportIntervalMs: timerMs().default(5_000).describe('How often spans are sent, in ms.'),
    timeoutMs: timerMs().default(10_000).describe('Deadline of one sending, in ms.'),
  })
  .describe('OpenTelemetry traces of connections, of the path of messages, and of streams of tunnels.')

export type TracingConfig = z.infer<typeof tracingSchema>
