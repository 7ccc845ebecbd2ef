import type { BridgeDraft } from './draft.ts'

type TopicDraft = BridgeDraft['topics'][number]

/**
 * `pattern [[[out | in | both] qos] local-prefix remote-prefix]`, as mosquitto and VerneMQ write it; `""` is an empty
 * word. A string says what is wrong.
 */
export function parseBridgeTopic(text: string): TopicDraft | string {
  const words = text.split(/\s+/).map((word) => (word === '""' ? '' : word))
  const [filter = '', direction = 'out', ...rest] = words
  if (words.length > 5) return 'has too many words'
  if (direction !== 'out' && direction !== 'in' && direction !== 'both')
    return `has an unknown direction: ${direction}`
  // VerneMQ's documentation leaves the QoS out before a prefix.
  const hasQos = rest[0] === undefined || /^\d$/.test(rest[0])
  const qos = hasQos ? Number(rest[0] ?? 0) : 0
  if (qos > 2) return `has QoS ${qos}`
  const [localPrefix = '', remotePrefix = ''] = hasQos ? rest.slice(1) : rest
  // An empty pattern maps one topic to one other topic: the prefixes are the topics. Ours always has a filter.
  if (filter === '')
    return 'has an empty pattern: write the last level as `filter`, and what stands before it as prefixes'
  return {
    filter,
    direction,
    qos,
    ...(localPrefix === '' ? {} : { localPrefix }),
    ...(remotePrefix === '' ? {} : { remotePrefix }),
  }
}
