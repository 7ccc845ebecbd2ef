import { findingsOf, type Finding } from './finding.ts'

const { ok, warn, fail } = findingsOf('node')

/** package.json, engines. */
const MIN_MAJOR = 20
const MIN_MINOR = 19

/** `versions.node` of the process. */
export function judgeNode(version: string): readonly Finding[] {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major < MIN_MAJOR || (major === MIN_MAJOR && minor < MIN_MINOR))
    return [
      fail(
        `Node ${version}`,
        `install Node ${MIN_MAJOR}.${MIN_MINOR} or newer: the broker is not tested with this one`,
      ),
    ]
  if (major % 2 === 1)
    return [
      warn(
        `Node ${version}, which is no long-term release`,
        'install one with an even number: it gets fixes for longer',
      ),
    ]
  return [ok(`Node ${version}`)]
}
