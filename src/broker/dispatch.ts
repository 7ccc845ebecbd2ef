import type { Cluster } from '../cluster/contract.ts'
import { countedBytes } from '../store/counted-bytes.ts'
import type { QoS } from '../hooks/types.ts'
import type { PublishTarget, PublishWrite, Store, StoredSession } from '../store/contract.ts'
import type { LatencyHistogram } from '../latency-histogram.ts'
import type { Attributes, Span } from '../tracing/contract.ts'
import type { ClientSession, Subscription } from './client-session.ts'
import { HeldPublishes } from './held-publishes.ts'
import type { Message } from './message.ts'
import { Receivers } from './receivers.ts'
import type { ShareGroup } from './share-group.ts'
import type { LocalSubscription, Route, Subscriptions } from './subscriptions.ts'

/** What belongs to the same atomic write as the message. */
export interface DispatchOptions {
  /** The message becomes the retained one of its topic. */
  readonly retain: boolean
  /** QoS 2 identifier, when the publisher's session is stored. */
  readonly incoming?: { readonly session: StoredSession; readonly messageId: number }
  /** Client id whose will this is. */
  readonly willOf?: string
  /** The claim that the will was stored with; undefined: that of this pod. */
  readonly willClaim?: number
  /** Of the PUBLISH, if that is traced. */
  readonly span?: Span
}

/** Called when the message is safe; or with why it is not, and then nothing of it was stored. */
export type DispatchDone = (error: Error | undefined) => void

export interface DispatcherContext {
  readonly store: Store
  readonly cluster: Cluster
  readonly subscriptions: Subscriptions
  readonly commitLatency: LatencyHistogram
  /** Bytes at QoS 1 and 2 that wait until other pods' subscriptions are known. */
  readonly maxHeldBytes: number
}

/**
 * From one message to everyone who gets it.
 *
 * Live sessions without a stored queue get it at once. For stored sessions (and retained values, QoS 2 identifiers,
 * and other pods) there is one atomic write; they get it when that is safe, and only then is it acknowledged.
 * What the write may show to be there already (QoS 2 sent again, a will) goes to everybody after it.
 */
export class Dispatcher {
  readonly #store: Store
  readonly #cluster: Cluster
  readonly #subscriptions: Subscriptions
  readonly #commitLatency: LatencyHistogram
  readonly #held: HeldPublishes
  #mark = 0
  /** Of the last message that was dispatched, as far as that was known at once: nobody has subscribed to its topic. */
  matchedNobody = false

  constructor({ store, cluster, subscriptions, commitLatency, maxHeldBytes }: DispatcherContext) {
    this.#store = store
    this.#cluster = cluster
    this.#subscriptions = subscriptions
    this.#commitLatency = commitLatency
    this.#held = new HeldPublishes(cluster, maxHeldBytes)
  }

  /** Somebody wants to know of a message whether it was published with RETAIN. */
  get keepsRetain(): boolean {
    return this.#subscriptions.keepsRetain
  }

  /** True: nothing had to be stored, `done` is not called. */
  dispatch(message: Message, options: DispatchOptions, done: DispatchDone): boolean {
    if (message.qos === 0 || !this.#held.mustWait) return this.#dispatch(message, options, done)
    this.matchedNobody = false
    message.detach()
    const waiting = options.span?.child('wait for other pods')
    this.#held.add(countedBytes(message), (error) => {
      waiting?.end(error?.message)
      if (error !== undefined) done(error)
      else if (this.#dispatch(message, options, done)) done(undefined)
    })
    return false
  }

