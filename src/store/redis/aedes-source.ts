import type { RedisConfig } from '../../config/cluster-schema.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { topicMatches } from '../../broker/topics.ts'
import type { QueueEntry, StoredMessage, StoredSubscription, StoredWill } from '../contract.ts'
import type { MovedSession, StoreSource } from '../migration/contract.ts'
import { type AedesPacket, decodeAedesPacket, decodeAedesSubscription } from './aedes-packet.ts'
import { buffersOf, type DirectRedis, openDirect, pairsOf } from './direct.ts'

/**
 * What aedes-persistence-redis 12 keeps; names of clients are URL-encoded in keys.
 *
 *   clients                          set      client ids with subscriptions
 *   client:<client>                  hash     filter → subscription
 *   outgoing:<client>                list     names of keys with packets, oldest first
 *   packet:<broker>:<n>              string   packet, of all clients that it waits for
 *   outgoing:<client>:<broker>:<n>   string   packet of one client, after its PUBREC
 *   incoming:<client>                hash     message id → packet at QoS 2; it is published already
 *   retained, retained:<topic>       hash, string (Redis Cluster)
 *   will, will:<broker>:<client>     list of keys, string
 */
const CLIENTS = 'clients'
/** Of message ids, on which sequence numbers follow (broker/outbox.ts): `seq % 65535 + 1`. */
const ID_COUNT = 65_535
const PACKETS_AT_ONCE = 500

/** Opens a Redis with the data of aedes-persistence-redis. Its sessions have no end: they get one, in ms from now; 0: none. */
export async function openAedesSource(config: RedisConfig, expiryMs: number): Promise<StoreSource> {
  const redis = await openDirect(config)
  const found = await redis.command('exists', ...[CLIENTS, 'retained', 'will'].map((name) => redis.key(name)))
  const source = new AedesSource(redis, expiryMs)
  if (found !== 0 || (await source.hasMore())) return source
  redis.close()
  throw new TunnelMQError(ErrorCode.store, `There is nothing of aedes-persistence-redis at ${redis.name}`)
}

class AedesSource implements StoreSource {
  readonly name: string
  unreadable = 0
  readonly #redis: DirectRedis
  readonly #nowMs = Date.now()
  readonly #expiresAtMs: number
  readonly #queues = new WeakMap<MovedSession, readonly QueueEntry[]>()

  constructor(redis: DirectRedis, expiryMs: number) {
    this.#redis = redis
    this.name = `${redis.name} (aedes-persistence-redis)`
    this.#expiresAtMs = expiryMs > 0 ? this.#nowMs + expiryMs : 0
  }

