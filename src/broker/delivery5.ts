import type { Connection } from './connection.ts'
import type { Message } from './message.ts'
import { ALIAS_BYTES, ALIAS_ONLY, NOTHING_OWN, type OwnProperties, publishBytes5 } from './publish-wire.ts'

/** What an alias adds to the packet that introduces it: both lengths may take one byte more. */
const INTRODUCTION_BYTES = ALIAS_BYTES + 2

/** A message, as one client is sent it. */
export interface Delivery5 {
  readonly message: Message
  /** Without the mountpoint of the listener. */
  readonly topic: string
  readonly withId: boolean
  /** Subscription identifiers, encoded. */
  readonly identifiers: Buffer
}

/** Bytes of the PUBLISH without a topic alias. */
function bytesOf({ message, topic, withId, identifiers }: Delivery5): number {
  const propertyBytes = message.properties5.length + identifiers.length
  return publishBytes5(Buffer.byteLength(topic), message.payload.length, withId, propertyBytes)
}

/** The client takes packets of this size [MQTT-3.1.2-24]. */
export function fits(maximumPacketSize: number, delivery: Delivery5): boolean {
  return maximumPacketSize === Infinity || bytesOf(delivery) <= maximumPacketSize
}

/**
 * Writes a PUBLISH of MQTT 5; returns its bytes. Nearly always it is the same for all receivers: what is a receiver's own
 * are subscription identifiers, the packet that introduces an alias, and a mountpoint.
 */
export function writePublish5(
  connection: Connection,
  delivery: Delivery5,
  first: number,
  messageId: number,
): number {
  const { message, topic, withId, identifiers } = delivery
  const { aliases } = connection
  const known = aliases === undefined ? 0 : aliases.of(topic)
  const isAliased = known !== 0
  const isNew =
    !isAliased && aliases?.hasOneFor(topic) === true && hasRoomForAlias(connection, bytesOf(delivery))
  const alias = isNew ? aliases.introduce(topic) : known
  const { outbound } = connection
  const isShared =
    identifiers.length === 0 && (isAliased || (alias === 0 && topic.length === message.topic.length))
  if (isShared && message.wasSent)
    return outbound.writePublish(message.wire5(withId, isAliased), first, messageId, alias)
  message.wasSent = true
  const own = ownOf(alias !== 0, identifiers)
  const { payload, properties5: shared } = message
  return outbound.encodePublish(
    { topic: isAliased ? '' : topic, payload, withId, shared, own },
    first,
    messageId,
    alias,
  )
}

function ownOf(hasAlias: boolean, identifiers: Buffer): OwnProperties {
  if (identifiers.length > 0) return { hasAlias, identifiers }
  return hasAlias ? ALIAS_ONLY : NOTHING_OWN
}

/** Writes a frame of a tunnel, whose topic repeats more than any other; returns the bytes, or 0: the client takes no packets of its size. */
export function writeFrame5(connection: Connection, topic: string, frame: Buffer): number {
  const { aliases, terms } = connection
  const wholeBytes = publishBytes5(topic.length, frame.length, false, 0)
  if (wholeBytes > terms!.maximumPacketSize) return 0
  const known = aliases === undefined ? 0 : aliases.of(topic)
  const isNew = known === 0 && aliases?.hasOneFor(topic) === true && hasRoomForAlias(connection, wholeBytes)
  const alias = isNew ? aliases.introduce(topic) : known
  const own = alias === 0 ? NOTHING_OWN : ALIAS_ONLY
  const parts = { topic: known !== 0 ? '' : topic, payload: frame, withId: false, shared: NOTHING, own }
  const bytes = publishBytes5(parts.topic.length, frame.length, false, alias === 0 ? 0 : ALIAS_BYTES)
  // Before it is written.
  connection.countTunnel(bytes)
  connection.outbound.encodePublish(parts, PUBLISH_QOS0, 0, alias)
  return bytes
}

function hasRoomForAlias({ terms }: Connection, wholeBytes: number): boolean {
  return wholeBytes + INTRODUCTION_BYTES <= terms!.maximumPacketSize
}

const NOTHING = Buffer.alloc(0)
const PUBLISH_QOS0 = 0x30
