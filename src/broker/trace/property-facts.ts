import type { Properties } from '../packets/properties.ts'

/** Bytes of correlation data that are shown. */
const SHOWN_BYTES = 16

type Describe<Name extends keyof Properties> = (value: NonNullable<Properties[Name]>) => string

const seconds =
  (what: string): ((value: number) => string) =>
  (value) =>
    value === 0xffff_ffff ? `${what} never` : `${what} ${value} s`
const named =
  (what: string): ((value: number | string) => string) =>
  (value) =>
    `${what} ${value}`
const available =
  (what: string): ((value: 0 | 1) => string) =>
  (value) =>
    `${what} ${value === 1 ? 'available' : 'not available'}`

/** In the order of their identifiers (MQTT 5, 2.2.2.2). */
const DESCRIBE: { readonly [Name in keyof Required<Properties>]: Describe<Name> } = {
  payloadFormatIndicator: (value) => `payload is ${value === 1 ? 'text' : 'bytes'}`,
  messageExpiryInterval: seconds('expires in'),
  contentType: named('content type'),
  responseTopic: named('response topic'),
  correlationData: (value) => `correlation data ${shownBytes(value)}`,
  subscriptionIdentifiers: (value) => `subscription identifier ${value.join(' ')}`,
  sessionExpiryInterval: (value) =>
    value === 0xffff_ffff ? 'session expiry never' : `session expiry ${value} s`,
  assignedClientIdentifier: named('assigned client id'),
  serverKeepAlive: seconds('server keep alive'),
  authenticationMethod: named('authentication method'),
  // Never what is in it.
  authenticationData: () => 'with authentication data',
  requestProblemInformation: named('request problem information'),
  willDelayInterval: seconds('will delay'),
  requestResponseInformation: named('request response information'),
  responseInformation: named('response information'),
  serverReference: named('server reference'),
  reasonString: (value) => JSON.stringify(value),
  receiveMaximum: named('receive maximum'),
  topicAliasMaximum: named('topic alias maximum'),
  topicAlias: named('topic alias'),
  maximumQos: named('maximum QoS'),
  retainAvailable: available('retain'),
  userProperties: (value) => value.map(([name, text]) => `${name}=${JSON.stringify(text)}`).join(', '),
  maximumPacketSize: (value) => `maximum packet size ${value} bytes`,
  wildcardSubscriptionAvailable: available('wildcard subscriptions'),
  subscriptionIdentifierAvailable: available('subscription identifiers'),
  sharedSubscriptionAvailable: available('shared subscriptions'),
}
const NAMES = Object.keys(DESCRIBE) as (keyof Properties)[]

/** Each that there is, in words; of authentication data only that it is there. */
export function propertyFacts(properties: Readonly<Properties>): string[] {
  return NAMES.filter((name) => properties[name] !== undefined).map((name) =>
    (DESCRIBE[name] as (value: unknown) => string)(properties[name]),
  )
}

function shownBytes(bytes: Buffer): string {
  const more = bytes.length > SHOWN_BYTES ? `…, ${bytes.length} bytes` : ''
  return `${bytes.toString('hex', 0, SHOWN_BYTES)}${more}`
}
