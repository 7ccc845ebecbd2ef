import { z } from 'zod'
import { clientTls } from './client-tls-schema.ts'
import { timerMs } from './duration-schema.ts'

/** The parts `store.redis` and `cluster` of the configuration; see schema.ts for its rules. */

const positive = z.int().min(1)
const count = z.int().min(0)
const secret = () => z.string().min(1).meta({ secret: true })

const tlsSchema = clientTls('Redis').describe(
  'TLS to Redis; needed only where the defaults of a `rediss://` URL are not right.',
)

const sentinelSchema = z
  .strictObject({
    name: z.string().min(1).default('mymaster').describe('Name of the primary.'),
    nodes: z
      .array(z.string().regex(/^(\[[0-9A-Fa-f:.%]+\]|[^:/\s]+):\d{1,5}$/))
      .min(1)
      .describe('Sentinels, as `host:port`.'),
    username: z.string().min(1).optional().describe('User at the sentinels.'),
    password: secret().optional().describe('Password at the sentinels.'),
    tls: z.boolean().default(false).describe('TLS to the sentinels, with the settings of `tls`.'),
  })
  .describe(
    'Sentinel: the primary is asked for. `url` then gives scheme, user, password and database, and any host.',
  )

export const redisSchema = z
  .strictObject({
    url: z
      .string()
      .regex(/^rediss?:\/\/[^\s]+$/)
      .default('redis://127.0.0.1:6379/0')
      .meta({ secret: true, secretUrl: true })
      .describe('`redis://[user[:password]@]host[:port][/database]`; `rediss://` for TLS.'),
    username: z.string().min(1).optional().describe('User, instead of in the URL.'),
    password: secret().optional().describe('Password, instead of in the URL.'),
    keyPrefix: z
      .string()
      .max(64)
      .regex(/^[^\s*?[\]\\]*$/)
      .default('{tunnelmq}:')
      .describe(
        'Begins every key and channel. All pods of one cluster have the same; two clusters in one Redis differ.',
      ),
    tls: tlsSchema.optional(),
    sentinel: sentinelSchema.optional(),
    commandTimeoutMs: timerMs()
      .default(1_000)
      .describe('A command without an answer for this long: the connection is made anew, in ms.'),
    connectTimeoutMs: timerMs().default(2_000).describe('From the attempt to the first answer, in ms.'),
    holdMs: timerMs(0)
      .default(5_000)
      .describe(
        'While Redis is away, messages at QoS 1 and 2 wait this long; then their publishers are disconnected, without an acknowledgement. In ms.',
      ),
    maxPendingBytes: positive
      .default(67_108_864)
      .describe('Bytes that wait for Redis, in all; above it, publishers are disconnected at once.'),
    waitReplicas: count
      .default(0)
      .describe('Acknowledge a message only when so many replicas have it (WAIT); 0: the primary is enough.'),
    waitTimeoutMs: timerMs().default(1_000).describe('How long to wait for replicas, in ms.'),
  })
  .describe('Redis 7.0 or newer, for `store.type: redis`.')

export const clusterSchema = z
  .strictObject({
    podName: z
      .string()
      .max(253)
      .default('')
      .describe('Name of this pod in logs and metrics; default: the host name.'),
    beatMs: timerMs().default(500).describe('How often a pod says that it lives, in ms; at most 1000.'),
    leaseMs: timerMs()
      .default(8_000)
      .describe(
        'A pod that has not said so for this long is dead: its wills are published, its sessions are free. In ms.',
      ),
    takeoverMs: timerMs()
      .default(1_000)
      .describe(
        'How long a new connection waits for another pod to close the old one of its client id, in ms.',
      ),
    freshMs: timerMs()
      .default(1_000)
      .describe(
        'A pod that has not heard from Redis for this long holds messages at QoS 1 and 2; a SUBACK waits at most as long for other pods. In ms.',
      ),
    logMax: positive
      .default(100_000)
      .describe('Entries of the change log that are kept. A pod that misses more loads everything again.'),
    inboxMaxBytes: positive
      .default(67_108_864)
      .describe('Bytes that wait in Redis for one pod to fetch them, beside the queues of sessions.'),
    crossingMaxBytes: positive
      .default(16_777_216)
      .describe(
        'Bytes of QoS 0 on the way to other pods, and as many of tunnels beside them; above it they are dropped, and counted.',
      ),
  })
  .describe('Several brokers on one Redis. Used with `store.type: redis`, also by a single one.')

export type RedisConfig = z.output<typeof redisSchema>
export type ClusterConfig = z.output<typeof clusterSchema>
