import { PendingDecision, refusedBy, type Decision } from './decision.ts'
import { noOpinion, RefuseReason, type AuthExchange, type Handler, type Session } from './types.ts'

/** A handler that can lead an exchange, or look at it before another does. */
export interface Authenticator {
  readonly name: string
  readonly handler: Pick<Handler, 'authenticate' | 'authMethods'>
}

/** One round of an exchange, asked of the handlers of a chain. */
export type AskAuthentication = (
  session: Session,
  exchange: AuthExchange,
  data: Buffer | undefined,
) => Decision | PendingDecision

type Call = (session: Session, exchange: AuthExchange, data: Buffer | undefined) => unknown

interface Step {
  readonly name: string
  readonly methods: readonly string[] | undefined
  readonly call: Call
}

/** Nobody knows the method. [MQTT-4.12.0-1] */
const unknownMethod: Decision = Object.freeze({
  allowed: false,
  handler: 'none',
  reason: 'no handler knows this authentication method',
  refuse: RefuseReason.notAuthorized,
  reasonCode: 0x8c, // bad authentication method
})

/** In the first round the handlers are asked in their order; who then has an opinion has the exchange to its end. */
export function compileAuthentication(authenticators: readonly Authenticator[]): AskAuthentication {
  const steps = authenticators.flatMap(({ name, handler }): Step[] => {
    if (handler.authenticate === undefined) return []
    // bind keeps private fields of handlers that are classes reachable.
    return [{ name, methods: handler.authMethods, call: handler.authenticate.bind(handler) }]
  })
  const leaders = new WeakMap<AuthExchange, Step>()

  function taken(step: Step, exchange: AuthExchange, verdict: unknown): Decision | undefined {
    const isLeader = leaders.get(exchange) === step
    if (verdict === noOpinion && !isLeader) return undefined
    if (!isAnswer(verdict)) return refusedBy(step.name, notAnAnswer(verdict))
    leaders.set(exchange, step)
    return { allowed: true, handler: step.name, answer: verdict }
  }

  async function decideLater(
    pending: PendingDecision,
    asked: readonly Step[],
    first: PromiseLike<unknown>,
    round: Parameters<Call>,
  ): Promise<Decision> {
    for (const [index, step] of asked.entries()) {
      if (pending.abandoned) break
      pending.handler = step.name
      try {
        const verdict: unknown = await (index === 0 ? first : step.call(...round))
        const decision = taken(step, round[1], verdict)
        if (decision !== undefined) return decision
      } catch (error) {
        return refusedBy(step.name, error)
      }
    }
    return unknownMethod
  }

  return (...round) => {
    const [, exchange] = round
    const leader = leaders.get(exchange)
    const asked = leader === undefined ? steps.filter(({ methods }) => knows(methods, exchange)) : [leader]
    for (const [index, step] of asked.entries()) {
      try {
        const verdict = step.call(...round)
        if (isThenable(verdict))
          return new PendingDecision(step.name, (pending) =>
            decideLater(pending, asked.slice(index), verdict, round),
          )
        const decision = taken(step, exchange, verdict)
        if (decision !== undefined) return decision
      } catch (error) {
        return refusedBy(step.name, error)
      }
    }
    return unknownMethod
  }
}

function knows(methods: readonly string[] | undefined, { method }: AuthExchange): boolean {
  return methods === undefined || methods.includes(method)
}

/** A field of a packet takes no more (MQTT 5, 1.5.6). */
const MAX_DATA_BYTES = 65_535

function isAnswer(verdict: unknown): verdict is NonNullable<Decision['answer']> {
  if (typeof verdict !== 'object' || verdict === null) return false
  if ('continue' in verdict) return isData(verdict.continue)
  return 'success' in verdict && (verdict.success === undefined || isData(verdict.success))
}

function isData(data: unknown): boolean {
  return Buffer.isBuffer(data) && data.length <= MAX_DATA_BYTES
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}

// Nothing is no answer here: a round that somebody forgot must not let in.
function notAnAnswer(verdict: unknown): TypeError {
  return new TypeError(
    `authenticate answered ${verdict === noOpinion ? 'noOpinion in a later round' : typeof verdict}: ` +
      'return { continue: Buffer } or { success: Buffer or undefined }, noOpinion in the first round, or throw AuthError',
  )
}
