import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { RedisLink } from '../store/redis/contract.ts'
import { Answering } from './answering.ts'
import { Asking } from './asking.ts'
import type { Cluster, ClusterEvents, PodId } from './contract.ts'
import type { OtherPods } from './other-pods.ts'
import { decodeQuestionMessage, encodeAnswerPart, encodeQuestion } from './question-format.ts'
import { answerOfSelf } from './self-answer.ts'

/** Answers go on only while less than this is on its way: frames of tunnels share the lane, and must not wait long. */
const ROOM_BYTES = 262_144

export interface QuestionsOptions {
  readonly link: RedisLink
  readonly others: OtherPods
  readonly log: Log
  readonly garbage: () => void
}

/** Questions between pods, by pub/sub: who is away does not answer, and the asker's deadline says so. */
export interface Questions extends Pick<Cluster, 'ask'> {
  start(events: Pick<ClusterEvents, 'asked'>): void
  close(): void
}

export function createQuestions({ link, others, log, garbage }: QuestionsOptions): Questions {
  const lane = link.prompt
  const channelOf = (pod: PodId): string => `ask:${pod}`
  let events: Pick<ClusterEvents, 'asked'> | undefined
  const answer = (pod: PodId, question: Buffer): Promise<Buffer> =>
    events === undefined
      ? Promise.reject(new TunnelMQError(ErrorCode.stopped, 'the pod is not started, or stops'))
      : events.asked(pod, question)

  const asking = new Asking({
    isThere: (pod) => others.ids.has(pod),
    send(pod, question) {
      const isSent = lane.publish(channelOf(pod), encodeQuestion({ ...question, pod: link.pod }))
      if (isSent) return undefined
      return lane.pendingBytes > 0 ? 'too much is on its way to Redis' : 'there is no connection to Redis'
    },
    garbage,
  })
  const answering = new Answering({
    answer,
    send(to, part) {
      if (lane.pendingBytes > ROOM_BYTES) return 'later'
      if (lane.publish(channelOf(to), encodeAnswerPart({ ...part, pod: link.pod }))) return 'sent'
      return lane.pendingBytes > 0 ? 'later' : 'lost'
    },
    log,
  })

  lane.onDrained(() => answering.drained())
  others.onGone((pod) => asking.podGone(pod))
  const listen = (): void =>
    lane.subscribe(channelOf(link.pod), (message) => {
      const said = decodeQuestionMessage(message)
      if (said === undefined) garbage()
      else if (said.kind === 'answer') asking.take(said)
      // From whomever: a pod that has just joined may ask before its word is read here.
      else if (!answering.take(said)) garbage()
    })
  listen()
  link.onExpelled(listen)

  return {
    start(given) {
      events = given
    },
    ask(pod, question, timeoutMs) {
      return pod === link.pod
        ? answerOfSelf(() => answer(pod, question), timeoutMs)
        : asking.ask(pod, question, timeoutMs)
    },
    close() {
      events = undefined
      asking.close()
      answering.close()
    },
  }
}