  #dispatch(message: Message, options: DispatchOptions, done: DispatchDone): boolean {
    const { retain, incoming, willOf, span } = options
    const isOnce = incoming !== undefined || willOf !== undefined
    const receivers = new Receivers(isOnce ? 'when-new' : 'at-once')
    let matched = 0
    if (span === undefined) {
      const routes = this.#subscriptions.match(message.topic)
      matched = routes.length
      this.#route(routes, message, receivers)
    } else matched = this.#routeTraced(span, message, receivers)
    // Behind it: a listener of the program may have published meanwhile.
    this.matchedNobody = matched === 0
    const { targets, pods } = receivers
    if (pods !== undefined && message.qos === 0 && !isOnce) this.#cluster.send(pods, message)
    const isForPods = pods !== undefined && message.qos > 0
    if (targets === undefined && !isForPods && !retain && !isOnce) return true
    const askedMs = performance.now()
    const told = span === undefined ? done : ending(span.child('store'), done)
    this.#store.publish(toWrite(message, options, receivers), (error, seqs, duplicate) => {
      this.#commitLatency.observe(performance.now() - askedMs)
      if (error === undefined) {
        receivers.stored(seqs, message)
        if (isOnce && !duplicate) {
          receivers.isNew()
          if (pods !== undefined && message.qos === 0) this.#cluster.send(pods, message)
        }
      }
      told(error)
    })
    return false
  }

  /** Of another pod, which has written what had to be: for those who are connected here, and get it from no stored queue. */
  deliver(message: Message): void {
    this.#route(this.#subscriptions.match(message.topic), message, new Receivers('here'))
  }

  /** What each pod tells its own clients: at QoS 0, and never stored. */
  deliverOwn(message: Message): void {
    this.#route(this.#subscriptions.match(message.topic), message, new Receivers('each-pod'))
  }

  /** Returns how many match. */
  #routeTraced(span: Span, message: Message, receivers: Receivers): number {
    const matching = span.child('match')
    const routes = this.#subscriptions.match(message.topic)
    matching.end()
    const delivering = span.child('deliver')
    this.#route(routes, message, receivers)
    delivering.end()
    span.set(receiverAttributes(routes, receivers))
    return routes.length
  }

  #route(routes: readonly Route[], message: Message, receivers: Receivers): void {
    if (routes.length === 1) {
      const route = routes[0]!
      if (route.kind === 'session') {
        if (route.noLocal === true && isOwn(route, message)) return
        this.#toSession(route.session, lower(message.qos, route.qos), message, receivers)
      } else if (route.kind === 'group') this.#toGroup(route, message, receivers)
      else if (route.kind === 'pod') receivers.addPod(route.pod)
      else this.#toLocal(route, message, receivers)
      return
    }
    if (routes.length === 0) return
    // A session with several matching subscriptions gets one message, at the highest QoS. [MQTT-3.3.5-1]
    const mark = ++this.#mark
    const locals: LocalSubscription[] = []
    for (const route of routes) {
      if (route.kind !== 'session') continue
      const { session, qos } = route
      if (route.noLocal === true && isOwn(route, message)) continue
      if (session.mark !== mark) {
        session.mark = mark
        session.markedQos = qos
      } else if (qos > session.markedQos) session.markedQos = qos
    }
    for (const route of routes) {
      if (route.kind === 'group') this.#toGroup(route, message, receivers)
      else if (route.kind === 'local') locals.push(route)
      else if (route.kind === 'pod') receivers.addPod(route.pod)
      else if (route.session.mark === mark) {
        route.session.mark = 0
        this.#toSession(route.session, lower(message.qos, route.session.markedQos), message, receivers)
      }
    }
    // Last, because a listener may publish, subscribe and unsubscribe.
    for (const route of locals) this.#toLocal(route, message, receivers)
  }

  #toSession(session: ClientSession, qos: QoS, message: Message, receivers: Receivers): void {
    if (qos !== 0 && session.stored !== undefined) {
      if (!receivers.isLocal) receivers.add({ session: session.stored, qos }, session)
    } else if (receivers.when === 'when-new') {
      deliverLater(receivers, session, qos, message)
    } else if (qos === 0) session.deliver0(message)
    else session.outbox.enqueue(message, qos)
  }

  #toGroup(group: ShareGroup, message: Message, receivers: Receivers): void {
    // Which one of all its members gets it, the publisher's pod decides.
    if (receivers.when === 'here') return
    if (receivers.when === 'each-pod') return group.deliverOwn(message)
    if (message.qos > 0 && group.stored !== undefined) {
      receivers.add({ session: group.stored, qos: 1 }, group)
    } else if (receivers.when === 'when-new') receivers.later(() => group.deliver(message))
    else group.deliver(message)
  }

  #toLocal({ listener }: LocalSubscription, message: Message, receivers: Receivers): void {
    if (receivers.when === 'when-new') receivers.later(() => listener(message))
    else listener(message)
  }

  /**
   * Retained messages for one new subscription. A session with a stored queue gets them through it, in portions:
   * together they may be more than the queue's bound.
   */
  replayRetained({ session, filter, qos: granted }: Subscription, messages: readonly Message[]): void {
    let portionBytes = 0
    for (const [index, message] of messages.entries()) {
      const qos = lower(message.qos, granted)
      if (qos === 0 || session.stored === undefined) {
        session.outbox.replay(message, qos)
        continue
      }
      if (portionBytes >= session.replayPortionBytes) {
        const rest = messages.slice(index)
        session.replayRetained(filter, () => {
          const current = session.subscriptions.get(filter)
          if (current !== undefined) this.replayRetained(current, rest)
        })
        break
      }
      portionBytes += countedBytes(message)
      this.#replayStored(session, session.stored, message, qos)
    }
    session.outbox.pump()
  }

  #replayStored(session: ClientSession, stored: StoredSession, message: Message, qos: 1 | 2): void {
    const target = { session: stored, qos, unbounded: true }
    this.#store.publish({ message, targets: [target], retain: false }, (error, seqs) => {
      if (error !== undefined) session.connection?.close({ kind: 'error', detail: error.message })
      else if (seqs[0]! > 0) session.outbox.stored(seqs[0]!, message, qos)
    })
  }
}

/** As `done`, and the span ends before. Made here, so that nothing is captured where nobody traces. */
export function ending(span: Span, done: DispatchDone): DispatchDone {
  return (error) => {
    span.end(error?.message)
    done(error)
  }
}

// Not where it is called: a function that makes another is slower at everything else that it does.
function deliverLater(receivers: Receivers, session: ClientSession, qos: QoS, message: Message): void {
  receivers.later(() => {
    if (qos === 0) session.deliver0(message)
    else session.outbox.enqueue(message, qos)
  })
}

/** Its session has published it. */
export function isOwn({ session }: Subscription, message: Message): boolean {
  return message.publisher === session.id
}

function toWrite(message: Message, options: DispatchOptions, { targets, pods }: Receivers): PublishWrite {
  const { retain, incoming, willOf, willClaim } = options
  return {
    message,
    targets: targets ?? NO_TARGETS,
    retain,
    ...(incoming && { incoming }),
    ...(willOf !== undefined && { willOf }),
    ...(willClaim !== undefined && { willClaim }),
    ...(pods !== undefined && message.qos > 0 && { pods }),
  }
}

function receiverAttributes(routes: readonly Route[], { targets, pods }: Receivers): Attributes {
  return {
    'tunnelmq.subscriptions': routes.length,
    'tunnelmq.stored_queues': targets?.length ?? 0,
    // Where it goes on. Its trace does not: MQTT 3.1.1 has no place for a context, neither has what pods send each other.
    ...(pods !== undefined && { 'tunnelmq.pods': pods }),
  }
}

const NO_TARGETS: readonly PublishTarget[] = []

function lower(a: QoS, b: QoS): QoS {
  return a < b ? a : b
}
