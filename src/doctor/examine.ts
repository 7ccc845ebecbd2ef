import { setTimeout as delay } from 'node:timers/promises'
import { findingsOf, messageOf, type Finding } from './finding.ts'

export interface Check {
  readonly name: string
  readonly run: () => Promise<readonly Finding[]>
}

/** Of one check; each of its waits has a shorter one. */
const DEADLINE_MS = 90_000

/** Runs them one after the other, so that none disturbs what another measures, and tells of each when it is done. */
export async function examine(
  checks: readonly Check[],
  told: (findings: readonly Finding[]) => void,
): Promise<readonly Finding[]> {
  const all: Finding[] = []
  for (const check of checks) {
    const findings = await guarded(check)
    told(findings)
    all.push(...findings)
  }
  return all
}

async function guarded({ name, run }: Check): Promise<readonly Finding[]> {
  const { fail } = findingsOf(name)
  const abort = new AbortController()
  const late = delay(DEADLINE_MS, undefined, { signal: abort.signal }).then(
    () => [
      fail(
        `no result after ${DEADLINE_MS / 1_000} s`,
        'see what hangs: the disk, the name server, or the network',
      ),
    ],
    () => [],
  )
  try {
    return await Promise.race([run(), late])
  } catch (error) {
    return [
      fail(
        `this could not be looked at: ${messageOf(error)}`,
        'see the message; with TUNNELMQ_DEBUG=1 there is more',
      ),
    ]
  } finally {
    abort.abort()
  }
}
