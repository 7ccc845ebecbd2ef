import type { QoS } from '../hooks/types.ts'
import type { PublishTarget, PublishWrite, Store, StoredSession } from '../store/contract.ts'
import type { LatencyHistogram } from '../latency-histogram.ts'
import type { ClientSession } from './client-session.ts'
import type { Message } from './message.ts'
import type { ShareGroup } from './share-group.ts'
import type { LocalSubscription, Subscriptions } from './subscriptions.ts'

/** What belongs to the same atomic write as the message. */
export interface DispatchOptions {
  /** The message becomes the retained one of its topic. */
  readonly retain: boolean
  /** QoS 2 identifier, when the publisher's session is stored. */
  readonly incoming?: { readonly session: StoredSession; readonly messageId: number }
  /** Client id whose will this is. */
  readonly willOf?: string
}

/** Called when the message is safe; or with why it is not, and then nothing of it was stored. */
export type DispatchDone = (error: Error | undefined) => void

/**
 * From one message to everyone who gets it.
 *
 * Live sessions without a stored queue get it at once. For stored sessions (and retained values, and QoS 2
 * identifiers) there is one atomic write; they get it when that is safe, and only then is it acknowledged.
 */
export class Dispatcher {
  readonly #store: Store
  readonly #subscriptions: Subscriptions
  #mark = 0

  readonly #commitLatency: LatencyHistogram

  constructor(store: Store, subscriptions: Subscriptions, commitLatency: LatencyHistogram) {
    this.#commitLatency = commitLatency
    this.#store = store
    this.#subscriptions = subscriptions
  }

  /** True: nothing had to be stored, `done` is not called. */
  dispatch(message: Message, options: DispatchOptions, done: DispatchDone): boolean {
    const routes = this.#subscriptions.match(message.topic)
    const write = new Receivers()
    if (routes.length > 1) {
      // A session with several matching subscriptions gets one message, at the highest QoS. [MQTT-3.3.5-1]
      const mark = ++this.#mark
      const locals: LocalSubscription[] = []
      for (const route of routes) {
        if (route.kind !== 'session') continue
        const { session, qos } = route
        if (session.mark !== mark) {
          session.mark = mark
          session.markedQos = qos
        } else if (qos > session.markedQos) session.markedQos = qos
      }
      for (const route of routes) {
        if (route.kind === 'group') this.#toGroup(route, message, write)
        else if (route.kind === 'local') locals.push(route)
        else if (route.session.mark === mark) {
          route.session.mark = 0
          this.#toSession(route.session, lower(message.qos, route.session.markedQos), message, write)
        }
      }
      // Last, because a listener may publish, subscribe and unsubscribe.
      for (const { listener } of locals) listener(message)
    } else if (routes.length === 1) {
      const route = routes[0]!
      if (route.kind === 'session')
        this.#toSession(route.session, lower(message.qos, route.qos), message, write)
      else if (route.kind === 'group') this.#toGroup(route, message, write)
      else route.listener(message)
    }
    if (
      write.targets === undefined &&
      !options.retain &&
      options.incoming === undefined &&
      options.willOf === undefined
    ) {
      return true
    }
    const askedMs = performance.now()
    this.#store.publish(toWrite(message, options, write), (error, seqs) => {
      this.#commitLatency.observe(performance.now() - askedMs)
      if (error === undefined) write.stored(seqs, message)
      done(error)
    })
    return false
  }

  #toSession(session: ClientSession, qos: QoS, message: Message, write: Receivers): void {
    if (qos === 0) session.deliver0(message)
    else if (session.stored === undefined) session.outbox.enqueue(message, qos)
    else write.add({ session: session.stored, qos }, session)
  }

  #toGroup(group: ShareGroup, message: Message, write: Receivers): void {
    if (message.qos === 0) group.deliver0(message)
    else if (group.stored === undefined) group.enqueue(message)
    else write.add({ session: group.stored, qos: 1 }, group)
  }

  /**
   * Retained messages for one new subscription. A session with a stored queue gets them through it, in portions:
   * together they may be more than the queue's bound.
   */
  replayRetained(session: ClientSession, filter: string, messages: readonly Message[], granted: QoS): void {
    let portionBytes = 0
    for (const [index, message] of messages.entries()) {
      const qos = lower(message.qos, granted)
      if (qos === 0 || session.stored === undefined) {
        session.outbox.replay(message, qos)
        continue
      }
      if (portionBytes >= session.replayPortionBytes) {
        const rest = messages.slice(index)
        session.replayRetained(filter, () => this.replayRetained(session, filter, rest, granted))
        break
      }
      portionBytes += message.payload.length
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

/** Those who get a message when it is stored. */
class Receivers {
  targets: PublishTarget[] | undefined
  #receivers: (ClientSession | ShareGroup)[] | undefined

  add(target: PublishTarget, receiver: ClientSession | ShareGroup): void {
    if (this.targets === undefined) {
      this.targets = [target]
      this.#receivers = [receiver]
    } else {
      this.targets.push(target)
      this.#receivers!.push(receiver)
    }
  }

  stored(seqs: readonly number[], message: Message): void {
    const targets = this.targets
    if (targets === undefined) return
    for (let i = 0; i < targets.length; i++) {
      const seq = seqs[i]!
      if (seq === 0) continue
      const receiver = this.#receivers![i]!
      if ('outbox' in receiver) receiver.outbox.stored(seq, message, targets[i]!.qos)
      else receiver.committed(seq, message)
    }
  }
}

function toWrite(message: Message, options: DispatchOptions, write: Receivers): PublishWrite {
  return {
    message,
    targets: write.targets ?? [],
    retain: options.retain,
    ...(options.incoming && { incoming: options.incoming }),
    ...(options.willOf !== undefined && { willOf: options.willOf }),
  }
}

function lower(a: QoS, b: QoS): QoS {
  return a < b ? a : b
}
