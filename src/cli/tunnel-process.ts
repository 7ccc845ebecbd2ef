import { flushLog, type Log } from '../log.ts'

/** The process, or its twin in a test. */
export type ProcessEvents = Pick<NodeJS.Process, 'on' | 'off' | 'exit'>

/**
 * Waits for one of the signals, runs `stop`, and resolves when that is done; a second signal exits at once with 1.
 * Meanwhile a promise that nobody awaited is logged, and ends nothing. SIGHUP is for the caller to name: without it
 * `nohup` does what it should.
 */
export async function untilStopped(options: {
  readonly events: ProcessEvents
  readonly log: Log
  readonly signals?: readonly NodeJS.Signals[]
  stop(signal: NodeJS.Signals): Promise<void>
}): Promise<void> {
  const { events, log, signals = ['SIGTERM', 'SIGINT'] } = options
  let ask!: (signal: NodeJS.Signals) => void
  const asked = new Promise<NodeJS.Signals>((resolve) => (ask = resolve))
  let signalCount = 0
  const onSignal = (signal: NodeJS.Signals): void => {
    signalCount++
    if (signalCount === 1) ask(signal)
    else void flushLog(log).then(() => events.exit(1))
  }
  const onRejection = (error: unknown): void => log.error({ err: error }, 'unhandled rejection')
  events.on('unhandledRejection', onRejection)
  for (const signal of signals) events.on(signal, onSignal)
  try {
    await options.stop(await asked)
  } finally {
    for (const signal of signals) events.off(signal, onSignal)
    events.off('unhandledRejection', onRejection)
  }
}
