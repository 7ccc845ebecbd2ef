import { parseStatusTopic, type Route, type Routes } from '../protocol/names.ts'

/** What a topic means to this end; `ignored`: nothing. */
export type TopicMeaning =
  | { readonly kind: 'frame'; readonly route: Route }
  | { readonly kind: 'status'; readonly agent: string }
  | { readonly kind: 'ignored' }

export interface InboundTopicsOptions {
  readonly role: 'agent' | 'client'
  /** This end. */
  readonly name: string
  readonly prefix: string
  readonly routes: Routes
}

const IGNORED: TopicMeaning = { kind: 'ignored' }

/**
 * From the bytes of a topic to what it means. Frames come in runs on one topic: then the bytes are compared
 * with those of the last one, and no string is made.
 */
export class InboundTopics {
  readonly #options: InboundTopicsOptions
  #last: Buffer = Buffer.alloc(0)
  #lastMeaning: TopicMeaning = IGNORED

  constructor(options: InboundTopicsOptions) {
    this.#options = options
  }

  meaning(bytes: Buffer, start: number, end: number): TopicMeaning {
    const last = this.#last
    // From the end, where topics differ first.
    let at = end - start === last.length ? last.length - 1 : -2
    while (at >= 0 && last[at] === bytes[start + at]) at--
    if (at === -1 && last.length > 0) return this.#lastMeaning
    this.#lastMeaning = this.#look(bytes.toString('utf8', start, end))
    this.#last = Buffer.from(bytes.subarray(start, end))
    return this.#lastMeaning
  }

  #look(topic: string): TopicMeaning {
    const { role, name, prefix, routes } = this.#options
    const route = routes.ofTopic(topic)
    if (route === undefined) {
      const agent = parseStatusTopic(topic, prefix)
      return agent === undefined ? IGNORED : { kind: 'status', agent }
    }
    const isForUs =
      role === 'agent'
        ? route.agent === name && topic === route.upTopic
        : route.client === name && topic === route.downTopic
    return isForUs ? { kind: 'frame', route } : IGNORED
  }
}
