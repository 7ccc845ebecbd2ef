import { ErrorCode, TunnelMQError } from '../errors.ts'

/** Where in the configuration: `['listeners', 0, 'port']`. */
export type ConfigPath = readonly (string | number)[]

export interface Mistake {
  readonly path: ConfigPath
  /** What is wrong, and where it helps what would be right. Without the key. */
  readonly message: string
  /** True: it is the key itself that is wrong, not its value. */
  readonly atKey?: boolean
  /** Set when it did not come from the file: `TUNNELMQ_STORE_PATH`, `--set store.path`. */
  readonly source?: string
}

/** A mistake and the place that the user has to look at. */
export interface PlacedMistake extends Mistake {
  readonly file?: string
  readonly line?: number
  readonly column?: number
}

/** Thrown with all mistakes of a configuration at once. */
export class ConfigError extends TunnelMQError {
  readonly mistakes: readonly PlacedMistake[]
  override name = 'ConfigError'

  constructor(mistakes: readonly PlacedMistake[]) {
    const lines = mistakes.map(formatMistake)
    const message =
      lines.length === 1
        ? lines.join()
        : `${lines.length} mistakes in the configuration:\n  ${lines.join('\n  ')}`
    super(ErrorCode.config, message)
    this.mistakes = mistakes
  }
}

/** One line, in the form that editors and terminals turn into a link: `file:line:column: key: message`. */
export function formatMistake(mistake: PlacedMistake): string {
  return [placeOf(mistake), formatPath(mistake.path), mistake.message]
    .filter((part) => part !== '')
    .join(': ')
}

/** `listeners.0.port`, as `--set` takes it. */
export function formatPath(path: ConfigPath): string {
  return path.join('.')
}

export function isWithin(path: ConfigPath, ancestor: ConfigPath): boolean {
  return ancestor.length <= path.length && ancestor.every((segment, index) => path[index] === segment)
}

function placeOf(mistake: PlacedMistake): string {
  if (mistake.source !== undefined) return mistake.source
  if (mistake.file === undefined) return ''
  if (mistake.line === undefined) return mistake.file
  return `${mistake.file}:${mistake.line}:${mistake.column ?? 1}`
}
