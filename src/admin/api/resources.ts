import { z } from '@hono/zod-openapi'
import { scopes } from './scopes.ts'

/**
 * What the API shows and takes: the one description from which types, checks and OpenAPI come.
 * Times are ISO 8601 in UTC; durations and sizes have their unit in the name. Absent facts are null. What is taken is
 * strict: a key that is not known is a mistake.
 */

/** Of a topic, and of a cursor with a client id: what a URL can carry is bounded by the server (admin/server.ts). */
const MAX_TOPIC_CHARACTERS = 65_535
const MAX_CURSOR_CHARACTERS = 131_072

const time = () => z.iso.datetime().openapi({ example: '2026-11-21T12:00:00.000Z' })
const count = () => z.int().min(0)
/** A byte string. `payload` is base64 of its first `payloadShown` bytes; `bytes` is its whole length. */
const payload = {
  bytes: count(),
  payload: z.string().describe('Base64, of the beginning only if it is long.'),
  payloadIsWhole: z.boolean(),
}
const qos = () => z.int().min(0).max(2)

const userProperties = () => z.array(z.object({ name: z.string(), value: z.string() }))

/** Texts of 256 characters at most, and 32 user properties. */
export const MessageProperties = z
  .object({
    payloadIsText: z.boolean().describe('The publisher says so.'),
    contentType: z.string().nullable(),
    responseTopic: z.string().nullable(),
    correlationData: z.string().nullable().describe('Base64, of the first 256 bytes.'),
    userProperties: userProperties(),
  })
  .openapi('MessageProperties')
export type MessageProperties = z.infer<typeof MessageProperties>
const properties = () => MessageProperties.nullable().describe('Of MQTT 5; null: it has none.')

// --- overview

export const Overview = z
  .object({
    version: z.string(),
    pod: z.string(),
    podCount: count(),
    startedAt: time(),
    uptimeSeconds: z.number(),
    isReady: z.boolean(),
    notReadyReasons: z.array(z.string()),
    isDraining: z.boolean(),
    connections: count(),
    sessionsConnected: count(),
    sessionsStored: count(),
    subscriptions: count(),
    retainedMessages: count(),
    retainedBytes: count(),
    queuedMessages: count(),
    queuedBytes: count(),
    inflightMessages: count(),
    streams: count(),
    agents: count(),
    bannedAddresses: count(),
    /** Since the start; rates are differences of two answers by `atMs`. */
    totals: z.object({
      connectionsAccepted: count(),
      connectionsRefused: count(),
      disconnects: count(),
      messagesReceived: count(),
      messagesSent: count(),
      messagesDropped: count(),
      bytesReceived: count(),
      bytesSent: count(),
      handlerRefusals: count(),
      streamsOpened: count(),
      streamBytes: count(),
    }),
    memoryBytes: count(),
    cpuSeconds: z.number(),
    atMs: z.number().describe('Monotonic ms of this pod when it was read.'),
  })
  .openapi('Overview')
export type Overview = z.infer<typeof Overview>

// --- clients

export const ClientSummary = z
  .object({
    id: z.string(),
    mountpoint: z.string(),
    state: z.enum(['connected', 'offline']),
    pod: z.string().nullable().describe('Where it is connected.'),
    username: z.string().nullable(),
    address: z
      .string()
      .nullable()
      .describe('The real one: from PROXY protocol or X-Forwarded-For where trusted.'),
    port: z.int().nullable(),
    listener: z.string().nullable(),
    transport: z.string().nullable(),
    protocolVersion: z.string().nullable().describe('`3.1`, `3.1.1` or `5`.'),
    cleanSession: z.boolean(),
    connectedAt: time().nullable(),
    expiresAt: time().nullable().describe('When a stored session that stays offline ends.'),
    keepaliveSeconds: count().nullable(),
    subscriptions: count(),
    inflightMessages: count(),
    queuedMessages: count(),
    queuedBytes: count(),
    messagesReceived: count(),
    messagesSent: count(),
    bytesReceived: count(),
    bytesSent: count(),
  })
  .openapi('ClientSummary')
export type ClientSummary = z.infer<typeof ClientSummary>

