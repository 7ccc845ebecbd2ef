import { z } from 'zod'
import { spanMs, timerMs } from './duration-schema.ts'

/** The part `tunnel` of the configuration; see schema.ts for its rules. */

const positive = z.int().min(1)
const count = z.int().min(0)

const tunnelName = z.string().regex(/^[A-Za-z0-9._-]{1,64}$/)
const destination = z
  .string()
  .regex(/^[A-Za-z0-9._-]{1,64}\/[A-Za-z0-9._-]{1,64}$/)
  .describe('Agent and service, as `pi7/ssh`.')
/** `host:port`, `[v6]:port`, or `unix:/path`. */
const target = z
  .string()
  .regex(/^(unix:\/.+|\[[0-9A-Fa-f:.%]+\]:\d{1,5}|[^:/\s]+:\d{1,5})$/)
  .describe('Where the service is: `host:port`, `[IPv6]:port` or `unix:/path`.')
const bind = z.string().regex(/^(\[[0-9A-Fa-f:.%]*\]|[^:/\s]*):\d{1,5}$/)

const listenSchema = z
  .strictObject({
    bind: bind.describe('Address and port: `0.0.0.0:2222`, `[::]:2222`; port 0 lets the system choose.'),
    to: destination,
    mountpoint: z.string().default('').describe('Mountpoint of the listener that the agent is connected to.'),
    allow: z
      .array(z.string())
      .default([])
      .describe('CIDRs or addresses that may connect; empty: any. Judged by the real address.'),
    proxyProtocol: z
      .enum(['off', 'required', 'trusted'])
      .default('off')
      .describe('PROXY protocol v1 and v2, as for listeners.'),
    trustedProxies: z
      .array(z.string())
      .default([])
      .describe('CIDRs or addresses whose PROXY header is believed.'),
    maxConnections: positive.default(1_000).describe('Connections at once on this port.'),
  })
  .describe('A TCP port of the broker that leads into a tunnel.')

const serviceSchema = z
  .strictObject({
    target,
    mountpoint: z.string().default('').describe('Mountpoint of the listeners whose clients may ask for it.'),
    proxyProtocol: z
      .enum(['off', 'v2'])
      .default('off')
      .describe('Begin each connection with a PROXY header that names the real address of the client.'),
  })
  .describe('One service.')

export const tunnelSchema = z
  .strictObject({
    enabled: z.boolean().default(true).describe('Route `$tunnel/`; otherwise all of it is refused.'),
    maxStreams: positive.default(20_000).describe('Streams at once, in all.'),
    maxStreamsPerClient: positive.default(2_000).describe('Streams at once that one client has opened.'),
    maxStreamsPerAgent: positive.default(2_000).describe('Streams at once to one agent.'),
    maxPendingBytes: positive
      .default(4_194_304)
      .describe('Bytes that may wait for one slow connection before DATA to it is dropped (and sent again).'),
    bytesPerSecondPerStream: count
      .default(0)
      .describe('Bytes a second of one stream, each way; 0: no limit.'),
    bytesPerSecondPerClient: count
      .default(0)
      .describe('Bytes a second of all streams of one client, each way; 0: no limit.'),
    bytesPerSecondPerAgent: count
      .default(0)
      .describe('Bytes a second of all streams of one agent, each way; 0: no limit.'),
    idleTimeoutMs: spanMs()
      .default(0)
      .describe('A stream without data for this long is ended, in ms; 0: never.'),
    maxDurationMs: spanMs()
      .default(0)
      .describe('A stream that is open for this long is ended, in ms; 0: never.'),
    resumeTimeoutMs: timerMs().default(120_000).describe('How long an end of a stream may be away, in ms.'),
    name: tunnelName
      .default('broker')
      .describe('Name of the broker as agent and as client of tunnels. No MQTT client can have its place.'),
    listen: z.array(listenSchema).default([]).describe('TCP ports that lead into tunnels.'),
    services: z
      .record(tunnelName, serviceSchema)
      .default({})
      .describe('Services that the broker itself offers, by name.'),
  })
  .describe('Tunnels: TCP streams over `$tunnel/`.')

export type TunnelConfig = z.output<typeof tunnelSchema>
export type TunnelListenConfig = TunnelConfig['listen'][number]
export type TunnelServiceConfig = TunnelConfig['services'][string]
