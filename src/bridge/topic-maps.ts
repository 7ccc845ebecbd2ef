import { topicMatches } from '../broker/topics.ts'
import type { BridgeConfig } from '../config/bridge-schema.ts'
import type { QoS } from '../hooks/types.ts'

/** A filter to subscribe to, on one side. */
export interface BridgedFilter {
  readonly filter: string
  readonly qos: QoS
  /** Messages cross the other way as well: neither side is the one that knows best. */
  readonly isBoth: boolean
}

interface TopicMap extends BridgedFilter {
  readonly from: string
  readonly to: string
}

/** One direction of a bridge: from the topics of one side to those of the other. Pure. */
export class TopicMaps {
  readonly #maps: readonly TopicMap[]

  constructor(topics: BridgeConfig['topics'], direction: 'in' | 'out') {
    this.#maps = topics
      .filter((topic) => topic.direction === direction || topic.direction === 'both')
      .map(({ filter, qos, localPrefix, remotePrefix, direction: asked }) => {
        const [from, to] = direction === 'out' ? [localPrefix, remotePrefix] : [remotePrefix, localPrefix]
        return { filter: from + filter, qos: qos as QoS, isBoth: asked === 'both', from, to }
      })
  }

  get filters(): readonly BridgedFilter[] {
    return this.#maps
  }

  /** Its topic on the other side, by the first map that fits, and the highest QoS; undefined: none fits. */
  translate(topic: string): { topic: string; qos: QoS } | undefined {
    const map = this.#maps.find(({ filter }) => topicMatches(filter, topic))
    return map && { topic: map.to + topic.slice(map.from.length), qos: map.qos }
  }
}
