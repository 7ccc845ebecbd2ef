import { ErrorCode, PeerError } from '../../errors.ts'

/** The packet breaks the specification: the connection must be closed. [MQTT-4.8.0-1] */
export function malformed(detail: string): PeerError {
  return new PeerError(ErrorCode.protocol, detail)
}