  async hasMore(): Promise<boolean> {
    for await (const names of this.#redis.names())
      if (names.some((name) => isOf('incoming:', name))) return true
    return false
  }

  async *sessions(): AsyncGenerator<MovedSession> {
    const groups = new Set<string>()
    for (const clientId of await this.#clientIds()) {
      const session = await this.#session(clientId)
      for (const { shareGroup, matchFilter } of session.subscriptions) {
        if (shareGroup !== undefined) groups.add(`${shareGroup}/${matchFilter}`)
      }
      yield session
    }
    for (const key of groups) {
      yield { ...emptySession(this.#nowMs), kind: 'group', id: key }
    }
  }

  async *queue(session: MovedSession): AsyncGenerator<readonly QueueEntry[]> {
    yield await Promise.resolve(this.#queues.get(session) ?? [])
  }

  async *retained(): AsyncGenerator<readonly StoredMessage[]> {
    const seen = new Set<string>()
    const decode = (value: Buffer): StoredMessage[] => {
      const packet = this.#decode(value)
      if (packet === undefined || packet.isRelease || seen.has(packet.message.topic)) return []
      seen.add(packet.message.topic)
      return packet.message.payload.length === 0 ? [] : [{ ...packet.message, retain: true }]
    }
    for await (const found of this.#redis.hashes(this.#redis.key('retained'))) {
      yield found.flatMap(([, value]) => decode(value))
    }
    for await (const names of this.#redis.names()) {
      const keys = names.filter((name) => isOf('retained:', name))
      const values = await this.#values(keys.map(String))
      yield values.flatMap((value) => (value === undefined ? [] : decode(value)))
    }
  }

  async *wills(): AsyncGenerator<readonly StoredWill[]> {
    const keys = buffersOf(await this.#redis.command('lrange', this.#redis.key('will'), 0, -1)).map(String)
    const values = await this.#values([...new Set(keys)])
    yield values.flatMap((value) => {
      const packet = value && this.#decode(value)
      return packet === undefined || packet.clientId === ''
        ? []
        : [{ clientId: packet.clientId, message: packet.message }]
    })
  }

  /** Aedes has none. */
  async *identities(): AsyncGenerator<never> {}

  close(): Promise<void> {
    this.#redis.close()
    return Promise.resolve()
  }

  /** Those with subscriptions, and those of which only identifiers of QoS 2 are kept. */
  async #clientIds(): Promise<Set<string>> {
    const ids = new Set(
      buffersOf(await this.#redis.command('smembers', this.#redis.key(CLIENTS))).map(String),
    )
    for await (const names of this.#redis.names()) {
      for (const name of names) {
        const id = isOf('incoming:', name) ? decoded(name.toString().slice('incoming:'.length)) : undefined
        if (id !== undefined) ids.add(id)
      }
    }
    return ids
  }

  async #session(clientId: string): Promise<MovedSession> {
    const name = encodeURIComponent(clientId)
    const key = (prefix: string): string => this.#redis.key(`${prefix}:${name}`)
    const [filters, list, incoming] = await this.#redis.commands([
      ['hgetall', key('client')],
      ['lrange', key('outgoing'), 0, -1],
      ['hkeys', key('incoming')],
    ])
    const subscriptions = pairsOf(buffersOf(filters)).flatMap(([filter, value]) => {
      const subscription = decodeAedesSubscription(filter.toString(), value)
      if (subscription === undefined) this.unreadable++
      return subscription ?? []
    })
    const packets = await this.#packets(buffersOf(list).map(String))
    const { entries, sentUpToSeq } = queueOf(packets, subscriptions)
    const session: MovedSession = {
      ...emptySession(this.#nowMs),
      id: clientId,
      expiresAtMs: this.#expiresAtMs,
      lastSeq: entries.at(-1)?.seq ?? 0,
      sentUpToSeq,
      subscriptions,
      incomingIds: buffersOf(incoming)
        .map(Number)
        .filter((id) => Number.isInteger(id) && id > 0 && id <= ID_COUNT),
    }
    this.#queues.set(session, entries)
    return session
  }

  /** A packet that has expired is not there any more, and its name still is. */
  async #packets(names: readonly string[]): Promise<AedesPacket[]> {
    const packets: AedesPacket[] = []
    for (let at = 0; at < names.length; at += PACKETS_AT_ONCE) {
      for (const value of await this.#values(names.slice(at, at + PACKETS_AT_ONCE))) {
        const packet = value && this.#decode(value)
        if (packet !== undefined) packets.push(packet)
      }
    }
    return packets
  }

  async #values(names: readonly string[]): Promise<(Buffer | undefined)[]> {
    if (names.length === 0) return []
    const values = await this.#redis.commands(names.map((name) => ['get', this.#redis.key(name)]))
    return values.map((value) => (Buffer.isBuffer(value) ? value : undefined))
  }

  #decode(value: Buffer): AedesPacket | undefined {
    const packet = decodeAedesPacket(value, this.#nowMs)
    if (packet === undefined) this.unreadable++
    return packet
  }
}

/**
 * Entries with sequence numbers from which the message ids follow that the client knows: what it has received at QoS 2
 * under one of them is not to be delivered again under another.
 */
function queueOf(
  packets: readonly AedesPacket[],
  subscriptions: readonly StoredSubscription[],
): { entries: QueueEntry[]; sentUpToSeq: number } {
  let lastSeq = 0
  let sentUpToSeq = 0
  const next = (messageId: number): number => {
    lastSeq++
    if (messageId > 0) lastSeq += (messageId - 1 - (lastSeq % ID_COUNT) + ID_COUNT) % ID_COUNT
    return lastSeq
  }
  const released = packets.filter((packet) => packet.isRelease && packet.messageId > 0)
  const waiting = packets.filter((packet) => !packet.isRelease)
  const entries: QueueEntry[] = released.map(({ messageId }) => {
    return { seq: next(messageId), qos: 2, state: 'pubrel', message: undefined }
  })
  for (const { message, messageId } of waiting) {
    const qos = qosFor(message, subscriptions)
    const seq = next(qos === 2 ? messageId : 0)
    entries.push({ seq, qos, state: 'publish', message: { ...message, qos, retain: false } })
    if (messageId > 0) sentUpToSeq = seq
  }
  return { entries, sentUpToSeq }
}

/** A packet is stored once for all, at the QoS of its publisher; what this client was granted may be less. */
function qosFor({ topic, qos }: StoredMessage, subscriptions: readonly StoredSubscription[]): 1 | 2 {
  const granted = subscriptions
    .filter(({ matchFilter }) => topicMatches(matchFilter, topic))
    .map((one) => one.qos)
  return qos === 2 && (granted.length === 0 || granted.includes(2)) ? 2 : 1
}

function emptySession(nowMs: number): MovedSession {
  return {
    kind: 'client',
    id: '',
    createdAtMs: nowMs,
    expiresAtMs: 0,
    expirySeconds: undefined,
    connected: false,
    lastSeq: 0,
    sentUpToSeq: 0,
    subscriptions: [],
    incomingIds: [],
  }
}

function isOf(prefix: string, name: Buffer): boolean {
  return name.toString('latin1', 0, prefix.length) === prefix
}

/** Undefined: no name of a client; keys of version 11 have a second colon. */
function decoded(name: string): string | undefined {
  if (name.includes(':')) return undefined
  try {
    return decodeURIComponent(name)
  } catch {
    return undefined
  }
}
