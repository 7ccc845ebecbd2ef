import { z } from 'zod'
import { timerMs } from './duration-schema.ts'

/** The part `admin` of the configuration; see schema.ts for its rules. */

const positive = z.int().min(1)
const filePath = () => z.string().min(1).meta({ filePath: true })

export const adminSchema = z
  .strictObject({
    enabled: z.boolean().default(true).describe('Serve health, metrics, API and dashboard.'),
    host: z.string().default('127.0.0.1').describe('Address to bind; `0.0.0.0` or `::` for all.'),
    port: z.int().min(0).max(65_535).default(8080).describe('TCP port; 0 lets the system choose.'),
    tls: z
      .strictObject({
        cert: filePath().describe('PEM file with the certificate and its chain.'),
        key: filePath().describe('PEM file with the private key.'),
        passphrase: z.string().optional().meta({ secret: true }).describe('Passphrase of the private key.'),
      })
      .optional()
      .describe('Serve HTTPS instead of HTTP. The files are read again when they change, and on SIGHUP.'),
    api: z.boolean().default(true).describe('Serve the API at /api/v1. Every request needs an API key.'),
    dashboard: z.boolean().default(true).describe('Serve the dashboard at /; it asks for an API key.'),
    keysFile: filePath()
      .optional()
      .describe(
        'API keys, hashed; kept by `tunnelmq api-key`. Read again when it changes. Without it, only the local key.',
      ),
    localKey: z
      .boolean()
      .default(true)
      .describe(
        'Write a key with all scopes, new at each start and gone after it, for `tunnelmq` commands on this machine.',
      ),
    localKeyFile: filePath()
      .default('./data/admin.key')
      .describe('Where the local key is written (mode 600). If it cannot be, there is none, and a warning.'),
    metricsNeedKey: z
      .boolean()
      .default(false)
      .describe('/metrics needs an API key with scope `read` as bearer token.'),
    failuresPerMinute: positive
      .default(10)
      .describe('Requests with a wrong key from one address, a minute; more get 429.'),
    requestsPerSecond: positive.default(200).describe('API requests a second, of one key; more get 429.'),
    maxBodyBytes: positive.default(65_536).describe('Largest body of a request, in bytes.'),
    podTimeoutMs: timerMs().default(3_000).describe('Deadline for the answer of another pod, in ms.'),
    refusalsKept: positive
      .default(1_000)
      .describe('Last refusals of handlers and limits that are kept in memory, for each pod.'),
    auditKept: positive.default(1_000).describe('Last changes made through the API that are kept in memory.'),
    maxTraces: positive.default(4).describe('Traces of packets at once.'),
    tracePacketsPerSecond: positive
      .default(500)
      .describe('Packets a second that one trace takes; more are counted, not shown.'),
    traceKept: positive
      .default(2_000)
      .describe('Packets that one trace keeps for its reader. A packet costs up to 1 KiB.'),
    traceIdleMs: timerMs().default(15_000).describe('A trace that nobody reads ends after this long, in ms.'),
  })
  .describe('Health, metrics, API and dashboard, over HTTP.')

export type AdminConfig = z.infer<typeof adminSchema>
