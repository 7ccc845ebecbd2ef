import { z } from 'zod'
import type { JsonSchema } from './schema.ts'

/**
 * What `tunnelmq agent` and the clients of tunnels take from a YAML file, the environment and options: the keys,
 * units, defaults and texts. What a schema cannot say well is in tunnel-endpoint-syntax.ts.
 * Secrets and paths are marked as in schema.ts.
 */

const filePath = () => z.string().min(1).meta({ filePath: true })

const tlsSchema = z
  .strictObject({
    ca: filePath().optional().describe("PEM file with the CAs of the broker; default: the system's."),
    caPem: z
      .string()
      .regex(/^-----BEGIN CERTIFICATE-----/)
      .optional()
      .describe('The same, written here in place of a file (PEM): what a bundle has.'),
    cert: filePath().optional().describe('PEM file with the own certificate, and its chain.'),
    key: filePath().optional().describe('PEM file with its private key.'),
    servername: z
      .string()
      .min(1)
      .optional()
      .describe("Name that is asked for and checked in the broker's certificate; default: that of the URL."),
    insecure: z
      .boolean()
      .default(false)
      .describe('Take any certificate. Whoever stands between can then read and change everything.'),
  })
  .describe('TLS to the broker, for mqtts:// and wss://.')

/** A client has a person before it, who wants to see what went wrong and no more. */
const logSchema = (level: 'info' | 'warn') =>
  z
    .strictObject({
      level: z
        .enum(['trace', 'debug', 'info', 'warn', 'error', 'silent'])
        .default(level)
        .describe('Lowest level that is logged.'),
      format: z
        .enum(['auto', 'json', 'pretty'])
        .default('auto')
        .describe('`auto`: pretty on a terminal, JSON elsewhere.'),
    })
    .describe('Log.')
    .prefault({})

const connection = {
  broker: z
    .string()
    .default('mqtt://127.0.0.1:1883')
    .describe('URL of the broker: mqtt://, mqtts://, ws://, wss://, or unix:/path.'),
  username: z.string().optional().describe('User name for the broker.'),
  password: z.string().optional().meta({ secret: true }).describe('Password; better in `passwordFile`.'),
  passwordFile: filePath().optional().describe('File whose first line is the password.'),
  tls: tlsSchema.prefault({}),
  topicPrefix: z
    .string()
    .default('$tunnel')
    .describe("First part of the topics; another one only over a broker that is not TunnelMQ's."),
  keepAliveSeconds: z
    .int()
    .min(5)
    .max(65_535)
    .default(30)
    .describe('How often the connection is proved to be alive, in seconds.'),
  resumeTimeoutSeconds: z
    .int()
    .min(1)
    .max(86_400)
    .default(120)
    .describe('How long streams wait for the other end before they are reset, in seconds.'),
}

const serviceSchema = z
  .strictObject({
    target: z.string().describe('Where the service is: host:port, [IPv6]:port or unix:/path.'),
    proxyProtocol: z
      .enum(['off', 'v2'])
      .default('off')
      .describe('Begin each connection with a PROXY header that names the real address of the client.'),
  })
  .describe('One service.')

export const agentSchema = z
  .strictObject({
    id: z.string().describe("The agent's name, and its MQTT client id: pi7"),
    ...connection,
    log: logSchema('info'),
    services: z
      .record(z.string(), serviceSchema)
      .describe('What the agent offers, by name: ssh: 127.0.0.1:22'),
    doctor: z
      .boolean()
      .default(true)
      .describe('Answer `tunnelmq doctor`, which measures the tunnel; it reaches nothing, within bounds.'),
  })
  .describe('An agent.')

export const clientSchema = z
  .strictObject({
    id: z
      .string()
      .optional()
      .describe('MQTT client id; default: a new one each time, so that clients can run side by side.'),
    ...connection,
    log: logSchema('warn'),
    forwards: z
      .array(z.string())
      .default([])
      .describe('For `tunnelmq forward`: [address:]port=agent/service'),
  })
  .describe('A client.')

export type AgentConfig = z.output<typeof agentSchema>
export type ClientConfig = z.output<typeof clientSchema>
/** What both have. */
export type EndpointConfig = Omit<ClientConfig, 'forwards'>

export type EndpointSchema = typeof agentSchema | typeof clientSchema

/** Of what a user writes: what has a default may be left out. */
export function endpointJsonSchema(schema: EndpointSchema): JsonSchema {
  return z.toJSONSchema(schema, { io: 'input', reused: 'inline' })
}
