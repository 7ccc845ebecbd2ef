import { flushLog, type Log } from '../log.ts'
import type { RunningBroker } from '../main.ts'
import type { ServiceManager } from './systemd.ts'

export interface ProcessEventOptions {
  readonly broker: Pick<RunningBroker, 'reload' | 'stop' | 'closed' | 'noteUnhandledError'>
  readonly log: Log
  /** Undefined: nobody has to be told. */
  readonly manager?: ServiceManager | undefined
  /** The process, or its twin in a test. */
  readonly events: Pick<NodeJS.Process, 'on' | 'off' | 'exit'>
}

/** What `systemctl status` shows. */
export const RUNNING = 'running'

/**
 * Ties the broker to its process: SIGTERM and SIGINT drain and exit with 0, a second one exits at once with 1,
 * SIGHUP reads files again. Resolves with the exit code when the broker has stopped.
 */
export async function runUntilStopped({
  broker,
  log,
  manager,
  events,
}: ProcessEventOptions): Promise<number> {
  let exitCode = 0
  let isStopping = false
  let unhandledCount = 0

  const stop = (reason: string): void => {
    if (isStopping) return
    isStopping = true
    manager?.stopping()
    broker.stop(reason).catch((error: unknown) => {
      exitCode = 1
      log.error({ err: error }, 'stop failed')
      exitAtOnce()
    })
  }
  const exitAtOnce = (): void => {
    void flushLog(log).then(() => events.exit(1))
  }
  const onStopSignal = (signal: NodeJS.Signals): void => {
    if (isStopping) {
      log.warn({ signal }, 'second signal, exiting at once')
      exitAtOnce()
      return
    }
    log.info({ signal }, 'stopping')
    stop(signal)
  }
  const onReloadSignal = (): void => {
    log.info({ signal: 'SIGHUP' }, 'reloading')
    manager?.reloading()
    broker
      .reload()
      .then(
        () => log.info('reloaded'),
        (error: unknown) => log.error({ err: error }, 'reload failed, what was in force stays'),
      )
      .finally(() => {
        if (!isStopping) manager?.ready(RUNNING)
      })
  }
  // A promise that nobody awaited: our bug or a handler's, and no reason to disconnect everyone.
  const onRejection = (error: unknown): void => {
    unhandledCount += 1
    broker.noteUnhandledError()
    log.error({ err: error, unhandledCount }, 'unhandled rejection')
  }
  // After this nothing is certain, so clients are sent away in order and a supervisor starts us anew.
  const onException = (error: Error): void => {
    exitCode = 1
    log.fatal({ err: error }, 'uncaught exception')
    stop('uncaught exception')
  }

  events.on('SIGTERM', onStopSignal)
  events.on('SIGINT', onStopSignal)
  events.on('SIGHUP', onReloadSignal)
  events.on('unhandledRejection', onRejection)
  events.on('uncaughtException', onException)
  try {
    await broker.closed
  } finally {
    events.off('SIGTERM', onStopSignal)
    events.off('SIGINT', onStopSignal)
    events.off('SIGHUP', onReloadSignal)
    events.off('unhandledRejection', onRejection)
    events.off('uncaughtException', onException)
  }
  return exitCode
}
