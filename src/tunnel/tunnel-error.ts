import { ErrorCode, TunnelMQError } from '../errors.ts'
import { resetName, type ResetCode, type ResetName } from './protocol/reset-code.ts'

export interface TunnelErrorOptions extends ErrorOptions {
  readonly isUnknownAgent?: boolean
}

/** A stream was not opened, or did not end in order. */
export class TunnelError extends TunnelMQError {
  override name = 'TunnelError'
  /** docs/tunnel-protocol.md 8.8 */
  readonly reset: ResetName
  /** With `agent-offline`: it was never here, as far as the broker knows. */
  readonly isUnknownAgent: boolean

  constructor(code: ResetCode, message: string, options: TunnelErrorOptions = {}) {
    super(ErrorCode.tunnel, message, options)
    this.reset = resetName(code)
    this.isUnknownAgent = options.isUnknownAgent ?? false
  }
}
