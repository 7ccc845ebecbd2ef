import type { AuthMethod, Chain, NotifyMethod, OnError } from './chain.ts'
import { PendingDecision, type Decision } from './decision.ts'
import { createSlots } from './slots.ts'
import { RefuseReason } from './types.ts'
import type {
  AuthExchange,
  Awaitable,
  DisconnectReason,
  PublishRequest,
  Session,
  SubscribeRequest,
  TunnelRequest,
} from './types.ts'
import { ErrorCode, TunnelMQError } from '../errors.ts'

/** A handler did not do its work. Reported once each, to be counted and logged. */
export interface HandlerFailure {
  readonly method: AuthMethod | NotifyMethod
  readonly handler: string
  readonly kind: 'threw' | 'timed-out' | 'overloaded'
  readonly cause: unknown
  readonly session: Session
}

export interface GuardOptions {
  /** From the question to the answer, waiting for a slot included. */
  readonly timeoutMs: number
  /** Asynchronous auth calls under way at once. */
  readonly maxConcurrent: number
  /** Calls that may wait for a slot; more are refused at once. A waiting call costs about 1 KB. */
  readonly maxWaiting?: number
  /** Monotonic milliseconds. */
  readonly now?: () => number
  readonly onFailure: (failure: HandlerFailure) => void
  /** A handler said no, to all or to a part of what was asked: to be counted. */
  readonly onRefused?: (method: AuthMethod, handler: string) => void
  /** Asynchronous answers only: what a synchronous one takes is not worth two readings of the clock. */
  readonly onLatency?: (method: AuthMethod, durationMs: number) => void
}

/**
 * A chain that always answers: with a deadline and a concurrency cap, both of which synchronous answers bypass.
 * Whatever goes wrong in a handler refuses, and is reported once. Notifying methods never throw.
 */
export interface Guard {
  readonly chain: Chain
  readonly activeCount: number
  readonly waitingCount: number
  /** Wipes the password when it has answered. */
  authConnect(session: Session): Decision | Promise<Decision>
  /**
   * A round of an authentication by a method of MQTT 5; `answer` of a decision that allows says what follows. Wipes the
   * password at once, and the data when it has answered.
   */
  authenticate(
    session: Session,
    exchange: AuthExchange,
    data: Buffer | undefined,
  ): Decision | Promise<Decision>
  /** Of a client that was let in, by whomever: a refusal, or undefined. */
  vetoConnect(session: Session): Decision | undefined
  authPublish(session: Session, message: PublishRequest): Decision | Promise<Decision>
  authSubscribe(session: Session, subscriptions: SubscribeRequest[]): Decision | Promise<Decision>
  authTunnel(session: Session, tunnel: TunnelRequest): Decision | Promise<Decision>
  authDeliver(session: Session, message: Readonly<PublishRequest>): boolean
  stillAllowed(session: Session): Awaitable<boolean>
  connect(session: Session): void
  publish(session: Session, message: Readonly<PublishRequest>): void
  subscribe(session: Session, subscriptions: readonly SubscribeRequest[]): void
  unsubscribe(session: Session, topics: readonly string[]): void
  /** Told once for each session, however often it is called. */
  disconnect(session: Session, why: DisconnectReason): void
}

const defaultMaxWaiting = 10_000

