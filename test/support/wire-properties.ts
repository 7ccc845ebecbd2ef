import type { Properties } from '../../src/broker/packets/properties.ts'

/** Properties of MQTT 5 on the wire (2.2.2), written and read by another hand than the broker's. */

export type PropertyType = 'byte' | 'uint16' | 'uint32' | 'varint' | 'string' | 'binary' | 'pair'

interface PropertyKind {
  readonly id: number
  readonly type: PropertyType
}

/** MQTT 5, table 2-4. */
export const propertyKinds: Readonly<Record<keyof Properties, PropertyKind>> = {
  payloadFormatIndicator: { id: 1, type: 'byte' },
  messageExpiryInterval: { id: 2, type: 'uint32' },
  contentType: { id: 3, type: 'string' },
  responseTopic: { id: 8, type: 'string' },
  correlationData: { id: 9, type: 'binary' },
  subscriptionIdentifiers: { id: 11, type: 'varint' },
  sessionExpiryInterval: { id: 17, type: 'uint32' },
  assignedClientIdentifier: { id: 18, type: 'string' },
  serverKeepAlive: { id: 19, type: 'uint16' },
  authenticationMethod: { id: 21, type: 'string' },
  authenticationData: { id: 22, type: 'binary' },
  requestProblemInformation: { id: 23, type: 'byte' },
  willDelayInterval: { id: 24, type: 'uint32' },
  requestResponseInformation: { id: 25, type: 'byte' },
  responseInformation: { id: 26, type: 'string' },
  serverReference: { id: 28, type: 'string' },
  reasonString: { id: 31, type: 'string' },
  receiveMaximum: { id: 33, type: 'uint16' },
  topicAliasMaximum: { id: 34, type: 'uint16' },
  topicAlias: { id: 35, type: 'uint16' },
  maximumQos: { id: 36, type: 'byte' },
  retainAvailable: { id: 37, type: 'byte' },
  userProperties: { id: 38, type: 'pair' },
  maximumPacketSize: { id: 39, type: 'uint32' },
  wildcardSubscriptionAvailable: { id: 40, type: 'byte' },
  subscriptionIdentifierAvailable: { id: 41, type: 'byte' },
  sharedSubscriptionAvailable: { id: 42, type: 'byte' },
}

const nameOfId = new Map(
  Object.entries(propertyKinds).map(([name, { id }]) => [id, name as keyof Properties] as const),
)

/** By name; or the bytes of the properties as they are, legal or not, without their length. */
export type WireProperties = Readonly<Properties> | Buffer

/** With their length in front. */
export function propertiesField(properties: WireProperties = {}): Buffer {
  const bytes = Buffer.isBuffer(properties) ? properties : propertiesBytes(properties)
  return Buffer.concat([varint(bytes.length), bytes])
}

/** Without their length. */
export function propertiesBytes(properties: Readonly<Properties>): Buffer {
  const parts = Object.entries(properties).flatMap(([name, value]) => {
    const { id, type } = propertyKinds[name as keyof Properties]
    const values = Array.isArray(value) ? (value as unknown[]) : [value]
    return values.map((one) => Buffer.concat([Buffer.of(id), encodeValue(type, one)]))
  })
  return Buffer.concat(parts)
}

function encodeValue(type: PropertyType, value: unknown): Buffer {
  switch (type) {
    case 'byte':
      return Buffer.of(value as number)
    case 'uint16':
      return numberField(value as number, 2)
    case 'uint32':
      return numberField(value as number, 4)
    case 'varint':
      return varint(value as number)
    case 'string':
    case 'binary':
      return textField(value as string | Buffer)
    case 'pair':
      return Buffer.concat((value as readonly [string, string]).map(textField))
    default:
      return type satisfies never
  }
}

function numberField(value: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  bytes.writeUIntBE(value, 0, length)
  return bytes
}

function textField(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([numberField(bytes.length, 2), bytes])
}

/** Variable byte integer (MQTT 5, 1.5.5). */
export function varint(value: number): Buffer {
  const bytes: number[] = []
  do {
    const rest = Math.floor(value / 128)
    bytes.push((value % 128) | (rest > 0 ? 0x80 : 0))
    value = rest
  } while (value > 0)
  return Buffer.from(bytes)
}

/** The properties whose length stands at `start`, and the offset behind them. @throws Error when a broker may not send them. */
export function readProperties(body: Buffer, start: number): { properties: Properties; end: number } {
  const length = readVarint(body, start)
  const end = length.end + length.value
  if (end > body.length) throw new Error('properties reach beyond the packet')
  const properties: Record<string, unknown> = {}
  let position = length.end
  while (position < end) {
    const id = body[position]!
    const name = nameOfId.get(id)
    if (name === undefined) throw new Error(`property ${id} is unknown`)
    const read = readValue(body, position + 1, propertyKinds[name].type)
    position = read.end
    if (name === 'userProperties' || name === 'subscriptionIdentifiers')
      ((properties[name] ??= []) as unknown[]).push(read.value)
    else if (name in properties) throw new Error(`${name} came twice`)
    else properties[name] = read.value
  }
  if (position !== end) throw new Error('a property reaches beyond the properties')
  return { properties, end }
}

interface Read<T> {
  readonly value: T
  readonly end: number
}

function readValue(body: Buffer, at: number, type: PropertyType): Read<unknown> {
  switch (type) {
    case 'byte':
      return { value: body.readUInt8(at), end: at + 1 }
    case 'uint16':
      return { value: body.readUInt16BE(at), end: at + 2 }
    case 'uint32':
      return { value: body.readUInt32BE(at), end: at + 4 }
    case 'varint':
      return readVarint(body, at)
    case 'binary':
      return readBinary(body, at)
    case 'string':
      return readText(body, at)
    case 'pair': {
      const name = readText(body, at)
      const value = readText(body, name.end)
      return { value: [name.value, value.value], end: value.end }
    }
    default:
      return type satisfies never
  }
}

function readBinary(body: Buffer, at: number): Read<Buffer> {
  const end = at + 2 + body.readUInt16BE(at)
  if (end > body.length) throw new Error('a property reaches beyond the packet')
  return { value: Buffer.from(body.subarray(at + 2, end)), end }
}

function readText(body: Buffer, at: number): Read<string> {
  const { value, end } = readBinary(body, at)
  return { value: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(value), end }
}

function readVarint(body: Buffer, at: number): Read<number> {
  let value = 0
  for (let factor = 1, position = at; factor <= 2_097_152; factor *= 128) {
    const byte = body.readUInt8(position++)
    value += (byte & 0x7f) * factor
    if (byte < 0x80) return { value, end: position }
  }
  throw new Error('a number of more than four bytes')
}
