import { z } from 'zod'
import { clientTls } from './client-tls-schema.ts'
import { spanMs, timerMs } from './duration-schema.ts'

/** The handler `http`; see schema.ts for its rules. */

const positive = z.int().min(1)

/** Methods of a handler (docs/handlers.md) that a service can be asked for. */
const webhookHooks = [
  'authConnect',
  'authPublish',
  'authSubscribe',
  'authTunnel',
  'connect',
  'publish',
  'subscribe',
  'unsubscribe',
  'disconnect',
] as const

const cacheSchema = z
  .strictObject({
    maxEntries: z
      .int()
      .min(0)
      .max(1_000_000)
      .default(10_000)
      .describe('Answers remembered, about 300 bytes each; 0: none.'),
    maxBytes: positive
      .default(33_554_432)
      .describe('Their bytes in memory, by an estimate: answers with an `acl` may be long.'),
    allowMs: spanMs()
      .default(0)
      .describe('How long a yes without `Cache-Control` holds, in ms; 0: it is asked each time.'),
    denyMs: spanMs()
      .default(0)
      .describe('How long a no holds, in ms: keeps clients that try again and again from the service.'),
    honourCacheControl: z
      .boolean()
      .default(true)
      .describe('`max-age` of an answer counts instead, `no-store` too.'),
    maxMs: spanMs(1).default(3_600_000).describe('No answer holds longer, in ms, whatever `max-age` says.'),
  })
  .describe('Answers that are remembered. Passwords are not: keys are HMACs.')

const breakerSchema = z
  .strictObject({
    failures: positive.default(5).describe('Failures in a row after which an endpoint is left out.'),
    cooldownMs: timerMs().default(10_000).describe('For how long, in ms; then one request tries it.'),
  })
  .describe('Circuit breaker of each endpoint.')

const notifySchema = z
  .strictObject({
    maxQueued: positive.default(1_000).describe('Notifications that wait; more are dropped, and counted.'),
    maxQueuedBytes: positive.default(8_388_608).describe('Their bytes.'),
    concurrent: positive
      .max(256)
      .default(4)
      .describe('Notifications under way at once; those of one client go in their order.'),
  })
  .describe('`connect`, `publish`, `subscribe`, `unsubscribe` and `disconnect`, which nobody waits for.')

export const webhookSchema = z
  .strictObject({
    type: z.literal('http'),
    format: z
      .enum(['tunnelmq', 'vernemq'])
      .default('tunnelmq')
      .describe("Requests and answers: our own (docs/webhooks.md), or those of VerneMQ's webhooks."),
    endpoints: z
      .array(
        z
          .string()
          .regex(/^https?:\/\/[^\s]+$/)
          .meta({ secret: true, secretUrl: true }),
      )
      .min(1)
      .max(16)
      .describe('URLs of the service; each can answer everything.'),
    order: z
      .enum(['first', 'round-robin'])
      .default('first')
      .describe('Which endpoint is asked: the first that is not left out, or each in its turn.'),
    hooks: z
      .array(z.enum(webhookHooks))
      .default(['authConnect', 'authPublish', 'authSubscribe'])
      .describe('What the service is asked and told; on the rest it has no opinion.'),
    mqtt5Hooks: z
      .array(z.enum(webhookHooks))
      .optional()
      .describe(
        "With `format: vernemq`: what it is asked and told about clients of MQTT 5, by VerneMQ's hooks with `_m5`; `hooks` is then for the others alone. Without it `hooks` is for all, without `_m5`.",
      ),
    headers: z
      .record(z.string(), z.string())
      .default({})
      .meta({ secret: true })
      .describe('HTTP headers of each request, for example `authorization`.'),
    payload: z
      .enum(['base64', 'text', 'none'])
      .default('base64')
      .describe('How payloads are sent; `text` loses bytes that are not UTF-8, `none` leaves them out.'),
    sendCertificatePem: z
      .boolean()
      .default(false)
      .describe("Send the client's whole certificate with authConnect."),
    timeoutMs: timerMs()
      .default(2_000)
      .describe('Deadline of a request, in ms; shorter than auth.timeoutMs.'),
    maxResponseBytes: positive.default(65_536).describe('Longer answers are a failure.'),
    maxSockets: positive.default(20).describe('Connections to each endpoint.'),
    keepAliveMs: timerMs().default(30_000).describe('How long a connection without work stays open, in ms.'),
    tls: clientTls('the service').optional().describe('TLS to the service, for `https://`.'),
    cache: cacheSchema.prefault({}),
    breaker: breakerSchema.prefault({}),
    notify: notifySchema.prefault({}),
  })
  .describe('A service of yours decides, asked over HTTP.')

export type WebhookConfig = z.output<typeof webhookSchema>
export type WebhookHook = WebhookConfig['hooks'][number]
