import { refusedBy, type Decision } from '../../hooks/decision.ts'
import type {
  Direction,
  InterceptedPacket,
  Interception,
  Interceptor,
  InterceptorPlace,
} from '../../hooks/interceptor.ts'
import type { Session } from '../../hooks/types.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { replace, type ReplacementLimits } from './replacement.ts'

/** The packet is to be dropped, by this interceptor. */
export class Dropped {
  readonly by: string

  constructor(by: string) {
    this.by = by
  }
}

/** The connection is to end: who said so, why, and whether that was meant (no `cause`) or is a failure. */
export class Ended {
  readonly decision: Decision

  constructor(decision: Decision) {
    this.decision = decision
  }
}

export type Outcome<P extends InterceptedPacket> = P | Dropped | Ended

export interface InterceptorFailure {
  readonly handler: string
  readonly kind: 'threw' | 'timed-out'
  readonly cause: unknown
  readonly session: Session
}

export interface InterceptorsOptions {
  readonly before: readonly Interceptor[]
  readonly after: readonly Interceptor[]
  readonly limits: ReplacementLimits
  /** `auth.timeoutMs`: for all of one place together. */
  readonly timeoutMs: number
  readonly onFailure: (failure: InterceptorFailure) => void
  /** It has dropped a packet, or ended a connection on purpose: to be counted. */
  readonly onRefused: (handler: string) => void
}

interface Named {
  readonly name: string
  readonly interceptor: Interceptor
}

/** The interceptors of one listener, asked one after the other. Nothing here throws or rejects. */
export class Interceptors {
  readonly #places: Record<InterceptorPlace, readonly Named[]>
  readonly #options: InterceptorsOptions

  constructor(options: InterceptorsOptions) {
    this.#options = options
    this.#places = { before: named(options.before), after: named(options.after) }
  }

  hasAny(place: InterceptorPlace): boolean {
    return this.#places[place].length > 0
  }

  /** Synchronous answers cost no promise. */
  ask<P extends InterceptedPacket>(
    place: InterceptorPlace,
    session: Session,
    packet: P,
    direction: Direction,
  ): Outcome<P> | Promise<Outcome<P>> {
    return this.#askFrom(0, { place, session, direction }, packet)
  }

  /** Before and after, with nothing between: for what no handler is asked about. */
  askBoth<P extends InterceptedPacket>(
    session: Session,
    packet: P,
    direction: Direction,
  ): Outcome<P> | Promise<Outcome<P>> {
    return follow(this.ask('before', session, packet, direction), (outcome) =>
      isPacket(outcome) ? this.ask('after', session, outcome, direction) : outcome,
    )
  }

  #askFrom<P extends InterceptedPacket>(
    from: number,
    asked: Asked,
    packet: P,
  ): Outcome<P> | Promise<Outcome<P>> {
    const { place, session, direction } = asked
    const list = this.#places[place]
    for (let index = from; index < list.length; index++) {
      const { name, interceptor } = list[index]!
      let answer: Interception | Promise<Interception>
      try {
        answer = interceptor.intercept(session, packet, direction)
      } catch (error) {
        return this.#ended(name, session, error)
      }
      if (isPromise(answer)) return this.#askLater(index, asked, packet, answer)
      const outcome = this.#take(name, asked, packet, answer)
      if (!isPacket(outcome)) return outcome
      packet = outcome
    }
    return packet
  }

  async #askLater<P extends InterceptedPacket>(
    index: number,
    asked: Asked,
    packet: P,
    pending: Promise<Interception>,
  ): Promise<Outcome<P>> {
    const { timeoutMs } = this.#options
    const { session, place } = asked
    const { name } = this.#places[place][index]!
    // The deadline of the first that answers later is that of all behind it.
    const timed = asked.deadline === undefined
    let timer: NodeJS.Timeout | undefined
    asked.deadline ??= new Promise((resolve) => {
      timer = setTimeout(() => resolve(LATE), timeoutMs)
    })
    try {
      const answer = await Promise.race([pending, asked.deadline])
      if (answer === LATE) {
        const cause = new TunnelMQError(ErrorCode.timeout, `no answer within ${timeoutMs} ms`)
        return this.#ended(name, session, cause, 'timed-out')
      }
      const outcome = this.#take(name, asked, packet, answer)
      return isPacket(outcome) ? await this.#askFrom(index + 1, asked, outcome) : outcome
    } catch (error) {
      return this.#ended(name, session, error)
    } finally {
      if (timed) clearTimeout(timer)
    }
  }

  #take<P extends InterceptedPacket>(
    name: string,
    { place, session }: Asked,
    packet: P,
    answer: Interception,
  ): Outcome<P> {
    if (answer === undefined || answer === packet) return packet
    try {
      if (answer !== null) return replace(packet, answer, place, this.#options.limits)
      if (!DROPPABLE.has(packet.cmd)) throw new TypeError(`${packet.cmd} cannot be dropped`)
    } catch (error) {
      return this.#ended(name, session, error)
    }
    this.#options.onRefused(name)
    return new Dropped(name)
  }

  #ended(name: string, session: Session, error: unknown, kind: InterceptorFailure['kind'] = 'threw'): Ended {
    const decision = refusedBy(name, error)
    if (decision.cause === undefined) this.#options.onRefused(name)
    else this.#options.onFailure({ handler: name, kind, cause: decision.cause, session })
    return new Ended(decision)
  }
}

interface Asked {
  readonly place: InterceptorPlace
  readonly session: Session
  readonly direction: Direction
  deadline?: Promise<typeof LATE>
}

const LATE = Symbol('no answer in time')

/** The others are answers, or the broker's own: without them its peer would wait for ever. */
const DROPPABLE: ReadonlySet<InterceptedPacket['cmd']> = new Set([
  'connect',
  'publish',
  'subscribe',
  'unsubscribe',
])

export function isPacket<P extends InterceptedPacket>(outcome: Outcome<P>): outcome is P {
  return !(outcome instanceof Dropped) && !(outcome instanceof Ended)
}

/** At once, or when it is there: what is synchronous stays so. */
export function follow<A, B>(value: A | Promise<A>, next: (value: A) => B | Promise<B>): B | Promise<B> {
  return value instanceof Promise ? value.then(next) : next(value)
}

function named(interceptors: readonly Interceptor[]): Named[] {
  return interceptors.map((interceptor, index) => ({
    name: interceptor.name ?? `interceptor#${index + 1}`,
    interceptor,
  }))
}

/** Also of another realm, or of a library. */
function isPromise(answer: unknown): answer is Promise<Interception> {
  return (
    typeof answer === 'object' && answer !== null && 'then' in answer && typeof answer.then === 'function'
  )
}