export function createGuard(chain: Chain, options: GuardOptions): Guard {
  const { timeoutMs, onFailure, onRefused, onLatency } = options
  const now = options.now ?? (() => performance.now())
  const slots = createSlots({
    maxTaken: options.maxConcurrent,
    maxWaiting: options.maxWaiting ?? defaultMaxWaiting,
  })
  // Methods that have answered with a promise before. Only those wait for a slot: the others never hold one.
  const asynchronous = {
    authConnect: false,
    authenticate: false,
    authPublish: false,
    authSubscribe: false,
    authTunnel: false,
  }
  type Asked = keyof typeof asynchronous
  const open = new WeakSet<Session>()

  function settle(method: AuthMethod, session: Session, decision: Decision): Decision {
    if (decision.cause !== undefined) {
      const kind =
        decision.cause instanceof TunnelMQError && decision.cause.code === ErrorCode.timeout
          ? 'timed-out'
          : 'threw'
      onFailure({ method, handler: decision.handler, kind, cause: decision.cause, session })
    } else if (!decision.allowed) onRefused?.(method, decision.handler)
    return decision
  }

  function settleSubscribe(decision: Decision, subscriptions: readonly SubscribeRequest[]): Decision {
    if (decision.allowed && subscriptions.some(({ refused }) => refused))
      onRefused?.('authSubscribe', decision.handler)
    return decision
  }

  function answer(
    method: Asked,
    session: Session,
    result: Decision | PendingDecision,
  ): Decision | Promise<Decision> {
    if (!(result instanceof PendingDecision)) return settle(method, session, result)
    asynchronous[method] = true
    slots.take()
    return answerInTime(method, session, result, now())
  }

  /** The caller has taken a slot. */
  async function answerInTime(
    method: Asked,
    session: Session,
    pending: PendingDecision,
    askedMs: number,
  ): Promise<Decision> {
    let timer: NodeJS.Timeout | undefined
    const deadline = new Promise<Decision>((resolve) => {
      timer = setTimeout(
        () => {
          pending.abandon()
          resolve(timedOut(pending.handler, timeoutMs))
        },
        Math.max(0, timeoutMs - (now() - askedMs)),
      )
    })
    const decision = await Promise.race([pending.promise, deadline])
    clearTimeout(timer)
    slots.release()
    onLatency?.(method, now() - askedMs)
    return settle(method, session, decision)
  }

  async function answerLater(
    method: Asked,
    session: Session,
    ask: () => Decision | PendingDecision,
    // A will is asked about because its connection is gone.
    evenIfGone = false,
  ): Promise<Decision> {
    const askedMs = now()
    const outcome = await slots.wait(timeoutMs)
    const late = now() - askedMs >= timeoutMs
    if (outcome !== 'taken' || late) {
      if (outcome === 'taken') slots.release()
      const cause = new TunnelMQError(
        ErrorCode.limit,
        outcome === 'full' ? 'too many auth calls are waiting' : `no auth call ended within ${timeoutMs} ms`,
      )
      onFailure({ method, handler: 'none', kind: 'overloaded', cause, session })
      return overloaded(cause)
    }
    if (session.signal.aborted && !evenIfGone) {
      slots.release()
      return connectionGone
    }
    const result = ask()
    if (result instanceof PendingDecision) return answerInTime(method, session, result, askedMs)
    slots.release()
    return settle(method, session, result)
  }

  const mustWait = (method: Asked) => asynchronous[method] && !slots.free

  const threwIn =
    (method: AuthMethod | NotifyMethod): OnError =>
    (handler, cause, session) =>
      onFailure({ method, handler, kind: 'threw', cause, session })
  const failed = {
    authDeliver: threwIn('authDeliver'),
    stillAllowed: threwIn('stillAllowed'),
    connect: threwIn('connect'),
    publish: threwIn('publish'),
    subscribe: threwIn('subscribe'),
    unsubscribe: threwIn('unsubscribe'),
    disconnect: threwIn('disconnect'),
  }

  async function stillAllowedInTime(session: Session, pending: Promise<boolean>): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined
    const deadline = new Promise<false>((resolve) => {
      timer = setTimeout(() => {
        const cause = new TunnelMQError(ErrorCode.timeout, `no answer within ${timeoutMs} ms`)
        onFailure({ method: 'stillAllowed', handler: 'none', kind: 'timed-out', cause, session })
        resolve(false)
      }, timeoutMs)
    })
    const allowed = await Promise.race([pending, deadline])
    clearTimeout(timer)
    return allowed
  }

  return {
    chain,
    get activeCount() {
      return slots.takenCount
    },
    get waitingCount() {
      return slots.waitingCount
    },
    authConnect(session) {
      open.add(session)
      const original = session.password
      const decision = mustWait('authConnect')
        ? answerLater('authConnect', session, () => chain.authConnect(session))
        : answer('authConnect', session, chain.authConnect(session))
      if (!(decision instanceof Promise)) {
        wipe(session, original)
        return decision
      }
      return decision.finally(() => wipe(session, original))
    },
    authenticate(session, exchange, data) {
      if (!exchange.isReAuthentication) open.add(session)
      wipe(session, session.password)
      const ask = (): Decision | PendingDecision => chain.authenticate(session, exchange, data)
      const decision = mustWait('authenticate')
        ? answerLater('authenticate', session, ask)
        : answer('authenticate', session, ask())
      if (decision instanceof Promise) return decision.finally(() => data?.fill(0))
      data?.fill(0)
      return decision
    },
    vetoConnect(session) {
      const refusal = chain.vetoConnect(session)
      return refusal && settle('authConnect', session, refusal)
    },
    authPublish(session, message) {
      if (mustWait('authPublish')) {
        return answerLater('authPublish', session, () => chain.authPublish(session, message), message.isWill)
      }
      return answer('authPublish', session, chain.authPublish(session, message))
    },
    authSubscribe(session, subscriptions) {
      const decision = mustWait('authSubscribe')
        ? answerLater('authSubscribe', session, () => chain.authSubscribe(session, subscriptions))
        : answer('authSubscribe', session, chain.authSubscribe(session, subscriptions))
      return decision instanceof Promise
        ? decision.then((made) => settleSubscribe(made, subscriptions))
        : settleSubscribe(decision, subscriptions)
    },
    authTunnel(session, tunnel) {
      if (mustWait('authTunnel')) {
        return answerLater('authTunnel', session, () => chain.authTunnel(session, tunnel))
      }
      return answer('authTunnel', session, chain.authTunnel(session, tunnel))
    },
    authDeliver: (session, message) =>
      !chain.decidesDeliver || chain.authDeliver(session, message, failed.authDeliver),
    stillAllowed(session) {
      const allowed = chain.stillAllowed(session, failed.stillAllowed)
      return typeof allowed === 'boolean' ? allowed : stillAllowedInTime(session, allowed)
    },
    connect(session) {
      open.add(session)
      if (chain.wantsConnect) chain.connect(failed.connect, session)
    },
    publish(session, message) {
      if (chain.wantsPublish) chain.publish(failed.publish, session, message)
    },
    subscribe(session, subscriptions) {
      if (chain.wantsSubscribe) chain.subscribe(failed.subscribe, session, subscriptions)
    },
    unsubscribe(session, topics) {
      if (chain.wantsUnsubscribe) chain.unsubscribe(failed.unsubscribe, session, topics)
    },
    disconnect(session, why) {
      if (open.delete(session) && chain.wantsDisconnect) {
        chain.disconnect(failed.disconnect, session, why)
      }
    },
  }
}

const connectionGone: Decision = Object.freeze({
  allowed: false,
  handler: 'none',
  reason: 'the connection closed before its turn came',
  refuse: RefuseReason.unavailable,
})

function timedOut(handler: string, timeoutMs: number): Decision {
  return {
    allowed: false,
    handler,
    reason: 'the handler did not answer in time',
    refuse: RefuseReason.unavailable,
    cause: new TunnelMQError(ErrorCode.timeout, `no answer within ${timeoutMs} ms`),
  }
}

function overloaded(cause: unknown): Decision {
  return {
    allowed: false,
    handler: 'none',
    reason: 'too many auth calls at once',
    refuse: RefuseReason.unavailable,
    cause,
  }
}

function wipe(session: Session, original: Buffer | undefined): void {
  original?.fill(0)
  session.password?.fill(0)
  session.password = undefined
}
