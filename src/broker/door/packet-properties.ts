import type { MessageProperties, UserProperties } from '../../hooks/types.ts'

/** What MQTT 5 says about a message beside topic and payload, as mqtt-packet and MQTT.js have it (both ways). */
export interface PacketProperties {
  payloadFormatIndicator?: boolean
  /** Seconds. */
  messageExpiryInterval?: number
  contentType?: string
  responseTopic?: string
  correlationData?: Buffer
  userProperties?: Record<string, string | string[]>
}

/** The same in our words. */
export interface MessageDescription {
  readonly properties?: MessageProperties
  /** For which it is worth having, from now; undefined: no end is known. */
  readonly expirySeconds?: number
}

/** Undefined: there is nothing to say. */
export function packetPropertiesOf(message: MessageDescription): PacketProperties | undefined {
  const { properties, expirySeconds } = message
  if (properties === undefined && expirySeconds === undefined) return undefined
  const { payloadFormatIndicator, contentType, responseTopic, correlationData, userProperties } =
    properties ?? {}
  return {
    ...(payloadFormatIndicator !== undefined && { payloadFormatIndicator: payloadFormatIndicator === 1 }),
    ...(expirySeconds !== undefined && { messageExpiryInterval: expirySeconds }),
    ...(contentType !== undefined && { contentType }),
    ...(responseTopic !== undefined && { responseTopic }),
    ...(correlationData !== undefined && { correlationData }),
    ...(userProperties !== undefined && { userProperties: grouped(userProperties) }),
  }
}

export function descriptionOf(packet: PacketProperties | undefined): MessageDescription {
  if (packet === undefined) return {}
  const { payloadFormatIndicator, messageExpiryInterval, contentType, responseTopic } = packet
  const { correlationData, userProperties } = packet
  const properties: MessageProperties = {
    ...(payloadFormatIndicator !== undefined && { payloadFormatIndicator: payloadFormatIndicator ? 1 : 0 }),
    ...(contentType !== undefined && { contentType }),
    ...(responseTopic !== undefined && { responseTopic }),
    ...(correlationData !== undefined && { correlationData: Buffer.from(correlationData) }),
    ...(userProperties !== undefined && { userProperties: pairsOf(userProperties) }),
  }
  return {
    ...(Object.keys(properties).length > 0 && { properties }),
    ...(messageExpiryInterval !== undefined && { expirySeconds: messageExpiryInterval }),
  }
}

/** Those of one name come together; of one name they stay in their order. */
function grouped(pairs: UserProperties): Record<string, string | string[]> {
  // A name is any text, `__proto__` too.
  const values: Record<string, string[]> = Object.create(null)
  for (const [name, value] of pairs) (values[name] ??= []).push(value)
  return values
}

function pairsOf(values: Record<string, string | string[]>): UserProperties {
  return Object.entries(values).flatMap(([name, value]) =>
    [value].flat().map((one): readonly [string, string] => [name, one]),
  )
}

/** Bytes of the properties of a PUBLISH, at most, with their length (MQTT 5, 3.3.2.3). */
export function propertyBytes({ properties, expirySeconds }: MessageDescription): number {
  if (properties === undefined) return expirySeconds === undefined ? 1 : 6
  let bytes = LENGTH_BYTES + (expirySeconds === undefined ? 0 : 5)
  const { contentType, responseTopic, correlationData, userProperties = [] } = properties
  bytes += 2
  for (const field of [contentType, responseTopic, correlationData])
    if (field !== undefined) bytes += 3 + Buffer.byteLength(field)
  for (const [name, value] of userProperties) bytes += 5 + Buffer.byteLength(name) + Buffer.byteLength(value)
  return bytes
}

const LENGTH_BYTES = 4
