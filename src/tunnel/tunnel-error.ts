import { ErrorCode, TunnelMQError } from '../errors.ts'
import { resetName, type ResetCode, type ResetName } from './protocol/reset-code.ts'

/** A stream was not opened, or did not end in order. */
export class TunnelError extends TunnelMQError {
  override name = 'TunnelError'
  /** docs/tunnel-protocol.md 8.8 */
  readonly reset: ResetName

  constructor(code: ResetCode, message: string, options?: ErrorOptions) {
    super(ErrorCode.tunnel, message, options)
    this.reset = resetName(code)
  }
}
