import { encodeEntry } from '../codec.ts'
import { countedBytes } from '../counted-bytes.ts'
import type { PublishDone, PublishTarget, PublishWrite, StoreLimits } from '../contract.ts'
import type { ScriptArgument, ScriptReply } from './contract.ts'
import type { Claims } from './claims.ts'
import type { RedisQueues } from './queues.ts'
import type { Replica } from './replica.ts'
import { numberIn } from './reply.ts'
import type { Requests } from './requests.ts'
import type { RetainedReplica } from './retained.ts'
import { redisSessionOf } from './session.ts'
import type { Wills } from './wills.ts'

const NOTHING_WRITTEN = 1
/** What precedes the targets in a reply: status, position of the log, retained dropped. */
const REPLY_HEAD = 3
/** In place of a session's number, which has as many digits. */
const ANY_NUMBER = '0'.repeat(14)

export interface PublishParts {
  readonly requests: Requests
  readonly replica: Replica
  readonly retained: RetainedReplica
  readonly queues: RedisQueues
  readonly claims: Claims
  readonly wills: Wills
  readonly limits: StoreLimits
}

/** Publishes as single ops; see lua/op-publish.lua. */
export class Publishes {
  droppedMessages = 0
  droppedRetained = 0
  readonly #parts: PublishParts
  readonly #bounds: string

  constructor(parts: PublishParts) {
    this.#parts = parts
    const { queueMaxMessages, queueMaxBytes, retainedMaxMessages, retainedMaxBytes } = parts.limits
    this.#bounds = [queueMaxMessages, queueMaxBytes, retainedMaxMessages, retainedMaxBytes].join(' ')
  }

  publish(write: PublishWrite, done: PublishDone): void {
    const { requests } = this.#parts
    const { message, incoming, willOf } = write
    const targets = write.targets.filter(({ session }) => !redisSessionOf(session).removed)
    const isNothing =
      targets.length === 0 &&
      !write.retain &&
      incoming === undefined &&
      willOf === undefined &&
      (write.pods === undefined || write.pods.length === 0)
    if (isNothing) {
      const { refusal } = requests
      return requests.barrier(() => done(refusal, nothing(write), false))
    }
    const publisher = incoming && redisSessionOf(incoming.session)
    const isFirstUse = publisher?.incomingIds.has(incoming?.messageId ?? 0) === false
    const willNumber = willOf === undefined ? 0 : this.#willNumber(write, willOf)
    const entry = encodeEntry(message, 1)
    const claim = publisher?.claim ?? 0
    const args = this.#argsOf(write, entry, targets, willNumber)
    let bytes = entry.length
    for (const arg of args) bytes += typeof arg === 'string' ? arg.length : 0
    requests.submit('publish', args, { patience: 'wait', bytes }, (error, reply) => {
      const failure = error ?? (publisher && requests.fencedIn(publisher.id, claim, reply))
      if (failure !== undefined) {
        if (isFirstUse) publisher?.incomingIds.delete(incoming?.messageId ?? 0)
        return done(failure, nothing(write), false)
      }
      if (willOf !== undefined) this.#parts.wills.gone(willOf, willNumber)
      if (incoming !== undefined) publisher?.incomingIds.add(incoming.messageId)
      if (reply[0] === NOTHING_WRITTEN) return done(undefined, nothing(write), true)
      let seqs: readonly number[]
      try {
        if (write.retain) this.#retained(write, entry, reply)
        seqs = this.#seqsIn(write, targets, reply)
      } catch (unexpected) {
        return done(unexpected as Error, nothing(write), false)
      }
      done(undefined, seqs, false)
    })
    if (incoming !== undefined) publisher?.incomingIds.add(incoming.messageId)
  }

  #willNumber({ willClaim }: PublishWrite, sessionId: string): number {
    const { wills, claims } = this.#parts
    return willClaim ?? wills.numberOf(sessionId) ?? claims.numberOf(sessionId) ?? 0
  }

  #argsOf(
    write: PublishWrite,
    entry: Buffer,
    targets: readonly PublishTarget[],
    willNumber: number,
  ): ScriptArgument[] {
    const { queues } = this.#parts
    const { message, incoming, willOf } = write
    const args: ScriptArgument[] = [entry, countedBytes(message), message.expiresAtMs, this.#bounds]
    if (write.retain) args.push('r', message.topic)
    if (incoming !== undefined) {
      const { kid, claim } = redisSessionOf(incoming.session)
      args.push('i', kid, claim, incoming.messageId)
    }
    if (willOf !== undefined) args.push('w', willOf, willNumber)
    if (write.pods !== undefined && write.pods.length > 0) args.push('p', write.pods.length, ...write.pods)
    args.push('-')
    for (const { session, qos, unbounded } of targets) {
      const target = redisSessionOf(session)
      // What was acknowledged makes room.
      queues.submitAcknowledged(target)
      // A shared group is whoever has its key.
      const isAny = !target.told || target.kind === 'group'
      const number = isAny ? ANY_NUMBER : target.incarnation
      args.push(`${unbounded === true ? qos + 2 : qos}${number}${target.kid}`)
    }
    return args
  }

  #seqsIn(
    write: PublishWrite,
    asked: readonly PublishTarget[],
    reply: readonly ScriptReply[],
  ): readonly number[] {
    const { replica, requests } = this.#parts
    const { message } = write
    const seqs: number[] = []
    let at = REPLY_HEAD
    let next = 0
    for (const target of write.targets) {
      if (target !== asked[next]) {
        seqs.push(0)
        continue
      }
      next++
      const answer = numberIn(reply[at++])
      const seq = answer < -1 ? -1 - answer : answer
      if (seq === 0) this.droppedMessages++
      if (seq > 0) {
        const session = redisSessionOf(target.session)
        // Before the answer is given: the connection here is not to deliver it, too.
        if (answer < 0 && session.claim > 0) requests.lost(session.id, session.claim, true)
        replica.countEntry(session, seq, countedBytes(message))
      }
      seqs.push(Math.max(0, seq))
    }
    return seqs
  }

  #retained({ message }: PublishWrite, entry: Buffer, reply: readonly ScriptReply[]): void {
    const position = numberIn(reply[1])
    const isDropped = reply[2] === 1
    if (isDropped) this.droppedRetained++
    if (position === 0) return
    const isKept = !isDropped && message.payload.length > 0
    // The caller's buffer may hold something else by now.
    const payload = Buffer.from(entry.subarray(entry.length - message.payload.length))
    this.#parts.retained.changedHere(message.topic, isKept ? { ...message, payload } : undefined, position)
  }
}

function nothing(write: PublishWrite): number[] {
  return write.targets.map(() => 0)
}
