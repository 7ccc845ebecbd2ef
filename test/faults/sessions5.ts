import type { Properties } from '../../src/broker/packets/properties.ts'
import type { Delivery, LoadClient, LoadClientOptions, Outgoing } from '../support/load-client.ts'

/** What the client takes at once: less than the broker would send. */
const receiveMaximum = 5
const expirySeconds = 3_600

/** A session of MQTT 5 that is stored, unless `clean`; it takes little at once, and topic aliases. */
export const session5 = {
  version: 5,
  sessionExpirySeconds: expirySeconds,
  receiveMaximum,
  topicAliasMaximum: 1,
} as const satisfies Partial<LoadClientOptions>

/** Of the message with this number; all are encoded in as many bytes. */
function propertiesOf(number: number): Properties {
  return {
    contentType: 'text/plain',
    correlationData: Buffer.of(0xff, number >> 16, number >> 8, number),
    userProperties: [['number', String(number).padStart(8, '0')]],
  }
}

/** What it counts for beside its payload (src/store/counted-bytes.ts), at rest in JSON. */
export const propertyBytes5 =
  4 +
  JSON.stringify({ ...propertiesOf(0), correlationData: propertiesOf(0).correlationData!.toString('base64') })
    .length

export function with5(message: Outgoing, number: number): Outgoing {
  return { ...message, properties: { ...propertiesOf(number), messageExpiryInterval: expirySeconds } }
}

/** What is wrong with the properties of the message with this number, as it came; undefined: nothing. */
export function fault5({ properties = {} }: Delivery, number: number): string | undefined {
  const { messageExpiryInterval = 0, topicAlias: _alias, ...others } = properties
  const isCounted = messageExpiryInterval > 0 && messageExpiryInterval <= expirySeconds
  const text = JSON.stringify(others)
  const wrong = JSON.stringify(propertiesOf(number)) === text ? undefined : text
  return isCounted ? wrong : `expiry ${messageExpiryInterval}`
}

/** What is wrong with what has come in order: with properties, or more at once than the client takes. Before MQTT 5: nothing. */
export function faults5({ options, received, mostUnsettledCount }: LoadClient): string[] {
  if (options.version !== 5) return []
  const faults = received.flatMap((delivery, number) => fault5(delivery, number) ?? [])
  return mostUnsettledCount <= receiveMaximum ? faults : [...faults, `${mostUnsettledCount} at once`]
}
