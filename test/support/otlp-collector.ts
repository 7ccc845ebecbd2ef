import { createServer, type IncomingHttpHeaders } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'
import { z } from 'zod'

const valueSchema = z.union([
  z.object({ stringValue: z.string() }).transform(({ stringValue }) => stringValue),
  z.object({ intValue: z.union([z.number(), z.string()]) }).transform(({ intValue }) => Number(intValue)),
  z.object({ doubleValue: z.number() }).transform(({ doubleValue }) => doubleValue),
  z.object({ boolValue: z.boolean() }).transform(({ boolValue }) => boolValue),
])
const anyValueSchema = z.union([
  valueSchema,
  z
    .object({ arrayValue: z.object({ values: z.array(valueSchema) }) })
    .transform(({ arrayValue }) => arrayValue.values),
])
const attributesSchema = z
  .array(z.object({ key: z.string(), value: anyValueSchema }))
  .transform((list) => Object.fromEntries(list.map(({ key, value }) => [key, value])))
/** Nanoseconds as a decimal string, to milliseconds. */
const timeSchema = z.string().transform((nanoseconds) => Number(BigInt(nanoseconds) / 1_000n) / 1_000)

const spanSchema = z.object({
  traceId: z.string().regex(/^[0-9a-f]{32}$/),
  spanId: z.string().regex(/^[0-9a-f]{16}$/),
  parentSpanId: z.string().optional(),
  name: z.string(),
  kind: z.int(),
  startTimeUnixNano: timeSchema,
  endTimeUnixNano: timeSchema,
  attributes: attributesSchema,
  events: z.array(z.object({ name: z.string(), timeUnixNano: timeSchema })).default([]),
  status: z.object({ code: z.int().default(0), message: z.string().optional() }),
})
/** As OTLP/JSON has it, with numbers for times (Unix ms). */
export type CollectedSpan = z.infer<typeof spanSchema>

const requestSchema = z.object({
  resourceSpans: z.array(
    z.object({
      resource: z.object({ attributes: attributesSchema }),
      scopeSpans: z.array(z.object({ scope: z.object({ name: z.string() }), spans: z.array(spanSchema) })),
    }),
  ),
})

export interface Collector {
  readonly endpoint: string
  readonly spans: readonly CollectedSpan[]
  readonly resources: readonly Record<string, unknown>[]
  readonly headers: readonly IncomingHttpHeaders[]
  /** All that was sent, as it came. */
  readonly text: string
  /** From now on: this status, or `hang`, which never answers. */
  answerWith(status: number | 'hang'): void
}

/** A collector of OpenTelemetry on a free port: checks each request against OTLP/JSON. Closed when the test ends. */
export async function openCollector(): Promise<Collector> {
  const spans: CollectedSpan[] = []
  const resources: Record<string, unknown>[] = []
  const headers: IncomingHttpHeaders[] = []
  let text = ''
  let answer: number | 'hang' = 200
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString()
      headers.push(request.headers)
      if (answer === 'hang') return
      response.writeHead(answer, { 'content-type': 'application/json' })
      response.end('{}')
      if (answer !== 200) return
      text += body
      for (const { resource, scopeSpans } of requestSchema.parse(JSON.parse(body)).resourceSpans) {
        resources.push(resource.attributes)
        spans.push(...scopeSpans.flatMap((scope) => scope.spans))
      }
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return {
    endpoint: `http://127.0.0.1:${port}/v1/traces`,
    spans,
    resources,
    headers,
    get text() {
      return text
    },
    answerWith: (status) => (answer = status),
  }
}
