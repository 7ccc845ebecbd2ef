import { compileAuthentication, type AskAuthentication } from './authentication.ts'
import { allowedBy, PendingDecision, refusedBy, undecided, type Decision } from './decision.ts'
import { tunnelRight } from './tunnel-right.ts'
import { noOpinion, RefuseReason } from './types.ts'
import type {
  Awaitable,
  DisconnectReason,
  Handler,
  PublishRequest,
  Session,
  SubscribeRequest,
  TunnelRequest,
  Verdict,
} from './types.ts'

export type AuthMethod =
  | 'authConnect'
  | 'authenticate'
  | 'authPublish'
  | 'authSubscribe'
  | 'authTunnel'
  | 'authDeliver'
  | 'stillAllowed'
export type NotifyMethod = 'connect' | 'publish' | 'subscribe' | 'unsubscribe' | 'disconnect'

/** Told of an error in a method that has no decision to put it into. */
export type OnError = (handler: string, error: unknown, session: Session) => void

/**
 * Handlers compiled into one. The first opinion decides; if the handlers that have the method have none, it is
 * refused. If no handler has authPublish (authSubscribe), every client that authConnect accepted may
 * publish (subscribe). Answers are synchronous as long as the handlers' are.
 */
export interface Chain {
  /** In the order in which they are asked. */
  readonly handlers: readonly { readonly name: string; readonly handler: Handler }[]
  /** Some handler has the method; otherwise the broker need not ask. */
  readonly decidesPublish: boolean
  readonly decidesSubscribe: boolean
  readonly decidesDeliver: boolean
  readonly wantsConnect: boolean
  readonly wantsPublish: boolean
  readonly wantsSubscribe: boolean
  readonly wantsUnsubscribe: boolean
  readonly wantsDisconnect: boolean
  /** Some handler has a say in it although it has no username: it is not anonymous. */
  recognizes(session: Session): boolean
  authConnect(session: Session): Decision | PendingDecision
  /** A round of an authentication by a method (MQTT 5, 4.12), in place of authConnect. */
  readonly authenticate: AskAuthentication
  /** Of a client that was let in, by whomever: the refusal of a handler that does not want it; undefined: none. */
  vetoConnect(session: Session): Decision | undefined
  authPublish(session: Session, message: PublishRequest): Decision | PendingDecision
  /** `allowed` means: look at `refused` of each subscription. */
  authSubscribe(session: Session, subscriptions: SubscribeRequest[]): Decision | PendingDecision
  /** Handlers without authTunnel are asked for the tunnel's topic (tunnel-right.ts). */
  authTunnel(session: Session, tunnel: TunnelRequest): Decision | PendingDecision
  authDeliver(session: Session, message: Readonly<PublishRequest>, onError: OnError): boolean
  /** False as soon as one handler says so. */
  stillAllowed(session: Session, onError: OnError): Awaitable<boolean>
  connect(onError: OnError, session: Session): void
  publish(onError: OnError, session: Session, message: Readonly<PublishRequest>): void
  subscribe(onError: OnError, session: Session, subscriptions: readonly SubscribeRequest[]): void
  unsubscribe(onError: OnError, session: Session, topics: readonly string[]): void
  disconnect(onError: OnError, session: Session, why: DisconnectReason): void
}

interface Step<Method> {
  readonly handler: string
  readonly call: Method
  readonly allowed: Decision
}

type Methods = Required<Omit<Handler, 'name' | 'explain' | 'recognizes' | 'authMethods' | 'authenticate'>>
type Ask<Request> = (session: Session, request: Request) => Verdict

