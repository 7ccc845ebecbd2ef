import { ErrorCode, PeerError } from '../../errors.ts'
import { ReasonCode } from './reason.ts'

/** What a client has sent is wrong: its connection ends; with MQTT 5 it is told this reason code first. */
export class PacketFault extends PeerError {
  readonly reasonCode: ReasonCode
  override name = 'PacketFault'

  constructor(reasonCode: ReasonCode, detail: string, code: ErrorCode = ErrorCode.protocol) {
    super(code, detail)
    this.reasonCode = reasonCode
  }
}

/** The packet breaks the specification: the connection must be closed. [MQTT-4.8.0-1], [MQTT-4.13.1-1] */
export function malformed(detail: string): PacketFault {
  return new PacketFault(ReasonCode.malformedPacket, detail)
}

/** The packet can be read, and may not come now, or not with that in it. [MQTT-4.13.1-1] */
export function protocolError(detail: string): PacketFault {
  return new PacketFault(ReasonCode.protocolError, detail)
}
