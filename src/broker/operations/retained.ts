import type { Page, RetainedMessage, RetainedQuery } from '../../admin/api/resources.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type { Store, StoredMessage } from '../../store/contract.ts'
import { hasWildcard, topicFilterFault, topicMatches, type TopicLimits } from '../topics.ts'
import { timeOf } from './client-facts.ts'
import { shownProperties } from './mqtt5-facts.ts'
import { pageRoom, payloadFacts } from './payload-facts.ts'
import { firstOf } from './portions.ts'

/** By topic, in code units; topics are whole, with mountpoints. `next` is the last topic that was shown; fewer than `limit` where messages are long. */
export async function retainedPage(
  store: Store,
  { filter, after, limit }: RetainedQuery,
  topics: TopicLimits,
): Promise<Page<RetainedMessage>> {
  const fault = topicFilterFault(filter, topics)
  if (fault !== undefined) throw new TunnelMQError(ErrorCode.usage, `filter: ${fault}`)
  if (!hasWildcard(filter)) {
    const message = store.retained(filter)
    return message === undefined
      ? { items: [], next: null, total: 0 }
      : { items: after === undefined || after < filter ? [retainedFacts(message)] : [], next: null, total: 1 }
  }
  const nowMs = Date.now()
  const literal = literalOf(filter)
  let total = 0
  const found = await firstOf(store.allRetained(), limit + 1, compareTopics, (message) => {
    if (message.expiresAtMs > 0 && message.expiresAtMs <= nowMs) return undefined
    if (!message.topic.startsWith(literal) || !topicMatches(filter, message.topic)) return undefined
    total++
    return after !== undefined && message.topic <= after ? undefined : message
  })
  const room = pageRoom()
  const items: RetainedMessage[] = []
  for (const message of found.slice(0, limit)) {
    const facts = retainedFacts(message)
    if (!room.take(facts)) break
    items.push(facts)
  }
  return { items, next: found.length > items.length ? items.at(-1)!.topic : null, total }
}

/** `maxBytes`: of the payload; default: its beginning. */
export function retainedFacts(message: StoredMessage, maxBytes?: number): RetainedMessage {
  const { topic, qos, expiresAtMs, payload } = message
  const properties = shownProperties(message.properties)
  return { topic, qos, expiresAt: timeOf(expiresAtMs), properties, ...payloadFacts(payload, maxBytes) }
}

/** What every topic that matches begins with: most are told apart by that. `a/#` matches `a` as well. */
function literalOf(filter: string): string {
  return filter.slice(0, filter.search(/\/?[+#]/))
}

function compareTopics(a: StoredMessage, b: StoredMessage): number {
  if (a.topic === b.topic) return 0
  return a.topic < b.topic ? -1 : 1
}
