import { z } from 'zod'
import { adminSchema } from './admin-schema.ts'
import { bridgeSchema } from './bridge-schema.ts'
import { clusterSchema, redisSchema } from './cluster-schema.ts'
import { spanMs, timerMs } from './duration-schema.ts'
import { handlerSchema } from './handler-schema.ts'
import { identitySchema } from './identity-schema.ts'
import { listenerSchema } from './listener-schema.ts'
import { mqtt5Schema } from './mqtt5-schema.ts'
import { tracingSchema } from './tracing-schema.ts'
import { tunnelSchema } from './tunnel-schema.ts'

/**
 * The whole configuration: every key with its unit (in the name), default, and one line of documentation.
 * docs/configuration.md, config/tunnelmq.schema.json and `tunnelmq config` are generated from it.
 * Secrets are marked with `meta({ secret: true })` and never printed; with
 * `secretUrl` beside it, without the password only. Paths are marked with `filePath`:
 * relative ones start from the folder of the configuration file.
 */

const filePath = () => z.string().min(1).meta({ filePath: true })

const positive = z.int().min(1)
const count = z.int().min(0)
/** MQTT 3.1.1, 2.2.3: 268435455 bytes behind a header of 5. */
const packetBytes = positive.max(268_435_460)
/** MQTT 3.1.1, 1.5.3 */
const stringBytes = positive.max(65_535)

const storeSchema = z
  .strictObject({
    type: z
      .enum(['embedded', 'memory', 'redis'])
      .default('embedded')
      .describe(
        '`embedded`: durable, on disk. `memory`: gone with the process. `redis`: shared by several brokers.',
      ),
    path: filePath()
      .default('./data')
      .describe('Folder of the embedded store. The default is in the working directory.'),
    sync: z
      .boolean()
      .default(true)
      .describe(
        'Sync to the disk before a message is acknowledged. Without it, acknowledged messages survive kill -9 but not a power cut.',
      ),
    cacheBytes: positive
      .max(4_294_967_295)
      .default(8_388_608)
      .describe('Read cache of the embedded store, in bytes.'),
    redis: redisSchema.prefault({}),
  })
  .describe('Where sessions, queues and retained messages are kept.')

const limitsSchema = z
  .strictObject({
    maxConnections: positive.default(100_000).describe('Connections at once, in all.'),
    maxConnectionsPerAddress: count.default(0).describe('Connections at once from one address; 0: no limit.'),
    maxConnectionsPerUser: count
      .default(0)
      .describe(
        "Connections at once with one username; 0: no limit. An empty one, as tokens have over HTTP, is nobody's.",
      ),
    connectionsPerSecond: count.default(5_000).describe('New connections a second, in all; 0: no limit.'),
    connectionsPerSecondPerAddress: count
      .default(0)
      .describe('New connections a second from one address; 0: no limit.'),
    connectTimeoutMs: timerMs()
      .default(10_000)
      .describe('From the connection to its complete CONNECT, in ms.'),
    maxConnectBytes: packetBytes.default(65_536).describe('Largest packet before the CONNACK, in bytes.'),
    maxPacketBytes: packetBytes
      .default(1_048_576)
      .describe('Largest packet, in bytes. A larger one ends the connection.'),
    packetTimeoutMs: timerMs()
      .default(30_000)
      .describe('From the first byte of a packet to its last, in ms.'),
    maxKeepaliveSeconds: count
      .max(65_535) // MQTT 3.1.1, 3.1.2.10
      .default(0)
      .describe(
        'Longest keep-alive that is accepted, in seconds; 0: any. Clients of MQTT 5 are told this one, others are refused.',
      ),
    maxClientIdBytes: stringBytes.default(256).describe('Longest client id, in bytes.'),
    maxTopicBytes: stringBytes.default(4_096).describe('Longest topic or filter, in bytes.'),
    // The subscriptions are looked through level by level, each a call within the one before.
    maxTopicLevels: positive.max(1_000).default(64).describe('Levels of a topic or filter.'),
    maxSubscriptionsPerClient: positive.default(1_000).describe('Subscriptions of one client.'),
    messagesPerSecond: count
      .default(0)
      .describe('Messages a second from one client; above it, its socket is read more slowly. 0: no limit.'),
    bytesPerSecond: count
      .default(0)
      .describe('Bytes a second from one client; above it, its socket is read more slowly. 0: no limit.'),
    maxInflight: z
      .int()
      .min(1)
      .max(65_535)
      .default(20)
      .describe('QoS 1 and 2 messages on their way to one client at once.'),
    maxInflightIncoming: positive
      .default(1_000)
      .describe(
        'QoS 1 and 2 messages of one client that are being stored or await PUBREL. Clients of MQTT 5 are told (receive maximum).',
      ),
    maxOutboundBytes: positive
      .default(1_048_576)
      .describe(
        'Bytes that may wait for a slow reader. Above it QoS 0 messages are dropped, and QoS 1 and 2 stay in the queue.',
      ),
    drainTimeoutMs: timerMs()
      .default(20_000)
      .describe('A reader that takes nothing for this long is disconnected, in ms.'),
    storeTimeoutMs: timerMs()
      .default(30_000)
      .describe('A client whose packet the store has not answered for this long is disconnected, in ms.'),
    banFailures: count
      .default(10)
      .describe('Refused credentials from one address within `banWindowMs` that lead to a ban; 0: never.'),
    banWindowMs: timerMs().default(60_000).describe('Window for `banFailures`, in ms.'),
    banMs: spanMs(1).default(300_000).describe('How long an address is banned, in ms.'),
  })
  .describe(
    'Bounds. Every one is per broker process, but for `maxConnectionsPerUser` and the bans, which pods on one Redis share.',
  )

