import type { Connection } from '../connection.ts'
import type { Ended } from './interceptors.ts'

/** An interceptor has ended the connection: on purpose, or because it failed. */
export function endConnection(connection: Connection, { decision }: Ended): void {
  const { cause, handler, reason = '' } = decision
  // Its own words are for the log; a failure has had its line there.
  const kind = cause === undefined ? 'kicked' : 'error'
  connection.close({ kind, detail: `interceptor ${handler}: ${reason}` })
}
