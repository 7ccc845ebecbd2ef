import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type { ScriptReply } from './contract.ts'
import { FORMAT, UNFINISHED } from './format.ts'

export interface Joined {
  readonly epoch: string
  readonly position: number
  readonly inboxPosition: number
}

/** What join.lua answers. `expelled`: to be asked again under another name. Throws TMQ_STORE for another format. */
export function joinedOf(reply: ScriptReply): Joined | 'expelled' {
  const [status, epoch, position, inboxPosition, format] = list(reply)
  if (String(status) === 'expelled') return 'expelled'
  if (String(format) === UNFINISHED)
    throw new TunnelMQError(
      ErrorCode.store,
      'The migration into this Redis is not finished: run `tunnelmq store migrate` again',
    )
  if (String(format) !== FORMAT)
    throw new TunnelMQError(
      ErrorCode.store,
      `What is stored in Redis has format ${String(format)}, and this version knows ${FORMAT}`,
    )
  if (!Buffer.isBuffer(epoch) || typeof position !== 'number' || typeof inboxPosition !== 'number')
    throw new TunnelMQError(ErrorCode.store, 'Redis has answered a join with something else')
  return { epoch: epoch.toString(), position, inboxPosition }
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
