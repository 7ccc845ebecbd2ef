import type { MessageProperties } from '../hooks/types.ts'
import { NO_PROPERTIES, type Properties } from './packets/properties.ts'

/** What travels with the message: all that a PUBLISH says but how long it is worth having (MQTT 5, 3.3.2.3). */
export function messageProperties(properties: Readonly<Properties>): MessageProperties | undefined {
  if (properties === NO_PROPERTIES) return undefined
  if (properties.messageExpiryInterval === undefined) return frozen(properties)
  const { messageExpiryInterval: _seconds, ...rest } = properties
  return Object.keys(rest).length === 0 ? undefined : frozen(rest)
}

/** Handlers put a new object in their place, which is checked: what they would change in this one would not be. */
function frozen(properties: MessageProperties): MessageProperties {
  const { userProperties = [] } = properties
  for (const pair of userProperties) Object.freeze(pair)
  Object.freeze(userProperties)
  return Object.freeze(properties)
}

/**
 * Unix time in ms; 0: never. `seconds`: what the publisher has said; `mostMs`: of the configuration, 0: no bound. With 0
 * seconds it goes to whoever is there now. [MQTT-3.3.2-5]
 */
export function expiresAt(nowMs: number, seconds: number | undefined, mostMs: number): number {
  if (seconds === undefined) return mostMs === 0 ? 0 : nowMs + mostMs
  const ms = Math.max(1, seconds * 1_000)
  return nowMs + (mostMs === 0 ? ms : Math.min(ms, mostMs))
}

/**
 * Why what a handler has put in their place cannot be sent or stored; it is JavaScript, and can have put anything there.
 * What is no property of a message would be found wrong when it is read back from a store, and the message with it.
 */
export function rewrittenFault(
  properties: MessageProperties | undefined,
  expirySeconds: number | undefined,
): string | undefined {
  if (expirySeconds !== undefined && !isSeconds(expirySeconds)) return 'messageExpirySeconds'
  if (properties === undefined) return undefined
  if (typeof properties !== 'object' || properties === null) return 'properties'
  const { payloadFormatIndicator, contentType, responseTopic, correlationData, userProperties, ...others } =
    properties
  const [other] = Object.keys(others)
  if (other !== undefined) return other
  if (![undefined, 0, 1].includes(payloadFormatIndicator)) return 'payloadFormatIndicator'
  if (contentType !== undefined && !isText(contentType)) return 'contentType'
  if (responseTopic !== undefined && !(isText(responseTopic) && /^[^+#]+$/s.test(responseTopic)))
    return 'responseTopic'
  if (
    correlationData !== undefined &&
    !(Buffer.isBuffer(correlationData) && correlationData.length <= MAX_BYTES)
  )
    return 'correlationData'
  const arePairs =
    userProperties === undefined ||
    (Array.isArray(userProperties) &&
      userProperties.every((pair) => Array.isArray(pair) && pair.length === 2 && pair.every(isText)))
  return arePairs ? undefined : 'userProperties'
}

/** Of a payload, as {@link rewrittenFault}: what is no bytes would be sent as zeros. */
export function payloadFault(payload: Buffer): string | undefined {
  return payload instanceof Uint8Array ? undefined : 'payload'
}

/** As a four byte integer says them (MQTT 5, 3.3.2.3.3). */
function isSeconds(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff
}

/** Of a field of a packet. */
const MAX_BYTES = 65_535

/** UTF-8 without U+0000, of which a lone surrogate has none. [MQTT-1.5.4-1] [MQTT-1.5.4-2] */
function isText(text: unknown): boolean {
  if (typeof text !== 'string' || text.includes('\0')) return false
  const bytes = Buffer.from(text)
  return bytes.length <= MAX_BYTES && bytes.toString() === text
}