export const ClientDetail = ClientSummary.extend({
  subscriptionList: z.array(
    z.object({
      filter: z.string(),
      qos: qos(),
      shareGroup: z.string().nullable(),
      noLocal: z.boolean().describe('What the client itself publishes is not sent to it.'),
      retainAsPublished: z.boolean().describe('RETAIN is delivered as it was published.'),
      retainHandling: z
        .union([z.literal(0), z.literal(1), z.literal(2)])
        .describe('Retained messages are sent at SUBSCRIBE: 0: yes, 1: if it is new, 2: no.'),
      subscriptionIdentifier: z.number().int().nullable(),
    }),
  ),
  mqtt5: z
    .object({
      sessionExpirySeconds: count().nullable().describe('Null: never.'),
      receiveMaximum: count(),
      maximumPacketBytes: count().nullable().describe('Null: no limit.'),
      topicAliasMaximum: count(),
      authenticationMethod: z.string().nullable(),
      userProperties: userProperties().describe('Of its CONNECT, the first 32.'),
    })
    .nullable()
    .describe(
      'What a client of MQTT 5 has asked for, as far as it is allowed here; null: it speaks an older version, or is away.',
    ),
  will: z
    .object({
      topic: z.string(),
      qos: qos(),
      retain: z.boolean(),
      bytes: count(),
      delaySeconds: count().describe('After the end of the connection.'),
      properties: properties(),
    })
    .nullable(),
  certificate: z
    .object({ subject: z.string(), issuer: z.string(), serial: z.string(), fingerprint: z.string() })
    .nullable(),
  tls: z.object({ version: z.string(), cipher: z.string() }).nullable(),
  proxiedBy: z.string().nullable().describe('Address of the proxy, and how it told the real address.'),
  awaitedReleases: count().describe('QoS 2 messages received that await PUBREL.'),
  serves: z.string().nullable().describe('Name of the agent that this connection is.'),
}).openapi('ClientDetail')
export type ClientDetail = z.infer<typeof ClientDetail>

export const ClientQuery = z.strictObject({
  state: z.enum(['connected', 'offline', 'all']).default('all'),
  search: z.string().max(256).optional().describe('Part of client id, username or address.'),
  listener: z.string().max(64).optional(),
  after: z.string().max(MAX_CURSOR_CHARACTERS).optional().describe('`next` of the page before.'),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
})
export type ClientQuery = z.infer<typeof ClientQuery>

export const pageOf = <Item extends z.ZodType>(item: Item) =>
  z.object({
    items: z.array(item),
    /** Null: this was the last page. */
    next: z.string().nullable(),
    /** Of all pages, where it is known without walking all. */
    total: count().nullable(),
  })
export interface Page<Item> {
  items: Item[]
  next: string | null
  total: number | null
}
export const ClientPage = pageOf(ClientSummary).openapi('ClientPage')

/** A client id is a name within its mountpoint. */
export interface ClientRef {
  readonly id: string
  readonly mountpoint: string
}

export const QueueEntry = z
  .object({
    seq: count(),
    topic: z.string(),
    qos: qos(),
    retain: z.boolean(),
    isInflight: z.boolean(),
    expiresAt: time().nullable(),
    properties: properties(),
    ...payload,
  })
  .openapi('QueueEntry')
export type QueueEntry = z.infer<typeof QueueEntry>
export const QueuePage = pageOf(QueueEntry).openapi('QueuePage')
export const QueueQuery = z.strictObject({
  after: z.string().max(64).optional(),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
})
export type QueueQuery = z.infer<typeof QueueQuery>

// --- retained messages

export const RetainedMessage = z
  .object({
    topic: z.string(),
    qos: qos(),
    expiresAt: time().nullable(),
    properties: properties(),
    ...payload,
  })
  .openapi('RetainedMessage')
export type RetainedMessage = z.infer<typeof RetainedMessage>
export const RetainedPage = pageOf(RetainedMessage).openapi('RetainedPage')
export const RetainedQuery = z.strictObject({
  filter: z
    .string()
    .min(1)
    .max(MAX_TOPIC_CHARACTERS)
    .default('#')
    .describe('Topic filter; `$` topics need to be named.'),
  after: z.string().max(MAX_TOPIC_CHARACTERS).optional(),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
})
export type RetainedQuery = z.infer<typeof RetainedQuery>

// --- tunnels

export const Agent = z
  .object({
    name: z.string(),
    mountpoint: z.string(),
    isOnline: z.boolean(),
    pod: z.string().nullable(),
    client: z.string().nullable().describe('Client id of its connection.'),
    username: z.string().nullable(),
    address: z.string().nullable(),
    since: time().nullable(),
    services: z.array(z.string()),
    streams: count(),
    bytesUp: count().describe('To the agent, of the streams that are open.'),
    bytesDown: count().describe('From the agent, of the streams that are open.'),
  })
  .openapi('Agent')
export type Agent = z.infer<typeof Agent>