const sessionSchema = z
  .strictObject({
    expiryMs: spanMs()
      .default(2_592_000_000)
      .describe(
        'A session (clean session 0) whose client stays away this long is removed, in ms; 0: never. Default 30 days. Clients of MQTT 5 say how long themselves, and get at most this.',
      ),
    maxSessions: positive
      .default(100_000)
      .describe('Stored sessions, of all pods. Above it, new ones are refused (CONNACK 3).'),
    queueMaxMessages: positive
      .default(10_000)
      .describe(
        'Messages that wait for one session. At the bound the new message is dropped for it, and counted.',
      ),
    queueMaxBytes: positive
      .default(67_108_864)
      .describe('Bytes of payloads and properties that wait for one session.'),
    cleanQueueMaxBytes: positive
      .default(8_388_608)
      .describe(
        'Bytes of payloads and properties that wait in memory for one connection with clean session 1.',
      ),
    messageExpiryMs: spanMs()
      .default(0)
      .describe('Queued and retained messages end after this long, in ms; 0: never.'),
    willGraceMs: timerMs(0)
      .default(10_000)
      .describe(
        'After a start, wills of clients that were connected before are published when they are not back within this time, in ms. Agents of tunnels are expected back for as long.',
      ),
  })
  .describe('Sessions and their queues.')

const retainedSchema = z
  .strictObject({
    maxMessages: positive.default(100_000).describe('Retained messages.'),
    maxBytes: positive
      .default(268_435_456)
      .describe('Bytes of payloads and properties of all retained messages; they are kept in memory.'),
  })
  .describe('Retained messages. At a bound, a new topic is not retained, and counted.')

const authSchema = z
  .strictObject({
    timeoutMs: timerMs()
      .default(5_000)
      .describe('Deadline of an auth method of a handler, in ms. After it: refused.'),
    maxConcurrent: positive
      .default(1_000)
      .describe('Auth calls under way at once; more wait, within the deadline.'),
    maxRounds: positive
      .default(10)
      .describe(
        'Rounds of AUTH packets (MQTT 5) in one authentication; all of it within `limits.connectTimeoutMs`.',
      ),
    onRefusedPublish: z
      .enum(['drop', 'disconnect'])
      .default('drop')
      .describe(
        'A refused PUBLISH: acknowledged as its QoS asks and not delivered, or the connection is closed.',
      ),
    onRefusedWill: z
      .enum(['reject', 'strip'])
      .default('reject')
      .describe('A refused will: CONNACK 5, or connected without it.'),
  })
  .describe('How handlers are asked.')

const logSchema = z
  .strictObject({
    level: z
      .enum(['trace', 'debug', 'info', 'warn', 'error', 'silent'])
      .default('info')
      .describe('Lowest level that is logged.'),
    format: z
      .enum(['auto', 'json', 'pretty'])
      .default('auto')
      .describe('`auto`: pretty on a terminal, JSON elsewhere.'),
  })
  .describe('Logs, on standard output.')

const shutdownSchema = z
  .strictObject({
    drainMs: timerMs(0)
      .default(5_000)
      .describe('On SIGTERM clients are closed spread over at most this time, in ms.'),
    timeoutMs: timerMs().default(20_000).describe('Deadline of the whole stop, in ms.'),
  })
  .describe('Stopping.')

export const configSchema = z
  .strictObject({
    listeners: z
      .array(listenerSchema)
      .min(1)
      .default(() => [
        listenerSchema.parse({ type: 'tcp', port: 1883 }),
        listenerSchema.parse({ type: 'ws', port: 8083 }),
      ])
      .describe('Where clients connect.'),
    handlers: z
      .array(handlerSchema)
      .default([])
      .describe(
        'Handler chain for listeners without one of their own. The first opinion decides; none: refused.',
      ),
    store: storeSchema.prefault({}),
    cluster: clusterSchema.prefault({}),
    session: sessionSchema.prefault({}),
    retained: retainedSchema.prefault({}),
    limits: limitsSchema.prefault({}),
    mqtt5: mqtt5Schema.prefault({}),
    auth: authSchema.prefault({}),
    identities: identitySchema.prefault({}),
    tunnel: tunnelSchema.prefault({}),
    bridges: z.array(bridgeSchema).default([]).describe('Bridges to other MQTT brokers.'),
    admin: adminSchema.prefault({}),
    tracing: tracingSchema.prefault({}),
    sysIntervalMs: timerMs(0)
      .default(10_000)
      .describe('How often `$SYS/broker/...` is published, in ms; 0: never.'),
    log: logSchema.prefault({}),
    shutdown: shutdownSchema.prefault({}),
  })
  .describe('TunnelMQ configuration.')

/** The schema as JSON Schema, of what a user writes: what has a default may be left out. */
export function configJsonSchema(): JsonSchema {
  return z.toJSONSchema(configSchema, { io: 'input', reused: 'inline' })
}

export type JsonSchema = z.core.JSONSchema.BaseSchema
export type ConfigIssue = z.core.$ZodIssue
export type Config = z.output<typeof configSchema>
/** What a user writes: every key with a default may be left out. */
export type ConfigInput = z.input<typeof configSchema>
export type ListenerConfig = Config['listeners'][number]
/** Those whose clients come by connections of their own; the others are datagrams. */
export type StreamListenerConfig = Exclude<ListenerConfig, { type: 'coap' }>
export type MqttListenerConfig = Exclude<ListenerConfig, { type: 'coap' | 'http' | 'https' | 'proxy' }>
export type HandlerConfig = Config['handlers'][number]
export type { TlsConfig, WebSocketConfig } from './listener-schema.ts'
export type Limits = Config['limits']
