import type { Environment } from '../config/overrides.ts'
import { ErrorCode, TunnelMQError } from '../errors.ts'

/** The options by which every command finds its configuration. */
export interface ConfigFlags {
  readonly config?: string
  readonly set?: readonly string[]
  readonly logLevel?: string
}

/** For options that may be repeated. */
export function collect(value: string, values: readonly string[] = []): readonly string[] {
  return [...values, value]
}

/** @throws {TunnelMQError} TMQ_USAGE for one that is empty: what was meant to be there is not, and the defaults are another broker. */
export function configFile(flags: ConfigFlags, env: Environment): string | undefined {
  const file = flags.config ?? env['TUNNELMQ_CONFIG']
  if (file !== '') return file
  const where = flags.config === undefined ? 'TUNNELMQ_CONFIG' : '--config'
  throw new TunnelMQError(ErrorCode.usage, `${where} is empty: name a file, or leave it out`)
}

export function overridesOf({ set = [], logLevel }: ConfigFlags): readonly string[] {
  return logLevel === undefined ? set : [...set, `log.level=${logLevel}`]
}
