import type { CoapOption } from './message.ts'
import { OptionNumber, uintOption } from './options.ts'

/** Content-Formats (RFC 7252, 12.3, and IANA's list), as MQTT names what they stand for. */
const TYPES: readonly (readonly [number: number, contentType: string])[] = [
  [0, 'text/plain;charset=utf-8'],
  [40, 'application/link-format'],
  [41, 'application/xml'],
  [42, 'application/octet-stream'],
  [47, 'application/exi'],
  [50, 'application/json'],
  [60, 'application/cbor'],
  [110, 'application/senml+json'],
  [112, 'application/senml+cbor'],
  [11_542, 'application/vnd.oma.lwm2m+tlv'],
  [11_543, 'application/vnd.oma.lwm2m+json'],
]
const TYPE_OF_NUMBER = new Map(TYPES)
const NUMBER_OF_TYPE = new Map(TYPES.map(([number, type]) => [type, number]))

/** Undefined: nobody knows that number here. */
export function contentTypeOf(number: number): string | undefined {
  return TYPE_OF_NUMBER.get(number)
}

/** The option for a message of this content type; none, where it has no number. */
export function contentFormatOption(contentType: string | undefined): readonly CoapOption[] {
  if (contentType === undefined) return []
  const plain = contentType.toLowerCase().replaceAll(/[\s"]/g, '')
  const number = NUMBER_OF_TYPE.get(plain === 'text/plain' ? 'text/plain;charset=utf-8' : plain)
  return number === undefined ? [] : [uintOption(OptionNumber.contentFormat, number)]
}
