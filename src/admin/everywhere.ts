import { ErrorCode, TunnelMQError } from '../errors.ts'
import type {
  Agent,
  AuditEntry,
  ClientDetail,
  ClientQuery,
  ClientRef,
  ClientSummary,
  Explanation,
  Listener,
  LogLevel,
  Overview,
  Page,
  Pod,
  QueueEntry,
  QueueQuery,
  Refusal,
  Stream,
  WhyRequest,
} from './api/resources.ts'
import { readClientCursor } from './cursor.ts'
import { betterOf, compareText, mergeAgents, mergeById, mergeClientPages, mergeOverviews } from './merge.ts'
import type { OperationName, PodCalls, PodOperations } from './operations.ts'

type Answer<Name extends OperationName> = Awaited<ReturnType<PodOperations[Name]>>
type Asked<Name extends OperationName> = Parameters<PodOperations[Name]>

/**
 * One request of the API, put to all pods, or to the one that it names. A pod that does not answer in time is left out
 * and named in `missing`; this pod's own failure fails the request.
 */
export class Everywhere {
  readonly missing = new Set<string>()
  readonly #calls: PodCalls
  readonly #pods: readonly string[]
  /** Where questions go that one pod answers for all. */
  readonly #here: string

  private constructor(calls: PodCalls, pod: string | undefined) {
    this.#calls = calls
    this.#here = pod ?? calls.self
    // This one too while it has not joined them yet.
    this.#pods = pod === undefined ? [...new Set([calls.self, ...calls.pods()])] : [pod]
  }

  /** `pod`: id or name of the one that is asked; undefined: all. Rejects with TMQ_USAGE if there is none such. */
  static async of(calls: PodCalls, pod: string | undefined): Promise<Everywhere> {
    const all = new Everywhere(calls, undefined)
    if (pod === undefined) return all
    if (all.podIds.includes(pod)) return new Everywhere(calls, pod)
    const named = (await all.pods()).find(({ name }) => name === pod)
    if (named !== undefined) return new Everywhere(calls, named.id)
    throw new TunnelMQError(ErrorCode.usage, `pod: there is no pod "${pod}"; GET /api/v1/pods lists them`)
  }

  /** The pod that the request names, or this one. */
  get here(): string {
    return this.#here
  }

  get podIds(): readonly string[] {
    return this.#pods
  }

  /** Asks the pod that the request names, or this one. */
  ask<Name extends OperationName>(name: Name, ...args: Asked<Name>): Promise<Answer<Name>> {
    return this.#calls.call(this.#here, name, ...args)
  }

  /** Asks this one whatever the request names: what is one for all pods, and is not to go to another one. */
  askSelf<Name extends OperationName>(name: Name, ...args: Asked<Name>): Promise<Answer<Name>> {
    return this.#calls.call(this.#calls.self, name, ...args)
  }

