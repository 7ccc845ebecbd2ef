import { execFile } from 'node:child_process'
import type { Environment } from '../config/overrides.ts'
import type { Log } from '../log.ts'
import { withinTimer } from '../timer.ts'

/** What systemd is told of the process (sd_notify(3)). Nothing of it waits, and nothing of it fails the process. */
export interface ServiceManager {
  /** It has started, or has read its files again. The text is what `systemctl status` shows. */
  ready(status: string): void
  reloading(): void
  stopping(): void
  /** If the unit has WatchdogSec: says that it lives while `isWell` says so, and the event loop gets to ask. */
  watch(isWell: () => boolean): void
}

/** systemd's own program: Node has no datagrams on unix sockets (docs/decisions/0010-operate.md). */
const PROGRAM = 'systemd-notify'
const CALL_TIMEOUT_MS = 10_000
/** Of WatchdogSec: two may be lost on a machine that is busy. */
const PINGS_A_WATCHDOG = 3

/** Undefined without NOTIFY_SOCKET: not a unit of Type=notify, or no systemd. */
export function serviceManagerOf(env: Environment, log: Log): ServiceManager | undefined {
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: watchdogUs, WATCHDOG_PID: watchdogPid, PATH: path } = env
  if (socket === undefined || socket === '') return undefined
  const isForUs = watchdogPid === undefined || watchdogPid === String(process.pid)
  const watchdogMs = isForUs ? Number(watchdogUs ?? 0) / 1_000 : 0
  /** In their order: each is a process of its own. */
  let last = Promise.resolve()
  let pingsWaiting = 0
  let isWarned = false

  const call = (states: readonly string[]) =>
    new Promise<void>((resolve) => {
      const childEnv = { NOTIFY_SOCKET: socket, ...(path !== undefined && { PATH: path }) }
      execFile(PROGRAM, [...states], { env: childEnv, timeout: CALL_TIMEOUT_MS }, (error) => {
        if (error !== null && !isWarned) {
          isWarned = true
          log.error({ err: error, states }, 'systemd was not told; with Type=notify it will end this process')
        }
        resolve()
      })
    })
  const tell = (...states: readonly string[]) => (last = last.then(() => call(states)))

  return {
    ready: (status) => void tell('READY=1', `STATUS=${status}`),
    reloading: () => void tell('RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1_000n}`),
    stopping: () => void tell('STOPPING=1', 'STATUS=stopping'),
    watch(isWell) {
      if (!(watchdogMs > 0)) return
      const ping = (): void => {
        // A systemd that does not take them is not sent more.
        if (!isWell() || pingsWaiting > 0) return
        pingsWaiting++
        void tell('WATCHDOG=1').finally(() => pingsWaiting--)
      }
      setInterval(ping, withinTimer(watchdogMs / PINGS_A_WATCHDOG)).unref()
    },
  }
}

interface StoreProgress {
  readonly failure: string
  readonly pendingWrites: number
  readonly commits: number
}

/**
 * Whether the store moves, from look to look. One that says what is wrong with it (a full disk, Redis away) is well in
 * this sense: it goes on by itself, and a restart would only send all clients away. One that owes an answer and neither
 * gives it nor says why hangs.
 */
export function watchStore(read: () => StoreProgress): () => boolean {
  let before: StoreProgress | undefined
  return () => {
    const now = read()
    const hangs =
      now.failure === '' &&
      now.pendingWrites > 0 &&
      before?.pendingWrites !== 0 &&
      before?.commits === now.commits
    before = now
    return !hangs
  }
}
