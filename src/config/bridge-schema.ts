import { z } from 'zod'
import { clientTls } from './client-tls-schema.ts'
import { timerMs } from './duration-schema.ts'

/** The part `bridges` of the configuration; see schema.ts for its rules. */

const positive = z.int().min(1)
const filePath = () => z.string().min(1).meta({ filePath: true })
const secret = () => z.string().min(1).meta({ secret: true })

const tlsSchema = clientTls('the other broker')
  .extend({
    rejectUnauthorized: z
      .boolean()
      .default(true)
      .describe('Refuse a certificate that cannot be verified. Leave it on.'),
  })
  .describe('TLS to the other broker, for `mqtts://` and `wss://`.')

const topicSchema = z
  .strictObject({
    filter: z
      .string()
      .min(1)
      .describe(
        'Topic filter, without the prefixes: what is bridged. `#` for everything under the prefixes.',
      ),
    direction: z
      .enum(['in', 'out', 'both'])
      .default('out')
      .describe('`out`: from here to the other broker; `in`: from there to here.'),
    qos: z.int().min(0).max(2).default(1).describe('Highest QoS on both sides of the bridge.'),
    localPrefix: z.string().default('').describe('Stands before the filter here, for example `site/a/`.'),
    remotePrefix: z.string().default('').describe('Stands before the filter at the other broker.'),
  })
  .describe('One topic map: `localPrefix + filter` here is `remotePrefix + filter` there.')

export const bridgeSchema = z
  .strictObject({
    name: z
      .string()
      .regex(/^[A-Za-z0-9._-]{1,64}$/)
      .describe('Name in logs and metrics; its session here belongs to it.'),
    url: z
      .string()
      .regex(/^(mqtts?|wss?):\/\/[^\s]+$/)
      .meta({ secret: true, secretUrl: true })
      .describe('The other broker: `mqtt://host[:port]`, `mqtts://`, `ws://host/path`, `wss://`.'),
    username: z.string().min(1).optional().describe('User at the other broker.'),
    password: secret().optional().describe('Password at the other broker.'),
    passwordFile: filePath().optional().describe('File whose first line is the password, instead.'),
    clientId: z
      .string()
      .min(1)
      .optional()
      .describe('Client id at the other broker; default: `tunnelmq-<name>`. One for each bridge.'),
    protocol: z
      .enum(['auto', '5', '3.1.1'])
      .default('auto')
      .describe(
        'MQTT version to the other broker. `auto`: 5, and 3.1.1 with the bridge bit where that is refused. Both keep the other broker from sending back what came from here.',
      ),
    cleanSession: z
      .boolean()
      .default(false)
      .describe(
        'Let the other broker forget us when the connection is lost; what comes meanwhile is missed.',
      ),
    keepaliveSeconds: positive.max(65_535).default(60).describe('Keep-alive, in seconds.'),
    connectTimeoutMs: timerMs().default(15_000).describe('Deadline of a connection, to its CONNACK, in ms.'),
    reconnectMinMs: timerMs().default(1_000).describe('Wait before the first new attempt, in ms.'),
    reconnectMaxMs: timerMs().default(60_000).describe('Longest wait between attempts, in ms.'),
    maxInflight: positive.default(20).describe('Messages under way to the other broker at once.'),
    tls: tlsSchema.optional(),
    mountpoint: z.string().default('').describe('Mountpoint of the local topics.'),
    topics: z.array(topicSchema).min(1).describe('What is bridged.'),
  })
  .describe(
    'A bridge to another MQTT broker. What waits for it while it is away is a session of this broker, bounded by `session`.',
  )

export type BridgeConfig = z.infer<typeof bridgeSchema>
