import type { Decision } from '../hooks/decision.ts'
import { RefuseReason, type PublishRequest, type Will } from '../hooks/types.ts'
import { NEVER_EXPIRES } from '../store/session-expiry.ts'
import type { RefusedPublish } from './accepting.ts'
import type { Connection } from './connection.ts'
import { payloadFault, rewrittenFault } from './message-properties.ts'
import { ReasonCode } from './packets/reason.ts'
import { refusalCode } from './reason-of.ts'
import { whoOf, type Refusals } from './refusals.ts'
import { reservedNamespace, topicNameFault, type TopicLimits } from './topics.ts'

/** Whether a client may have this will: the rules of topics, then the handlers. */
export class WillRights {
  readonly #topics: TopicLimits
  readonly #refusals: Refusals

  constructor(topics: TopicLimits, refusals: Refusals) {
    this.#topics = topics
    this.#refusals = refusals
  }

  /**
   * The will as the handlers let it be published, or why they do not. Asked at CONNECT and when the connection is lost,
   * both times with the client's own: what a handler rewrites must not be rewritten again.
   */
  async authorize(connection: Connection, will: Will): Promise<Will | RefusedPublish> {
    const { topic, payload, retain, qos, properties, messageExpirySeconds, delaySeconds } = will
    const refused = (why: RefusedPublish): RefusedPublish => {
      const { reason, by } = why
      this.#refusals.note({ point: 'will', ...whoOf(connection), topic, handler: by?.handler, reason })
      return why
    }
    const rule = this.#topicFault(topic)
    if (rule !== undefined)
      return refused({ reason: rule, code: ReasonCode.topicNameInvalid, text: `will: ${rule}` })
    const request: PublishRequest = {
      topic,
      payload,
      retain,
      qos,
      dup: false,
      isWill: true,
      properties,
      messageExpirySeconds,
    }
    const asked = connection.profile.guard.authPublish(connection.session!, request)
    const decision = asked instanceof Promise ? await asked : asked
    if (!decision.allowed) {
      const code = codeOf(connection, decision)
      return refused({ reason: decision.reason ?? 'refused', code, by: decision })
    }
    const fault =
      this.#topicFault(request.topic) ??
      payloadFault(request.payload) ??
      rewrittenFault(request.properties, request.messageExpirySeconds) ??
      (QOS.has(qos) ? undefined : 'qos')
    if (fault !== undefined) return refused({ reason: fault, code: ReasonCode.notAuthorized, by: decision })
    return {
      topic: request.topic,
      payload: request.payload,
      retain: request.retain,
      qos,
      properties: request.properties,
      messageExpirySeconds: wholeSeconds(request.messageExpirySeconds),
      delaySeconds: wholeSeconds(delaySeconds),
    }
  }

  #topicFault(topic: unknown): string | undefined {
    // A handler may have put anything there.
    if (typeof topic !== 'string') return 'a topic that is no text'
    return topicNameFault(topic, this.#topics) ?? (reservedNamespace(topic) && 'reserved topic')
  }
}

const QOS: ReadonlySet<number> = new Set([0, 1, 2])

/** In a CONNACK. What a handler says of credentials is about a message here, and not about who the client is. */
function codeOf({ version }: Connection, { refuse, reasonCode }: Decision): ReasonCode {
  const isAnswerless = refuse === RefuseReason.unavailable
  const reason = isAnswerless ? RefuseReason.unavailable : RefuseReason.notAuthorized
  return refusalCode('connack', {
    refuse: reason,
    ...(version === 5 && reasonCode !== undefined && { reasonCode }),
  })
}

/** Handlers may have made it into anything. */
function wholeSeconds(seconds: number | undefined): number | undefined {
  return seconds === undefined ? undefined : Math.min(NEVER_EXPIRES, Math.max(0, Math.ceil(seconds) || 0))
}
