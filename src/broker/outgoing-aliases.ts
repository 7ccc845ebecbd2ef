/** Shorter topics are not worth an alias: the properties take three bytes for it. */
const MIN_TOPIC_CHARACTERS = 7

/**
 * Topic aliases that one connection is sent (MQTT 5, 3.3.2.3.4). The first topics get them and keep them: what comes
 * later has repeated less, and with a new owner for each topic, many topics would cost more than they save.
 */
export class OutgoingAliases {
  readonly #max: number
  readonly #byTopic = new Map<string, number>()

  /** `max`: the highest that the client understands, or that we give. */
  constructor(max: number) {
    this.#max = max
  }

  /** 0: the topic has none. */
  of(topic: string): number {
    return this.#byTopic.get(topic) ?? 0
  }

  /** A topic that has none gets one. */
  hasOneFor(topic: string): boolean {
    return this.#byTopic.size < this.#max && topic.length >= MIN_TOPIC_CHARACTERS
  }

  /** For the packet that is written now. Ask {@link hasOneFor} first. */
  introduce(topic: string): number {
    const alias = this.#byTopic.size + 1
    this.#byTopic.set(topic, alias)
    return alias
  }
}