/** Compiles a chain; handlers are looked at once, here. */
export function createChain(handlers: readonly Handler[]): Chain {
  const connect = steps(handlers, 'authConnect')
  const vetoes = steps(handlers, 'vetoConnect')
  const publish = steps(handlers, 'authPublish')
  const subscribe = steps(handlers, 'authSubscribe')
  const tunnel = { serve: tunnelSteps(handlers, 'serve'), open: tunnelSteps(handlers, 'open') }
  const deliver = steps(handlers, 'authDeliver')
  const still = steps(handlers, 'stillAllowed')
  const recognizers = handlers.filter((handler) => handler.recognizes !== undefined)
  const told = {
    connect: steps(handlers, 'connect'),
    publish: steps(handlers, 'publish'),
    subscribe: steps(handlers, 'subscribe'),
    unsubscribe: steps(handlers, 'unsubscribe'),
    disconnect: steps(handlers, 'disconnect'),
  }
  const named = handlers.map((handler, index) => ({ name: nameOf(handler, index), handler }))
  return {
    handlers: named,
    decidesPublish: publish.length > 0,
    decidesSubscribe: subscribe.length > 0,
    decidesDeliver: deliver.length > 0,
    wantsConnect: told.connect.length > 0,
    wantsPublish: told.publish.length > 0,
    wantsSubscribe: told.subscribe.length > 0,
    wantsUnsubscribe: told.unsubscribe.length > 0,
    wantsDisconnect: told.disconnect.length > 0,
    recognizes: (session) => recognizers.some((handler) => isRecognizedBy(handler, session)),
    // An unknown user gets the same CONNACK as a wrong password, so that names cannot be found out by trying.
    authConnect: (session) =>
      decide(
        connect,
        session,
        undefined,
        session.username === undefined ? nobodyKnown : nobodyKnowsCredentials,
      ),
    authenticate: compileAuthentication(named),
    vetoConnect: (session) => veto(vetoes, session),
    authPublish: (session, message) =>
      publish.length === 0 ? everybody : decide(publish, session, message, nobodyKnown),
    authSubscribe: (session, subscriptions) =>
      subscribe.length === 0 ? everybody : decide(subscribe, session, subscriptions, nobodyKnown),
    authTunnel: (session, request) =>
      tunnel[request.action].length === 0
        ? everybody
        : decide(tunnel[request.action], session, request, nobodyKnown),
    authDeliver: (session, message, onError) => mayDeliver(deliver, session, message, onError),
    stillAllowed: (session, onError) => stillAllowed(still, session, onError),
    connect: (onError, session) => tell(told.connect, onError, session),
    publish: (onError, session, message) => tell(told.publish, onError, session, message),
    subscribe: (onError, session, subscriptions) => tell(told.subscribe, onError, session, subscriptions),
    unsubscribe: (onError, session, topics) => tell(told.unsubscribe, onError, session, topics),
    disconnect: (onError, session, why) => tell(told.disconnect, onError, session, why),
  }
}

const everybody = allowedBy('none')
const nobodyKnown = undecided(RefuseReason.notAuthorized)
const nobodyKnowsCredentials = undecided(RefuseReason.badCredentials)

function steps<Name extends keyof Methods>(
  handlers: readonly Handler[],
  method: Name,
): readonly Step<Methods[Name]>[] {
  // bind keeps private fields of handlers that are classes reachable.
  return stepsOf(handlers, (handler) => handler[method]?.bind(handler) as Methods[Name] | undefined)
}

function tunnelSteps(
  handlers: readonly Handler[],
  action: TunnelRequest['action'],
): readonly Step<Methods['authTunnel']>[] {
  return stepsOf(handlers, (handler) => tunnelRight(handler, action))
}

function stepsOf<Method>(
  handlers: readonly Handler[],
  methodOf: (handler: Handler) => Method | undefined,
): readonly Step<Method>[] {
  return handlers.flatMap((handler, index) => {
    const call = methodOf(handler)
    if (call === undefined) return []
    const name = nameOf(handler, index)
    return [{ handler: name, call, allowed: allowedBy(name) }]
  })
}

/** Asked in vain at worst: the chain decides. */
function isRecognizedBy(handler: Handler, session: Session): boolean {
  try {
    // JavaScript may answer anything.
    const answer: unknown = handler.recognizes?.(session)
    return answer !== false && answer !== undefined
  } catch {
    return true
  }
}

function nameOf(handler: Handler, index: number): string {
  return handler.name ?? `handler ${index + 1}`
}

