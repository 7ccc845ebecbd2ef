/** Why a stream ended other than by both FINs. docs/tunnel-protocol.md 8.8 */
export const ResetCode = {
  refused: 1,
  unreachable: 2,
  timeout: 3,
  unknownService: 4,
  forbidden: 5,
  agentOffline: 6,
  unknownStream: 7,
  limit: 8,
  idle: 9,
  protocol: 10,
  revoked: 11,
  shutdown: 12,
  internal: 13,
  reset: 14,
} as const
export type ResetCode = (typeof ResetCode)[keyof typeof ResetCode]

/** As in logs, metrics and messages: `agent-offline`. */
export type ResetName =
  | 'refused'
  | 'unreachable'
  | 'timeout'
  | 'unknown-service'
  | 'forbidden'
  | 'agent-offline'
  | 'unknown-stream'
  | 'limit'
  | 'idle'
  | 'protocol'
  | 'revoked'
  | 'shutdown'
  | 'internal'
  | 'reset'

const NAMES: Record<ResetCode, ResetName> = {
  [ResetCode.refused]: 'refused',
  [ResetCode.unreachable]: 'unreachable',
  [ResetCode.timeout]: 'timeout',
  [ResetCode.unknownService]: 'unknown-service',
  [ResetCode.forbidden]: 'forbidden',
  [ResetCode.agentOffline]: 'agent-offline',
  [ResetCode.unknownStream]: 'unknown-stream',
  [ResetCode.limit]: 'limit',
  [ResetCode.idle]: 'idle',
  [ResetCode.protocol]: 'protocol',
  [ResetCode.revoked]: 'revoked',
  [ResetCode.shutdown]: 'shutdown',
  [ResetCode.internal]: 'internal',
  [ResetCode.reset]: 'reset',
}

/** Every name of a code, for metrics. */
export const resetNames: readonly ResetName[] = Object.values(NAMES)

/** 8.8: an unknown code is `internal`. */
export function resetName(code: number): ResetName {
  return NAMES[code as ResetCode] ?? 'internal'
}

/** Bytes of reason that fit (4.3). */
const MAX_REASON_BYTES = 512

/** The payload of RESET. A reason that is too long is cut at a character. */
export function encodeReset(code: ResetCode, reason: string): Buffer {
  let text = Buffer.from(reason)
  if (text.length > MAX_REASON_BYTES) {
    let end = MAX_REASON_BYTES
    while ((text[end]! & 0xc0) === 0x80) end--
    text = text.subarray(0, end)
  }
  const payload = Buffer.allocUnsafe(2 + text.length)
  payload.writeUInt16BE(code, 0)
  text.copy(payload, 2)
  return payload
}

/** Reads the payload of RESET. Control characters in the reason are replaced: it ends up on terminals and in logs. */
export function decodeReset(payload: Buffer): { readonly code: ResetCode; readonly reason: string } {
  const code = payload.readUInt16BE(0)
  return {
    code: (code in NAMES ? code : ResetCode.internal) as ResetCode,
    // oxlint-disable-next-line no-control-regex -- that is what is looked for
    reason: payload.toString('utf8', 2).replace(/[\u0000-\u001f\u007f-\u009f]/g, '?'),
  }
}
