import type { Connection } from './connection.ts'
import type { Message } from './message.ts'
import { ALIAS_BYTES, encodePublish5, publishBytes5 } from './publish-wire.ts'

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
  const isNew = !isAliased && aliases !== undefined && hasRoomForAlias(connection, delivery)
  const alias = isNew ? aliases.introduce(topic) : known
  const isShared =
    identifiers.length === 0 && (isAliased || (alias === 0 && topic.length === message.topic.length))
  const wire = isShared
    ? message.wire5(withId, isAliased)
    : encodePublish5(isAliased ? '' : topic, message.payload, withId, message.properties5, {
        hasAlias: alias !== 0,
        identifiers,
      })
  connection.outbound.writePublish(wire, first, messageId, alias)
  return wire.bytes.length + (wire.payload?.length ?? 0)
}

function hasRoomForAlias({ terms }: Connection, delivery: Delivery5): boolean {
  const { maximumPacketSize } = terms!
  return maximumPacketSize === Infinity || bytesOf(delivery) + INTRODUCTION_BYTES <= maximumPacketSize
}
