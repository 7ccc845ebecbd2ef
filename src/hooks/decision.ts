import { AuthError, RefuseReason, type AuthAnswer, type NoOpinion, type UserProperties } from './types.ts'

/** What a chain has decided, with what a log line and a CONNACK need. */
export interface Decision {
  readonly allowed: boolean
  /** Name of the handler that decided; `none` when no handler had an opinion. */
  readonly handler: string
  /** For the log, never for the client. */
  readonly reason?: string
  /** Decides the CONNACK code; set on every refusal. */
  readonly refuse?: RefuseReason
  /** For a client of MQTT 5: the handler's own reason code; broker/reason-of.ts says where it may be sent. */
  readonly reasonCode?: number
  /** For a client of MQTT 5: a reason string, and user properties of CONNACK and DISCONNECT. */
  readonly clientText?: string
  readonly userProperties?: UserProperties
  /** Of authenticate, when it allows: another round, or the end. */
  readonly answer?: Exclude<AuthAnswer, NoOpinion>
  /** Set when the handler failed (threw something else, hung) instead of refusing: ours to repair. */
  readonly cause?: unknown
}

/** A decision that a handler is still working on. `promise` never rejects. */
export class PendingDecision {
  readonly promise: Promise<Decision>
  /** Name of the handler that is being waited for. */
  handler: string
  abandoned = false

  constructor(handler: string, run: (pending: PendingDecision) => Promise<Decision>) {
    this.handler = handler
    this.promise = run(this)
  }

  /** Nobody waits any more: no further handler of the chain is asked. */
  abandon(): void {
    this.abandoned = true
  }
}

/** The one decision object that is shared by everything a handler allows, so that allowing costs nothing. */
export function allowedBy(handler: string): Decision {
  return Object.freeze({ allowed: true, handler })
}

/** No handler of the chain had an opinion. */
export function undecided(refuse: RefuseReason): Decision {
  return Object.freeze({ allowed: false, handler: 'none', reason: 'no handler has an opinion', refuse })
}

/** A refusal, told by {@link AuthError}, or a failure of the handler, which refuses as well (fail closed). */
export function refusedBy(handler: string, error: unknown): Decision {
  if (isAuthError(error)) {
    const refuse = refuseReasons.has(error.reason) ? error.reason : RefuseReason.notAuthorized
    return { allowed: false, handler, reason: error.message, refuse, ...detailsOf(error) }
  }
  return {
    allowed: false,
    handler,
    reason: 'the handler failed',
    // The client has done nothing wrong and may come again: CONNACK 3.
    refuse: RefuseReason.unavailable,
    cause: error ?? new TypeError('the handler threw nothing'),
  }
}

/** JavaScript may have put anything there: what is not right is left out. */
function detailsOf(error: AuthError): Pick<Decision, 'reasonCode' | 'clientText' | 'userProperties'> {
  const { reasonCode, reasonString, userProperties } = error
  return {
    ...(isRefusalCode(reasonCode) && { reasonCode }),
    ...(isText(reasonString) && { clientText: reasonString }),
    ...(isUserProperties(userProperties) && { userProperties }),
  }
}

function isRefusalCode(code: unknown): code is number {
  return typeof code === 'number' && Number.isInteger(code) && code >= 0x80 && code <= 0xa2
}

/** Of a refusal; longer ones are nobody's help. */
const MAX_REASON_CHARACTERS = 1_000
const MAX_USER_PROPERTIES = 20

/** It can be a text of MQTT (1.5.4): no U+0000, no lone surrogates. */
function isText(text: unknown): text is string {
  return (
    typeof text === 'string' &&
    text.length <= MAX_REASON_CHARACTERS &&
    !text.includes('\0') &&
    Buffer.from(text).toString() === text
  )
}

export function isUserProperties(pairs: unknown): pairs is UserProperties {
  return (
    Array.isArray(pairs) &&
    pairs.length <= MAX_USER_PROPERTIES &&
    pairs.every((pair) => Array.isArray(pair) && pair.length === 2 && pair.every(isText))
  )
}

const refuseReasons = new Set<unknown>(Object.values(RefuseReason))

// By name: a handler's module may have been given the class by another copy of this package.
function isAuthError(error: unknown): error is AuthError {
  return error instanceof AuthError || (error instanceof Error && error.name === 'AuthError')
}
