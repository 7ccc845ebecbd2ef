/** Longest name that is matched: with the bounds below a pattern takes milliseconds at worst. */
export const MAX_NAME_CHARACTERS = 256
const MAX_REPETITIONS = 3
const MAX_CHOICES = 8

/**
 * A regular expression that a whole name has to fit. Names are short, and JavaScript's engine tries all ways to match:
 * their number stays polynomial and small while no group is repeated, and repetitions and choices are few. A string: why not.
 */
export function compilePattern(pattern: string): RegExp | string {
  const fault = patternFault(pattern)
  if (fault !== undefined) return fault
  try {
    return new RegExp(`^(?:${pattern})$`, 'u')
  } catch (error) {
    return `is no regular expression: ${error instanceof Error ? error.message : String(error)}`
  }
}

function patternFault(pattern: string): string | undefined {
  // Without escaped characters and classes, what is left has its meaning.
  const bare = pattern
    .replaceAll(/\\[pPu](?:\{[^}]*\})|\\[^1-9k]/g, 'x')
    .replaceAll(/\[(?:[^\]\\]|\\.)*\]/g, 'x')
  if (/\\[1-9k]/.test(bare)) return 'has a back reference, which is not supported'
  if (/\(\?(?![:<])|\(\?<[=!]/.test(bare)) return 'has a look-ahead or look-behind, which is not supported'
  if (/\)[*+{]/.test(bare)) return 'repeats a group, which can take for ever: repeat single characters only'
  const groups = bare.replaceAll('(?:', '').match(/\(/g)?.length ?? 0
  if (groups > 1) return 'has more than one group: write (?:...) for those that are not the identity'
  const withoutGroupHeads = bare.replaceAll(/\(\?/g, '(')
  if ((withoutGroupHeads.match(/[*+{]/g)?.length ?? 0) > MAX_REPETITIONS)
    return `has more than ${MAX_REPETITIONS} repetitions`
  if ((withoutGroupHeads.match(/[?|]/g)?.length ?? 0) > MAX_CHOICES)
    return `has more than ${MAX_CHOICES} choices (? and |)`
  return undefined
}

/** The identity that a name gives; undefined: it does not fit. */
export function matchName(pattern: RegExp | undefined, name: string): string | undefined {
  if (name === '' || name.length > MAX_NAME_CHARACTERS) return undefined
  if (pattern === undefined) return name
  const match = pattern.exec(name)
  if (match === null) return undefined
  // Without a group the name itself; with one that took no part in the match, nothing.
  const identity = match.length > 1 ? match[1] : match[0]
  return identity === '' ? undefined : identity
}
