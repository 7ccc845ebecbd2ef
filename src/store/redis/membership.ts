import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type { ScriptReply } from './contract.ts'
import { FORMAT, formatIn } from './format.ts'

export interface Joined {
  readonly epoch: string
  readonly position: number
  readonly inboxPosition: number
  /** Format that the data had until now. */
  readonly format: number
}

/** What join.lua answers. `expelled`: to be asked again under another name. Throws TMQ_STORE for what is not for us. */
export function joinedOf(reply: ScriptReply): Joined | 'expelled' {
  const [status, what, position, inboxPosition, format] = list(reply)
  switch (String(status)) {
    case 'expelled':
      return 'expelled'
    case 'format':
      formatIn(what, 'What is stored in Redis')
      throw new TunnelMQError(
        ErrorCode.store,
        'The migration into this Redis is not finished: run `tunnelmq store migrate` again',
      )
    case 'older':
      throw new TunnelMQError(
        ErrorCode.store,
        `Brokers of an earlier version use this Redis (${String(what)}): stop all of them, then start this one; one that was killed counts until its lease is over`,
      )
    default:
  }
  if (!Buffer.isBuffer(what) || typeof position !== 'number' || typeof inboxPosition !== 'number')
    throw new TunnelMQError(ErrorCode.store, 'Redis has answered a join with something else')
  return {
    epoch: what.toString(),
    position,
    inboxPosition,
    format: typeof format === 'number' ? format : FORMAT,
  }
}

export interface Beat {
  /** Redis' time. */
  readonly nowMs: number
  /** Empty: there is none. */
  readonly epoch: string
  readonly head: number
  /** This pod is among the pods. */
  readonly isMember: boolean
  readonly beats: ReadonlyMap<string, number>
}

/** What beat.lua answers. */
export function beatOf(reply: ScriptReply): Beat {
  const [now, epoch, head, isMember, ...pods] = list(reply)
  const beats = new Map<string, number>()
  for (let index = 0; index + 1 < pods.length; index += 2) {
    const at = Number(String(pods[index + 1]))
    if (Number.isFinite(at)) beats.set(String(pods[index]), at)
  }
  return {
    nowMs: Number(String(now)),
    epoch: Buffer.isBuffer(epoch) ? epoch.toString() : '',
    head: typeof head === 'number' ? head : 0,
    isMember: isMember === 1,
    beats,
  }
}

function list(reply: ScriptReply): readonly ScriptReply[] {
  return Array.isArray(reply) ? (reply as readonly ScriptReply[]) : []
}
