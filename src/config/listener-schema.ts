import { z } from 'zod'
import { coapSchema } from './coap-schema.ts'
import { handlerSchema } from './handler-schema.ts'
import { interceptorSchema } from './interceptor-schema.ts'
import { httpSchema } from './http-schema.ts'
import { proxySchema } from './proxy-schema.ts'

const filePath = () => z.string().min(1).meta({ filePath: true })

const positive = z.int().min(1)

const tlsSchema = z
  .strictObject({
    cert: filePath().describe('PEM file with the certificate and its chain.'),
    key: filePath().describe('PEM file with the private key.'),
    passphrase: z.string().optional().meta({ secret: true }).describe('Passphrase of the private key.'),
    clientCa: filePath()
      .optional()
      .describe('PEM file with the CAs of client certificates. Naming it asks clients for a certificate.'),
    requireClientCertificate: z
      .boolean()
      .default(true)
      .describe('With `clientCa`: refuse clients without a valid certificate (mutual TLS).'),
    minVersion: z.enum(['TLSv1.2', 'TLSv1.3']).default('TLSv1.2').describe('Lowest TLS version.'),
    ciphers: z.string().optional().describe('OpenSSL cipher list; default: that of Node.'),
  })
  .describe('TLS. Files are read again when they change, and on SIGHUP.')

const websocketSchema = z
  .strictObject({
    path: z.string().startsWith('/').default('/mqtt').describe('Path of the WebSocket endpoint.'),
    allowedOrigins: z
      .array(z.string())
      .default([])
      .describe('Origins (scheme://host[:port]) that browsers may come from; empty: any, `*` likewise.'),
    maxPayloadBytes: positive
      .max(2_147_483_647)
      .default(2_097_152)
      .describe('Largest WebSocket message, in bytes. MQTT packets may span several.'),
  })
  .describe('WebSocket settings, for `ws` and `wss`.')

/** Of every listener, whatever is spoken there. */
const doorFields = {
  maxConnections: positive.default(100_000).describe('Connections at once on this listener.'),
  allowAnonymous: z
    .boolean()
    .default(false)
    .describe(
      'Accept clients without credentials before the chain is asked, with all rights unless the chain has an ACL.',
    ),
  handlers: z
    .array(handlerSchema)
    .optional()
    .describe('Handler chain of this listener; default: the global `handlers`.'),
  interceptors: z
    .array(interceptorSchema)
    .default([])
    .describe('Modules that see, change or drop the packets of its clients (docs/interceptors.md).'),
  mountpoint: z
    .string()
    .default('')
    .describe(
      'Prefix for every topic of the clients of this listener, which they do not see. `$` topics are exempt.',
    ),
}

const listenerLimits = {
  ...doorFields,
  protocolVersions: z
    .array(z.union([z.literal('3.1'), z.literal('3.1.1'), z.literal('5')]))
    .min(1)
    .default(['3.1', '3.1.1', '5'])
    .describe('MQTT versions that are served.'),
}

const proxyFields = {
  proxyProtocol: z
    .enum(['off', 'required', 'trusted'])
    .default('off')
    .describe(
      'PROXY protocol v1 and v2: `required` from everyone, or `trusted`: taken from `trustedProxies`, everyone else is a direct client.',
    ),
  trustedProxies: z
    .array(z.string())
    .default([])
    .describe('CIDRs or addresses (IPv4, IPv6) whose PROXY header and X-Forwarded-For are believed.'),
}

const name = z
  .string()
  .regex(/^[A-Za-z0-9._-]{1,64}$/)
  .optional()
  .describe('Name in logs and metrics; default: type and port.')
const host = z.string().default('127.0.0.1').describe('Address to bind; `0.0.0.0` or `::` for all.')
const port = z.int().min(0).max(65_535).describe('TCP port; 0 lets the system choose.')

/** Where clients come in, by `type`. */
export const listenerSchema = z
  .discriminatedUnion('type', [
    z
      .strictObject({ type: z.literal('tcp'), name, host, port, ...proxyFields, ...listenerLimits })
      .describe('MQTT over TCP.'),
    z
      .strictObject({
        type: z.literal('tls'),
        name,
        host,
        port,
        tls: tlsSchema,
        ...proxyFields,
        ...listenerLimits,
      })
      .describe('MQTT over TLS; mutual TLS with `tls.clientCa`.'),
    z
      .strictObject({
        type: z.literal('ws'),
        name,
        host,
        port,
        websocket: websocketSchema.prefault({}),
        ...proxyFields,
        ...listenerLimits,
      })
      .describe('MQTT over WebSocket.'),
    z
      .strictObject({
        type: z.literal('wss'),
        name,
        host,
        port,
        tls: tlsSchema,
        websocket: websocketSchema.prefault({}),
        ...proxyFields,
        ...listenerLimits,
      })
      .describe('MQTT over WebSocket over TLS.'),
    z
      .strictObject({
        type: z.literal('unix'),
        name,
        path: filePath().describe('Path of the unix socket.'),
        mode: z
          .string()
          .regex(/^0?[0-7]{3}$/)
          .default('660')
          .describe('Octal permissions of the socket.'),
        ...listenerLimits,
      })
      .describe('MQTT over a unix socket.'),
    z
      .strictObject({
        type: z.literal('coap'),
        name,
        host,
        port: z.int().min(0).max(65_535).default(5_683).describe('UDP port; 0 lets the system choose.'),
        coap: coapSchema.prefault({}),
        ...doorFields,
      })
      .describe('CoAP over UDP: publish, read and observe topics (docs/coap.md). Not encrypted.'),
    z
      .strictObject({
        type: z.literal('http'),
        name,
        host,
        port,
        http: httpSchema.prefault({}),
        ...proxyFields,
        ...doorFields,
      })
      .describe('HTTP: publishes, reads retained messages, streams events (docs/http.md).'),
    z
      .strictObject({
        type: z.literal('https'),
        name,
        host,
        port,
        tls: tlsSchema,
        http: httpSchema.prefault({}),
        ...proxyFields,
        ...doorFields,
      })
      .describe('HTTP over TLS.'),
    z
      .strictObject({
        type: z.literal('proxy'),
        name,
        host,
        port: z.int().min(0).max(65_535).default(1_080).describe('TCP port; 0 lets the system choose.'),
        tls: tlsSchema.optional(),
        proxy: proxySchema.prefault({}),
        ...proxyFields,
        ...doorFields,
      })
      .describe('SOCKS5 and HTTP CONNECT to services of agents (docs/proxy-door.md).'),
  ])
  .describe('One listener.')

export type TlsConfig = z.output<typeof tlsSchema>
export type WebSocketConfig = z.output<typeof websocketSchema>