  /** Asks the pods, this one first; those that do not answer are left out. */
  async askAll<Name extends OperationName>(
    name: Name,
    ...args: Asked<Name>
  ): Promise<{ pod: string; answer: Answer<Name> }[]> {
    const answers = await Promise.all(this.#pods.map((pod) => this.askOne(pod, name, ...args)))
    const found = answers.filter((answer) => answer !== undefined)
    return found.toSorted((a, b) => Number(b.pod === this.#here) - Number(a.pod === this.#here))
  }

  /** Undefined: it has not answered, and is named. */
  async askOne<Name extends OperationName>(
    pod: string,
    name: Name,
    ...args: Asked<Name>
  ): Promise<{ pod: string; answer: Answer<Name> } | undefined> {
    try {
      return { pod, answer: await this.#calls.call(pod, name, ...args) }
    } catch (error) {
      // A mistake of the asker is one here as well.
      if (pod === this.#here) throw error
      this.missing.add(pod)
      return undefined
    }
  }

  async overview(): Promise<Overview> {
    const [first, ...others] = (await this.askAll('overview')).map(({ answer }) => answer)
    if (first === undefined) throw noAnswer()
    return mergeOverviews(first, others)
  }

  async clients(query: ClientQuery): Promise<Page<ClientSummary>> {
    if (query.after !== undefined) readClientCursor(query.after)
    if (this.#pods.length === 1) return this.ask('clients', query)
    const pages = (await this.askAll('clients', query)).map(({ answer }) => answer)
    // Each is connected at one pod, and offline in the eyes of several.
    const canAdd =
      query.state === 'connected' && this.missing.size === 0 && pages.every(({ total }) => total !== null)
    const total = canAdd ? pages.reduce((sum, page) => sum + (page.total ?? 0), 0) : null
    return { ...mergeClientPages(pages, readClientCursor, query.limit), total }
  }

  async client(ref: ClientRef): Promise<ClientDetail | undefined> {
    let found: ClientDetail | undefined
    for (const { answer } of await this.askAll('client', ref))
      if (answer !== undefined) found = betterOf(found, answer)
    return found
  }

  /** The pod where it is connected knows what is in flight. */
  async queue(ref: ClientRef, query: QueueQuery): Promise<Page<QueueEntry> | undefined> {
    const pod = this.#pods.length === 1 ? this.#here : await this.#podOf(ref)
    return this.#calls.call(pod, 'queue', ref, query)
  }

  async #podOf(ref: ClientRef): Promise<string> {
    for (const { pod, answer } of await this.askAll('client', ref))
      if (answer?.state === 'connected' && answer.pod !== null) return pod
    return this.#here
  }

  async agents(): Promise<Agent[]> {
    return mergeAgents((await this.askAll('agents')).map(({ answer }) => answer))
  }

  async streams(): Promise<Stream[]> {
    const streams = mergeById((await this.askAll('streams')).map(({ answer }) => answer))
    return streams.toSorted((a, b) => compareText(a.openedAt, b.openedAt) || compareText(a.id, b.id))
  }

  async cutStream(id: string): Promise<boolean> {
    return (await this.askAll('cutStream', id)).some(({ answer }) => answer)
  }

  async listeners(): Promise<Listener[]> {
    const listeners = (await this.askAll('listeners')).flatMap(({ answer }) => answer)
    return listeners.toSorted((a, b) => compareText(a.pod, b.pod) || compareText(a.name, b.name))
  }

  async refusals(limit: number): Promise<Refusal[]> {
    return newestFirst((await this.askAll('refusals', limit)).flatMap(({ answer }) => answer)).slice(0, limit)
  }

  async audit(limit: number): Promise<AuditEntry[]> {
    return newestFirst((await this.askAll('audit', limit)).flatMap(({ answer }) => answer)).slice(0, limit)
  }

  /** One that does not answer is shown with what is known of it. */
  async pods(): Promise<Pod[]> {
    const answers = await this.askAll('pod')
    const known = new Map(this.#calls.known().map((pod) => [pod.id, pod]))
    const found = answers.map(({ pod, answer }) => {
      const isSelf = pod === this.#calls.self
      return { ...answer, isSelf, silentMs: isSelf ? 0 : (known.get(pod)?.silentMs ?? 0) }
    })
    const silent = [...this.missing].map((id) => ({ ...unknownPod, id, name: id, ...known.get(id) }))
    return [...found, ...silent].toSorted((a, b) => compareText(a.name, b.name) || compareText(a.id, b.id))
  }

  async setLogLevel(level: LogLevel): Promise<LogLevel> {
    const [first] = await this.askAll('setLogLevel', level)
    if (first === undefined) throw noAnswer()
    return first.answer
  }

  /** The pod with the live session knows what its handlers have kept of it. */
  async why(request: WhyRequest): Promise<Explanation> {
    const ref = { id: request.client, mountpoint: request.mountpoint }
    const pod = this.#pods.length === 1 ? this.#here : await this.#podOf(ref)
    return this.#calls.call(pod, 'why', request)
  }
}

function newestFirst<Item extends { readonly at: string }>(items: readonly Item[]): Item[] {
  return items.toSorted((a, b) => compareText(b.at, a.at))
}

const unknownPod = {
  isSelf: false,
  version: null,
  silentMs: 0,
  connected: 0,
  uptimeSeconds: null,
  isReady: null,
  isDraining: null,
  memoryBytes: null,
}

function noAnswer(): TunnelMQError {
  return new TunnelMQError(ErrorCode.timeout, 'no pod has answered')
}
