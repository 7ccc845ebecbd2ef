import type { Connection } from '../connection.ts'
import { ReasonCode } from '../packets/reason.ts'
import type { Ended } from './interceptors.ts'

/** An interceptor has ended the connection: on purpose, or because it failed. */
export function endConnection(connection: Connection, { decision }: Ended): void {
  const { cause, handler, reason = '', reasonCode, clientText, userProperties } = decision
  const detail = `interceptor ${handler}: ${reason}`
  // A failure has had its line in the log.
  if (cause !== undefined) {
    connection.close({ kind: 'error', detail, reasonCode: ReasonCode.unspecifiedError })
    return
  }
  // Its own words are for the log, but those that it has for clients.
  connection.close({
    kind: 'kicked',
    detail,
    ...(reasonCode !== undefined && { reasonCode }),
    ...(clientText !== undefined && { clientText }),
    ...(userProperties !== undefined && { userProperties }),
  })
}
