import { createHmac, randomBytes } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { WebhookConfig } from '../../config/webhook-schema.ts'
import type { WebhookCounters } from '../../counters.ts'
import type { Session, SubscribeRequest } from '../types.ts'
import type { Answer, Question } from './format.ts'
import { messageFacts } from './tunnelmq-format.ts'

/** Answers that may be given again. */
export interface AnswerCache {
  /** What the same question has in common. Of the password it holds nothing that is of use outside this process. */
  key(session: Session, question: Question): string
  get(key: string): Answer | undefined
  /** Without a sign in the metrics. */
  has(key: string): boolean
  /** `text`: what it was read from. `cacheControl`: of the answer, where it counts. */
  put(key: string, answer: Answer, text: string, cacheControl: string | undefined): void
  close(): void
}

export interface AnswerCacheOptions {
  readonly config: WebhookConfig['cache']
  readonly counters: WebhookCounters
  /** The service is shown it: a message with other correlation data is another question. */
  readonly showsCorrelationData: boolean
  /** Unix time. */
  readonly now?: () => number
}

/** Key, times and place in the list. */
const ENTRY_BYTES = 300
/** What is read of a text takes more room than the text. */
const BYTES_OF_CHARACTER = 4

interface Entry {
  readonly answer: Answer
  readonly bytes: number
  readonly endsAtMs: number
}

export function createAnswerCache({
  config,
  counters,
  showsCorrelationData,
  now = Date.now,
}: AnswerCacheOptions): AnswerCache {
  // Whoever gets hold of the keys cannot try passwords on them.
  const secret = randomBytes(32)
  const { maxEntries: max, maxBytes: maxSize } = config
  const entries =
    max === 0
      ? undefined
      : new LRUCache<string, Entry>({ max, maxSize, sizeCalculation: ({ bytes }) => bytes })

  function find(key: string): Answer | undefined {
    const entry = entries?.peek(key)
    return entry !== undefined && entry.endsAtMs > now() ? entry.answer : undefined
  }

  /** Other listeners count in the same figure. */
  function counting(change: () => void): void {
    const before = entries?.size ?? 0
    change()
    counters.cacheEntries += (entries?.size ?? 0) - before
  }

  function lifeMs(answer: Answer, cacheControl: string | undefined): number {
    const { allowMs, denyMs, maxMs, honourCacheControl } = config
    const otherwise = answer.verdict === 'deny' ? denyMs : answer.verdict === 'allow' ? allowMs : 0
    const said = honourCacheControl ? maxAgeMs(cacheControl) : undefined
    return Math.min(said ?? otherwise, maxMs)
  }

  return {
    key: (session, question) =>
      createHmac('sha256', secret)
        .update(JSON.stringify(partsOf(session, question, showsCorrelationData)))
        .digest('base64'),
    get(key) {
      const answer = find(key)
      if (answer === undefined) {
        counters.cacheMisses++
        return undefined
      }
      counters.cacheHits++
      // Used: the last to go.
      entries?.get(key)
      return answer
    },
    has: (key) => find(key) !== undefined,
    put(key, answer, text, cacheControl) {
      // Another message has another payload.
      if (answer.verdict === 'allow' && answer.payload !== undefined) return
      const endsAtMs = now() + lifeMs(answer, cacheControl)
      const isAllowed = answer.verdict === 'allow'
      const boundMs = isAllowed ? Math.min(endsAtMs, answer.endsAtMs ?? Infinity) : endsAtMs
      if (boundMs <= now()) return
      const bytes = ENTRY_BYTES + text.length * BYTES_OF_CHARACTER
      counting(() => entries?.set(key, { answer, bytes, endsAtMs: boundMs }))
    },
    close: () => counting(() => entries?.clear()),
  }
}

/** All that is sent, but payload and port. */
function partsOf(session: Session, question: Question, showsCorrelationData: boolean): unknown[] {
  const { id, username, clean, keepalive, protocolVersion, properties, peer } = session
  const { address, listener, transport, certificate } = peer
  const client = [
    ...[question.hook, id, username ?? null, address, listener, transport],
    ...[certificate?.fingerprint256 ?? null, clean, keepalive, protocolVersion],
    properties?.userProperties ?? null,
  ]
  switch (question.hook) {
    case 'authConnect': {
      const { password, will } = session
      const wanted = will === undefined ? null : [will.topic, will.qos, will.retain]
      return [...client, password?.toString('base64') ?? null, wanted, properties ?? null]
    }
    case 'authPublish': {
      const { topic, qos, retain, isWill } = question.message
      const { correlationData } = question.message.properties ?? {}
      const correlation = showsCorrelationData ? (correlationData?.toString('base64') ?? null) : null
      return [...client, topic, qos, retain, isWill, messageFacts(question.message), correlation]
    }
    case 'authSubscribe': {
      const { subscriptions } = question
      // Of the SUBSCRIBE, so the same with each.
      const userProperties = subscriptions[0]?.userProperties ?? null
      return [...client, subscriptions.map(partsOfSubscription), userProperties]
    }
    case 'authTunnel': {
      const { action, agent, service } = question.tunnel
      return [...client, action, agent, service]
    }
    default:
      return question satisfies never
  }
}

function partsOfSubscription(subscription: Readonly<SubscribeRequest>): unknown[] {
  const { topic, qos, shareGroup, noLocal, retainAsPublished, retainHandling } = subscription
  const options = [noLocal, retainAsPublished, retainHandling, subscription.subscriptionIdentifier]
  return noLocal === undefined ? [topic, qos, shareGroup] : [topic, qos, shareGroup, ...options]
}

/** RFC 9111 5.2.2, as far as it is about us; undefined: the header says nothing. */
export function maxAgeMs(cacheControl: string | undefined): number | undefined {
  if (cacheControl === undefined) return undefined
  if (/(^|[\s,])no-(store|cache)\b/i.test(cacheControl)) return 0
  const [, seconds] = /(?:^|[\s,])max-age\s*=\s*"?(\d{1,10})/i.exec(cacheControl) ?? []
  return seconds === undefined ? undefined : Number(seconds) * 1_000
}
