import type { LoadedConfig } from '../config/load.ts'
import { ConfigError, formatMistake } from '../config/mistake.ts'
import { findingsOf, messageOf, type Finding } from './finding.ts'

const { ok, warn, fail } = findingsOf('configuration')

export interface CheckedConfiguration {
  readonly loaded: LoadedConfig | undefined
  readonly findings: readonly Finding[]
}

/** Everything else needs it, so this comes first. `load` rejects with what is wrong. */
export async function checkConfiguration(load: () => Promise<LoadedConfig>): Promise<CheckedConfiguration> {
  try {
    const loaded = await load()
    const from = loaded.file ?? 'no file: the defaults, and the environment'
    const warnings = loaded.warnings.map((mistake) =>
      warn(formatMistake(mistake), 'see docs/configuration.md'),
    )
    return { loaded, findings: [ok(from), ...warnings] }
  } catch (error) {
    const todo = 'mend it: `tunnelmq config check FILE` names every mistake with its line'
    const findings =
      error instanceof ConfigError
        ? error.mistakes.map((mistake) => fail(formatMistake(mistake), todo))
        : [fail(messageOf(error), todo)]
    return { loaded: undefined, findings }
  }
}
