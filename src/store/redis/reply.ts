import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type { ScriptReply } from './contract.ts'

/** What our scripts answer, checked. All throw TMQ_STORE for anything else. */

export function listIn(reply: ScriptReply | undefined): readonly ScriptReply[] {
  if (Array.isArray(reply)) return reply as readonly ScriptReply[]
  throw unexpected()
}

/** An integer, or digits. */
export function numberIn(reply: ScriptReply | undefined): number {
  const number =
    typeof reply === 'number' ? reply : Buffer.isBuffer(reply) ? Number(reply.toString('latin1')) : NaN
  if (Number.isFinite(number)) return number
  throw unexpected()
}

export function textIn(reply: ScriptReply | undefined): string {
  return bytesIn(reply).toString()
}

export function bytesIn(reply: ScriptReply | undefined): Buffer {
  if (Buffer.isBuffer(reply)) return reply
  throw unexpected()
}

function unexpected(): TunnelMQError {
  return new TunnelMQError(ErrorCode.store, 'A script of Redis has answered with something else')
}
