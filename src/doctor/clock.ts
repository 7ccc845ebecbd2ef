import { execFile } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import { findingsOf, msText, type Finding } from './finding.ts'

const { ok, warn, fail, skipped } = findingsOf('clock')

const WATCH_MS = 500
const JUMP_MS = 50
const TIMEDATECTL_TIMEOUT_MS = 5_000
/** This program is newer. A Raspberry Pi has no clock of its own, and starts with an old time until NTP is there. */
const NOT_BEFORE_MS = Date.UTC(2026, 0, 1)

export interface ClockFacts {
  readonly nowMs: number
  /** What the wall clock has gone, less what has passed. */
  readonly jumpMs: number
  /** By systemd; undefined: it is not there, or does not say. */
  readonly isSynchronized: boolean | undefined
}

/** The wall clock against the monotonic one for a while, and NTP where systemd knows of it. */
export async function checkClock(): Promise<readonly Finding[]> {
  const isSynchronized = await askTimedatectl()
  const wallMs = Date.now()
  const monotonicMs = performance.now()
  await delay(WATCH_MS)
  const jumpMs = Date.now() - wallMs - (performance.now() - monotonicMs)
  return judgeClock({ nowMs: Date.now(), jumpMs, isSynchronized })
}

/** Pure. */
export function judgeClock({ nowMs, jumpMs, isSynchronized }: ClockFacts): readonly Finding[] {
  const now = new Date(nowMs).toISOString()
  const set = 'set it by NTP: timedatectl set-ntp true'
  const findings: Finding[] = []
  if (nowMs < NOT_BEFORE_MS)
    findings.push(
      fail(`it says ${now}, which is past`, `${set}; certificates and expiry need the right time`),
    )
  else findings.push(ok(`it says ${now}`))
  if (Math.abs(jumpMs) > JUMP_MS)
    findings.push(
      warn(
        `it jumped by ${msText(Math.abs(jumpMs))} within half a second`,
        'is it being set just now? Look again',
      ),
    )
  if (isSynchronized === undefined)
    findings.push(skipped('whether it is synchronized is not known here (no timedatectl that says)'))
  else if (isSynchronized) findings.push(ok('it is synchronized (NTP)'))
  else findings.push(warn('it is not synchronized (NTP)', set))
  return findings
}

function askTimedatectl(): Promise<boolean | undefined> {
  return new Promise((resolve) => {
    execFile(
      'timedatectl',
      ['show', '--property=NTPSynchronized', '--value'],
      { timeout: TIMEDATECTL_TIMEOUT_MS },
      (error, stdout) => {
        const said = stdout.trim()
        resolve(error !== null || !['yes', 'no'].includes(said) ? undefined : said === 'yes')
      },
    )
  })
}
