import type { DisconnectReason } from '../../hooks/types.ts'
import type { Log } from '../../log.ts'
import { stripMountpoint } from '../client-session.ts'
import type { Connection } from '../connection.ts'
import type { Message } from '../message.ts'
import { decodeConnect } from '../packets/connect.ts'
import { ANY_PROPERTY, decodeProperties, type Properties } from '../packets/properties.ts'
import { FieldReader } from '../packets/strings.ts'
import { varintBytes, writeVarint } from '../packets/varint.ts'
import { decodeSubscribe } from '../packets/subscribe.ts'
import { PacketType } from '../packets/types.ts'
import { filtersOverlap, parseShare, topicMatches } from '../topics.ts'
import {
  clip,
  factsOf,
  packetFacts,
  publishFacts,
  readPublish,
  type PacketFacts,
  type PacketPlace,
} from './packet-facts.ts'
import type { Delivery, Tap } from './tap.ts'
import type { Trace } from './trace.ts'

/** The broker, as its connections are tapped. */
export interface TappedBroker {
  readonly connections: ReadonlySet<Connection>
  /** Of connections to come; undefined: nobody looks. */
  tap: Tap | undefined
}

/** Pieces of one packet of Aedes, at most: they are CONNACK and PINGRESP. */
const MAX_PIECES_BYTES = 64

/**
 * The tap of all traces. With traces of clients only, it hangs on their connections and on those that have not said yet
 * who they are; with one of topics, on all. Without a trace it hangs nowhere.
 */
export class TapHub implements Tap {
  readonly #broker: TappedBroker
  readonly #log: Log
  readonly #traces = new Set<Trace>()
  /** Topic aliases in packets to clients (MQTT 5), of those that were looked at. */
  readonly #aliases = new WeakMap<Connection, Map<number, string>>()
  readonly #pieces = new WeakMap<Connection, Buffer>()
  readonly #refusals = new WeakMap<Connection, string>()

  constructor(broker: TappedBroker, log: Log) {
    this.#broker = broker
    this.#log = log
  }

  add(trace: Trace): void {
    this.#traces.add(trace)
    const { client } = trace.scope
    for (const connection of this.#broker.connections)
      if (client !== undefined && connection.clientId === client && isIn(connection, trace))
        trace.connections.add(connection)
    this.#retap()
  }

  remove(trace: Trace): void {
    this.#traces.delete(trace)
    this.#retap()
  }

  #retap(): void {
    this.#broker.tap = this.#traces.size === 0 ? undefined : this
    for (const connection of this.#broker.connections)
      connection.tap = this.#isWanted(connection) ? this : undefined
  }

  #isWanted(connection: Connection): boolean {
    for (const { scope, connections } of this.#traces)
      if (scope.filter !== undefined || connection.phase === 'connect' || connections.has(connection))
        return true
    return false
  }

  // --- what comes and goes

  received(connection: Connection, bytes: Buffer, packetStart: number, bodyStart: number, end: number): void {
    this.#safely(() => {
      const type = bytes[packetStart]! >> 4
      if (type === PacketType.connect) this.#introduce(connection, bytes, bodyStart, end)
      const { version } = connection
      const topicOfAlias = (alias: number): string | undefined => connection.topicOfAlias(alias)
      const place = { bytes, packetStart, bodyStart, end, version, topicOfAlias }
      const topic = type === PacketType.publish ? readPublish(place).topic : undefined
      for (const trace of this.#traces) {
        const { scope, connections } = trace
        const isMeant =
          scope.filter === undefined
            ? connections.has(connection)
            : isIn(connection, trace) &&
              (topic === undefined
                ? type === PacketType.subscribe && asksFor(scope.filter, place)
                : topicMatches(scope.filter, topic))
        if (isMeant) take(trace, connection, 'in', () => packetFacts(place, scope.payload))
      }
    })
  }

  sent(connection: Connection, packet: Buffer): void {
    this.#safely(() => {
      const bodyStart = bodyStartOf(packet)
      if (bodyStart === undefined) return
      const isPublish = packet[0]! >> 4 === PacketType.publish
      const place = this.#outgoing(connection, packet, bodyStart)
      const topic = isPublish ? this.#topicOf(connection, place) : undefined
      for (const trace of this.#traces) {
        const { scope, connections } = trace
        const isMeant =
          scope.filter === undefined
            ? connections.has(connection)
            : topic !== undefined && isIn(connection, trace) && topicMatches(scope.filter, topic)
        if (isMeant) take(trace, connection, 'out', () => packetFacts(place, scope.payload))
      }
    })
  }

  sentPiece(connection: Connection, bytes: Buffer): void {
    const before = this.#pieces.get(connection)
    const packet = before === undefined ? bytes : Buffer.concat([before, bytes])
    const bodyStart = bodyStartOf(packet)
    const isWhole = bodyStart !== undefined && packet.length >= bodyStart + (packet[1] ?? 0)
    if (isWhole || packet.length > MAX_PIECES_BYTES) {
      this.#pieces.delete(connection)
      this.sent(connection, packet)
    } else this.#pieces.set(connection, Buffer.from(packet))
  }

  delivered(connection: Connection, message: Message, how: Delivery): void {
    this.#safely(() => {
      const topic = stripMountpoint(message.topic, connection.profile.mountpoint)
      for (const trace of this.#traces) {
        const { filter, payload: withPayload } = trace.scope
        const isMeant =
          filter === undefined
            ? trace.connections.has(connection)
            : isIn(connection, trace) && topicMatches(filter, topic)
        if (!isMeant) continue
        const { bytes, identifiers, ...flags } = how
        const properties = connection.version === 5 ? deliveredProperties(message, identifiers) : undefined
        take(trace, connection, 'out', () => ({
          ...factsOf('PUBLISH', bytes),
          ...publishFacts({ topic, payload: message.payload, ...flags }, withPayload, properties),
        }))
      }
    })
  }

  refused(connection: Connection, why: string): void {
    this.#refusals.set(connection, clip(why))
  }

  closed(connection: Connection, { kind, detail: given }: DisconnectReason): void {
    this.#safely(() => {
      const detail = (kind === 'refused' ? this.#refusals.get(connection) : undefined) ?? given
      const isByPeer = kind === 'client' || kind === 'lost'
      for (const trace of this.#traces) {
        if (!trace.connections.delete(connection)) continue
        take(trace, connection, isByPeer ? 'in' : 'out', () => ({
          ...factsOf('CLOSED', 0),
          detail: clip(detail === undefined ? kind : `${kind}: ${detail}`),
        }))
      }
    })
  }

  /** A client says who it is; unless somebody looks for it, nothing of it is looked at any more. */
  #introduce(connection: Connection, bytes: Buffer, bodyStart: number, end: number): void {
    const packet = decodeConnect(bytes, bodyStart, end)
    const clientId = 'clientId' in packet ? packet.clientId : undefined
    let isWanted = false
    for (const trace of this.#traces) {
      const { client, filter } = trace.scope
      if (client !== undefined && client === clientId && isIn(connection, trace))
        trace.connections.add(connection)
      isWanted ||= filter !== undefined || trace.connections.has(connection)
    }
    if (!isWanted) connection.tap = undefined
  }

  #outgoing(connection: Connection, bytes: Buffer, bodyStart: number): PacketPlace {
    const topicOfAlias = (alias: number): string | undefined => this.#aliases.get(connection)?.get(alias)
    const { version } = connection
    return { bytes, packetStart: 0, bodyStart, end: bytes.length, version, topicOfAlias }
  }

  /** Notes what its alias stands for. */
  #topicOf(connection: Connection, place: PacketPlace): string {
    const { topic, properties } = readPublish(place)
    const { topicAlias } = properties
    if (topicAlias === undefined || topic === '') return topic
    const aliases = this.#aliases.get(connection) ?? new Map<number, string>()
    this.#aliases.set(connection, aliases.set(topicAlias, topic))
    return topic
  }

  #safely(look: () => void): void {
    try {
      look()
    } catch (error) {
      this.#log.debug({ err: error }, 'packet not traced')
    }
  }
}

