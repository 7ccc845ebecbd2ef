import { AuthError, RefuseReason } from './types.ts'

/** What a chain has decided, with what a log line and a CONNACK need. */
export interface Decision {
  readonly allowed: boolean
  /** Name of the handler that decided; `none` when no handler had an opinion. */
  readonly handler: string
  /** For the log, never for the client. */
  readonly reason?: string
  /** Decides the CONNACK code; set on every refusal. */
  readonly refuse?: RefuseReason
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
    return { allowed: false, handler, reason: error.message, refuse }
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

const refuseReasons = new Set<unknown>(Object.values(RefuseReason))

// By name: a handler's module may have been given the class by another copy of this package.
function isAuthError(error: unknown): error is AuthError {
  return error instanceof AuthError || (error instanceof Error && error.name === 'AuthError')
}