export const Stream = z
  .object({
    id: z.string().describe('Names it for `cut`.'),
    agent: z.string(),
    service: z.string(),
    mountpoint: z.string(),
    client: z.string(),
    username: z.string().nullable(),
    address: z.string().nullable().describe('Of the client.'),
    pod: z.string(),
    state: z.enum(['opening', 'open']),
    openedAt: time(),
    idleMs: count(),
    bytesUp: count().describe('Client to agent.'),
    bytesDown: count().describe('Agent to client.'),
  })
  .openapi('Stream')
export type Stream = z.infer<typeof Stream>

// --- listeners, bans, refusals, audit

export const Listener = z
  .object({
    name: z.string(),
    type: z.string(),
    url: z.string(),
    pod: z.string(),
    connections: count(),
    accepted: count(),
    bytesReceived: count(),
    bytesSent: count(),
    mountpoint: z.string(),
    proxyProtocol: z.string().nullable(),
    certificateExpiresAt: time().nullable(),
  })
  .openapi('Listener')
export type Listener = z.infer<typeof Listener>

export const Ban = z.object({ address: z.string(), until: time(), pod: z.string().nullable() }).openapi('Ban')
export type Ban = z.infer<typeof Ban>
/** JSON Schema has a format for each of the two. */
export const ipAddress = () =>
  z.union(
    [z.ipv4().openapi({ format: 'ipv4' }), z.ipv6().openapi({ format: 'ipv6' })],
    'is no IPv4 or IPv6 address',
  )
export const BanRequest = z
  .strictObject({
    address: ipAddress(),
    seconds: z.int().min(1).max(31_536_000).default(3_600),
  })
  .openapi('BanRequest')
export type BanRequest = z.infer<typeof BanRequest>

export const Refusal = z
  .object({
    at: time(),
    pod: z.string(),
    point: z.enum(['connection', 'connect', 'publish', 'subscribe', 'will', 'serve', 'open']),
    client: z.string().nullable(),
    username: z.string().nullable(),
    address: z.string().nullable(),
    listener: z.string().nullable(),
    topic: z.string().nullable(),
    handler: z.string().nullable().describe('Which handler refused; null: a limit, or the protocol.'),
    reason: z.string(),
    times: count().describe('How often the same came, one after the other.'),
  })
  .openapi('Refusal')
export type Refusal = z.infer<typeof Refusal>

export const AuditEntry = z
  .object({
    at: time(),
    pod: z.string(),
    key: z.string().describe('Name of the API key.'),
    address: z.string(),
    action: z.string(),
    target: z.string().nullable(),
    outcome: z.enum(['done', 'refused', 'failed']),
  })
  .openapi('AuditEntry')
export type AuditEntry = z.infer<typeof AuditEntry>

// --- cluster, log, drain

export const Pod = z
  .object({
    id: z.string(),
    name: z.string(),
    isSelf: z.boolean(),
    version: z.string().nullable(),
    silentMs: count(),
    connected: count(),
    uptimeSeconds: z.number().nullable(),
    isReady: z.boolean().nullable(),
    isDraining: z.boolean().nullable(),
    memoryBytes: count().nullable(),
  })
  .openapi('Pod')
export type Pod = z.infer<typeof Pod>