function decide<Request>(
  chain: readonly Step<Ask<Request>>[],
  session: Session,
  request: Request,
  otherwise: Decision,
): Decision | PendingDecision {
  for (let index = 0; index < chain.length; index++) {
    const step = chain[index]!
    let verdict: unknown
    try {
      verdict = step.call(session, request)
    } catch (error) {
      return refusedBy(step.handler, error)
    }
    if (verdict === undefined) return step.allowed
    if (verdict === noOpinion) continue
    if (!isThenable(verdict)) return refusedBy(step.handler, notAVerdict(verdict))
    return new PendingDecision(step.handler, (pending) =>
      decideLater(pending, chain.slice(index), verdict, (next) => next.call(session, request), otherwise),
    )
  }
  return otherwise
}

function veto(chain: readonly Step<Methods['vetoConnect']>[], session: Session): Decision | undefined {
  for (const { handler, call } of chain) {
    try {
      call(session)
    } catch (error) {
      return refusedBy(handler, error)
    }
  }
  return undefined
}

async function decideLater<Request>(
  pending: PendingDecision,
  chain: readonly Step<Ask<Request>>[],
  first: PromiseLike<unknown>,
  ask: (step: Step<Ask<Request>>) => Verdict,
  otherwise: Decision,
): Promise<Decision> {
  for (const [index, step] of chain.entries()) {
    if (pending.abandoned) break
    pending.handler = step.handler
    try {
      const verdict: unknown = await (index === 0 ? first : ask(step))
      if (verdict === undefined) return step.allowed
      if (verdict !== noOpinion) return refusedBy(step.handler, notAVerdict(verdict))
    } catch (error) {
      return refusedBy(step.handler, error)
    }
  }
  return otherwise
}

function mayDeliver(
  chain: readonly Step<Methods['authDeliver']>[],
  session: Session,
  message: Readonly<PublishRequest>,
  onError: OnError,
): boolean {
  for (const step of chain) {
    try {
      const verdict: unknown = step.call(session, message)
      if (verdict === undefined) continue
      if (typeof verdict === 'boolean') return verdict
      // A promise here is a handler that believes it refuses; let its rejection not end the process.
      if (isThenable(verdict)) verdict.then(undefined, () => undefined)
      onError(step.handler, notSynchronous(), session)
      return false
    } catch (error) {
      onError(step.handler, error, session)
      return false
    }
  }
  return true
}

function stillAllowed(
  chain: readonly Step<Methods['stillAllowed']>[],
  session: Session,
  onError: OnError,
): Awaitable<boolean> {
  const pending: Promise<boolean>[] = []
  for (const step of chain) {
    const failed = (error: unknown): false => {
      onError(step.handler, error, session)
      return false
    }
    try {
      // JavaScript may answer anything; only true is a yes.
      const answer: unknown = step.call(session)
      if (isThenable(answer)) pending.push(Promise.resolve(answer).then((value) => value === true, failed))
      else if (answer !== true) return false
    } catch (error) {
      return failed(error)
    }
  }
  return pending.length === 0 || Promise.all(pending).then((answers) => answers.every(Boolean))
}

function tell<Fact extends unknown[]>(
  chain: readonly Step<(session: Session, ...fact: Fact) => Awaitable<void>>[],
  onError: OnError,
  session: Session,
  ...fact: Fact
): void {
  for (const step of chain) {
    try {
      const answer: unknown = step.call(session, ...fact)
      if (isThenable(answer))
        answer.then(undefined, (error: unknown) => onError(step.handler, error, session))
    } catch (error) {
      onError(step.handler, error, session)
    }
  }
}

function isThenable<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}

function notSynchronous(): TypeError {
  return new TypeError('authDeliver must return true, false or undefined, synchronously')
}

// `return false` looks like a refusal and must not allow.
function notAVerdict(value: unknown): TypeError {
  return new TypeError(
    `an auth method returned ${typeof value === 'boolean' ? value : `a value of type ${typeof value}`}: ` +
      'return nothing to allow, noOpinion to pass on, or throw AuthError to refuse',
  )
}
