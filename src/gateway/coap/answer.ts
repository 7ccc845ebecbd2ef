import type { DoorError } from '../../broker/door/contract.ts'
import { Code, NO_BYTES, type CoapOption } from './message.ts'
import { OptionNumber, uintOption } from './options.ts'

/** A response without what the message layer adds: type, message id and token. */
export interface Answer {
  readonly code: Code
  readonly options: readonly CoapOption[]
  readonly payload: Buffer
}

/** Ends the handling of a request with an answer of class 4 or 5. The message goes to the client (RFC 7252, 5.5.2). */
export class CoapRefusal extends Error {
  readonly code: Code
  readonly options: readonly CoapOption[]
  override name = 'CoapRefusal'

  constructor(code: Code, message: string, options: readonly CoapOption[] = []) {
    super(message)
    this.code = code
    this.options = options
  }
}

/** When to come again, where nothing better is known. */
const RETRY_AFTER_SECONDS = 10

/** RFC 8516: Max-Age of 4.29 is the time after which the client may try again; RFC 7252, 5.9.3.4 says so of 5.03. */
export function later(code: 0x9d | 0xa3, message: string, seconds = RETRY_AFTER_SECONDS): CoapRefusal {
  return new CoapRefusal(code, message, [uintOption(OptionNumber.maxAge, seconds)])
}

/** What the broker does not do, in CoAP's words. */
export function refusalOf({ failure, message }: DoorError): CoapRefusal {
  switch (failure) {
    case 'bad-credentials':
      return new CoapRefusal(Code.unauthorized, message)
    case 'forbidden':
      return new CoapRefusal(Code.forbidden, message)
    case 'limited':
      return later(Code.tooManyRequests, message)
    case 'unavailable':
      return later(Code.serviceUnavailable, message)
    case 'malformed':
      return new CoapRefusal(Code.badRequest, message)
    case 'too-large':
      return new CoapRefusal(Code.requestEntityTooLarge, message)
    case 'gone':
      return later(Code.serviceUnavailable, message, 0)
    default:
      return failure satisfies never
  }
}

/** A diagnostic is short: the answer to a stranger must not be larger than what it takes to ask. */
const MAX_DIAGNOSTIC_BYTES = 64

export function answerOf({ code, options, message }: CoapRefusal): Answer {
  return { code, options, payload: Buffer.from(message).subarray(0, MAX_DIAGNOSTIC_BYTES) }
}

export function plainAnswer(code: Code, options: readonly CoapOption[] = []): Answer {
  return { code, options, payload: NO_BYTES }
}