export const LogLevel = z
  .strictObject({ level: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']) })
  .openapi('LogLevel')
export type LogLevel = z.infer<typeof LogLevel>

export const DrainState = z
  .object({
    isDraining: z.boolean(),
    connections: count().describe('That are left on this pod.'),
    startedAt: time().nullable(),
  })
  .openapi('DrainState')
export type DrainState = z.infer<typeof DrainState>
export const DrainRequest = z
  .strictObject({
    spreadMs: z.int().min(0).max(3_600_000).default(30_000).describe('Clients are closed spread over this.'),
  })
  .openapi('DrainRequest')
export type DrainRequest = z.infer<typeof DrainRequest>

// --- why

export const WhyRequest = z
  .strictObject({
    client: z.string().min(1).max(65_535),
    mountpoint: z.string().default(''),
    action: z.enum(['connect', 'publish', 'subscribe', 'open']),
    /** Of `open`: `<agent>/<service>`. Absent for `connect`. */
    topic: z.string().max(65_535).default(''),
    qos: qos().default(0),
    retain: z.boolean().default(false),
    username: z.string().optional().describe('For a client that is not connected; default: as last seen.'),
    listener: z.string().optional().describe('Whose chain is asked, for a client that is not connected.'),
    address: ipAddress().optional().describe('For a client that is not connected.'),
  })
  .openapi('WhyRequest')
export type WhyRequest = z.infer<typeof WhyRequest>

export const Explanation = z
  .object({
    pod: z.string(),
    allowed: z.boolean(),
    summary: z.string().describe('One sentence.'),
    client: z.object({
      id: z.string(),
      state: z.enum(['connected', 'offline', 'unknown']),
      username: z.string().nullable(),
      address: z.string().nullable(),
      addressFrom: z.string().nullable().describe('`socket`, `proxy-v1`, `proxy-v2`, `x-forwarded-for`.'),
      listener: z.string().nullable(),
    }),
    /**
     * In the order in which they are asked. The first handler whose opinion is not `none` decides; whatever else is
     * `refused` or `failed` (a limit, an agent that is away) refuses as well.
     */
    steps: z.array(
      z.object({
        by: z.string().describe('Handler, or the rule of the broker (`protocol`, `limit`, `ban`).'),
        opinion: z.enum(['allowed', 'refused', 'none', 'failed', 'not asked']),
        rule: z.string().nullable().describe('For example file and line.'),
        reason: z.string().nullable(),
        isCached: z.boolean(),
      }),
    ),
    /** What the handlers made of the request, where they rewrite. */
    effective: z.object({
      topic: z.string().nullable(),
      qos: qos().nullable(),
      retain: z.boolean().nullable(),
    }),
  })
  .openapi('Explanation')
export type Explanation = z.infer<typeof Explanation>

// --- trace

export const TraceRequest = z
  .strictObject({
    client: z.string().min(1).max(65_535).optional(),
    mountpoint: z.string().default(''),
    topic: z
      .string()
      .min(1)
      .max(65_535)
      .optional()
      .describe('Filter; packets of any client on these topics.'),
    payload: z.boolean().default(false).describe('Show the first bytes of payloads.'),
  })
  .refine(({ client, topic }) => (client === undefined) !== (topic === undefined), 'either client or topic')
  .openapi('TraceRequest')
export type TraceRequest = z.infer<typeof TraceRequest>

export const TracePacket = z
  .object({
    at: time(),
    pod: z.string(),
    client: z.string(),
    direction: z.enum(['in', 'out']),
    type: z.string().describe('`CONNECT`, `PUBLISH`, and `CLOSED`, which says why a connection ended.'),
    bytes: count(),
    qos: qos().nullable(),
    retain: z.boolean().nullable(),
    dup: z.boolean().nullable(),
    messageId: z.int().nullable(),
    topic: z.string().nullable(),
    detail: z.string().nullable().describe('Codes, filters, flags, in words. Never a password.'),
    payload: z.string().nullable().describe('Base64, of the beginning only.'),
  })
  .openapi('TracePacket')
export type TracePacket = z.infer<typeof TracePacket>

export const TraceBatch = z
  .object({
    packets: z.array(TracePacket),
    next: count().describe('`after` of the next request.'),
    missed: count().describe('Packets that were not shown since the last answer: too many came.'),
    isOpen: z.boolean(),
  })
  .openapi('TraceBatch')
export type TraceBatch = z.infer<typeof TraceBatch>

/** As the API gives it: of all pods. `next` is the `after` of the next request, and tells nothing else. */
// Not by extend(): OpenAPI would want `next` to be both.
export const TracePage = z.object({ ...TraceBatch.shape, next: z.string() }).openapi('TracePage')
export type TracePage = z.infer<typeof TracePage>

export const TraceStarted = z.object({ id: z.string() }).openapi('TraceStarted')

// --- the API itself

/** The key that a request came with. */
export const KeyFacts = z
  .object({
    name: z.string(),
    scopes: z.array(z.enum(scopes)),
    createdAt: time(),
    expiresAt: time().nullable(),
    isLocal: z.boolean().describe('The key of this process, for commands on its machine.'),
  })
  .openapi('KeyFacts')
export type KeyFacts = z.infer<typeof KeyFacts>

/** RFC 9457. */
export const Problem = z
  .object({
    type: z.literal('about:blank'),
    title: z.string().describe('The words of the status.'),
    status: z.int(),
    detail: z.string().describe('What is wrong, where, and what to do.'),
    code: z.string().nullable().describe('Of docs/errors.md, where it is an error of the broker.'),
    mistakes: z
      .array(
        z.object({
          in: z.enum(['path', 'query', 'body']),
          at: z.string().describe('Name of the parameter, or path in the body.'),
          message: z.string(),
        }),
      )
      .optional(),
  })
  .openapi('Problem')
export type Problem = z.infer<typeof Problem>
