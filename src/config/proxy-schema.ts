import { z } from 'zod'
import { timerMs } from './duration-schema.ts'

const positive = z.int().min(1)

/** Of a listener of type `proxy`: docs/proxy-door.md. */
export const proxySchema = z
  .strictObject({
    suffix: z
      .string()
      .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/)
      .max(190)
      .default('tunnel')
      .describe('What names end with: with `tunnel`, `web.pi7.tunnel` is service web of agent pi7.'),
    requestTimeoutMs: timerMs()
      .default(10_000)
      .describe('From the connection to its complete request, in ms; credentials included.'),
    maxStreamsPerUser: positive
      .default(1_000)
      .describe(
        'Streams at once of one user through this listener; of one address, where there is no user name. More: 429. `tunnel.maxStreamsPerClient` counts for each connection alone.',
      ),
    maxHeaderBytes: positive.default(16_384).describe('Largest head of an HTTP request, in bytes.'),
  })
  .describe('Settings of SOCKS5 and HTTP CONNECT.')

export type ProxyConfig = z.output<typeof proxySchema>
