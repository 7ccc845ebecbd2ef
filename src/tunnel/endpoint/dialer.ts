import { createConnection, type Socket } from 'node:net'
import { ResetCode } from '../protocol/reset-code.ts'
import type { Target } from './target.ts'

/** Time for each of several addresses of a name; Node's own 250 ms is short for a busy or far target. */
const ADDRESS_TIMEOUT_MS = 2_500
/** A target that has vanished is noticed at last. */
const KEEP_ALIVE_MS = 60_000

/** Why a target was not reached, in the words of the protocol. docs/tunnel-protocol.md 5.4 */
export interface DialFault {
  readonly code: ResetCode
  readonly reason: string
}

class DialTimeout extends Error {}

/**
 * Begins to connect to a declared target. What is written meanwhile waits in the socket, which is destroyed with an
 * error, to be read by {@link dialFault}, when the target is not reached in time.
 */
export function dial(target: Target, timeoutMs: number, connected: () => void): Socket {
  const socket =
    target.kind === 'unix'
      ? createConnection({ path: target.path, allowHalfOpen: true })
      : createConnection({
          host: target.host,
          port: target.port,
          allowHalfOpen: true,
          noDelay: true,
          keepAlive: true,
          keepAliveInitialDelay: KEEP_ALIVE_MS,
          autoSelectFamilyAttemptTimeout: ADDRESS_TIMEOUT_MS,
        })
  const giveUp = (): void => {
    if (socket.connecting) socket.destroy(new DialTimeout(`no answer in ${timeoutMs} ms`))
  }
  // Behind one poll of the event loop: after a standstill of this process the answer may be there, unread.
  const timer = setTimeout(() => setImmediate(giveUp), timeoutMs)
  socket.once('close', () => clearTimeout(timer))
  socket.once('connect', () => {
    clearTimeout(timer)
    connected()
  })
  return socket
}

/** What the error of a socket from {@link dial} means, before it was connected. */
export function dialFault(error: NodeJS.ErrnoException): DialFault {
  if (error instanceof DialTimeout) return { code: ResetCode.timeout, reason: error.message }
  // A name with several addresses: one that refuses says more than one that is out of reach.
  const errors: readonly NodeJS.ErrnoException[] =
    error instanceof AggregateError ? (error.errors as NodeJS.ErrnoException[]) : [error]
  const codes = errors.map(({ code }) => code)
  if (codes.includes('ECONNREFUSED'))
    return { code: ResetCode.refused, reason: 'the target refused the connection' }
  if (codes.includes('ECONNRESET'))
    return { code: ResetCode.refused, reason: 'the target reset the connection' }
  if (codes.includes('ETIMEDOUT'))
    return { code: ResetCode.timeout, reason: 'the target did not answer in time' }
  return { code: ResetCode.unreachable, reason: reasons[codes[0] ?? ''] ?? `no way to it (${codes[0]})` }
}

const reasons: Readonly<Record<string, string>> = {
  ENOTFOUND: 'the name of the target is not known',
  EAI_AGAIN: 'the name of the target could not be looked up',
  EHOSTUNREACH: 'no way to the host of the target',
  ENETUNREACH: 'no way to the network of the target',
  EACCES: 'no permission to connect to the target',
  ENOENT: 'the socket file of the target does not exist',
}