function isIn({ profile }: Connection, { scope }: Trace): boolean {
  return profile.mountpoint === scope.mountpoint
}

function take(trace: Trace, connection: Connection, direction: 'in' | 'out', facts: () => PacketFacts): void {
  // Its CONNECT is shown before it has a session.
  if (trace.admit()) trace.keep(connection.session?.id ?? trace.scope.client ?? '', direction, facts())
}

/** A SUBSCRIBE with a filter that may match what the trace looks at. */
function asksFor(filter: string, { bytes, bodyStart, end, version }: PacketPlace): boolean {
  return decodeSubscribe(bytes, bodyStart, end, version).subscriptions.some((one) => {
    const shared = parseShare(one.filter)
    return typeof shared !== 'string' && filtersOverlap(shared?.filter ?? one.filter, filter)
  })
}

/** Behind type and length; undefined: not all of it is there. */
function bodyStartOf(packet: Buffer): number | undefined {
  for (let at = 1; at < Math.min(packet.length, 5); at++) if (packet[at]! < 0x80) return at + 1
  return undefined
}

/** What a PUBLISH to a client of MQTT 5 says about its message; topic aliases are not shown. */
function deliveredProperties(message: Message, identifiers: Buffer | undefined): Readonly<Properties> {
  const { expiresAtMs, properties } = message
  const { subscriptionIdentifiers: _ofRetained, ...described } = properties ?? {}
  const leftSeconds = Math.max(0, Math.ceil((expiresAtMs - Date.now()) / 1_000))
  return {
    ...described,
    ...(expiresAtMs > 0 && { messageExpiryInterval: leftSeconds }),
    ...(identifiers !== undefined && identifiers.length > 0 && identifiersIn(identifiers)),
  }
}

function identifiersIn(encoded: Buffer): Readonly<Properties> {
  const bytes = Buffer.concat([Buffer.alloc(varintBytes(encoded.length)), encoded])
  writeVarint(bytes, 0, encoded.length)
  return decodeProperties(new FieldReader(bytes, 0, bytes.length), ANY_PROPERTY, 'PUBLISH')
}
