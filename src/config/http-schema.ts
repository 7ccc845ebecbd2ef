import { z } from 'zod'
import { timerMs } from './duration-schema.ts'

const positive = z.int().min(1)

/** How `http` and `https` listeners speak HTTP (docs/http.md). */
export const httpSchema = z
  .strictObject({
    path: z
      .string()
      .startsWith('/')
      .default('/mqtt')
      .describe('Path that topics stand behind: `/mqtt/<topic>`.'),
    maxBodyBytes: positive
      .default(1_048_576)
      .describe('Largest payload of a request, in bytes; `limits.maxPacketBytes` holds as well.'),
    maxHeaderBytes: positive
      .min(1_024)
      .default(16_384)
      .describe('Largest request line and headers together, in bytes; tokens are in them.'),
    allowedOrigins: z
      .array(z.string())
      .default([])
      .describe(
        'Origins (scheme://host[:port]) of pages whose scripts may use it (CORS); `*`: any, without the credentials of browsers.',
      ),
    headerTimeoutMs: timerMs()
      .default(10_000)
      .describe('Deadline of the head of the first request of a connection, in ms.'),
    bodyTimeoutMs: timerMs().default(30_000).describe('Deadline of the body of a request, in ms.'),
    idleTimeoutMs: timerMs()
      .default(60_000)
      .describe(
        'From an answer to the whole head of the next request, in ms; then the connection is closed.',
      ),
    maxEventStreams: positive.default(1_000).describe('Event streams at once on this listener.'),
    eventStreamPingMs: timerMs(100)
      .default(15_000)
      .describe('Interval of the comments that keep event streams alive through proxies, in ms.'),
  })
  .describe('HTTP settings, for `http` and `https`.')

export type HttpConfig = z.output<typeof httpSchema>
