import type { Environment } from '../config/overrides.ts'

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

export function configFile(flags: ConfigFlags, env: Environment): string | undefined {
  return flags.config ?? env['TUNNELMQ_CONFIG']
}

export function overridesOf({ set = [], logLevel }: ConfigFlags): readonly string[] {
  return logLevel === undefined ? set : [...set, `log.level=${logLevel}`]
}
