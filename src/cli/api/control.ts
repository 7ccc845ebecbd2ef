import { setTimeout as delay } from 'node:timers/promises'
import { Command } from 'commander'
import type { DrainState, LogLevel } from '../../admin/api/resources.ts'
import type { Environment } from '../../config/overrides.ts'
import { parseDuration } from '../duration.ts'
import { CommandFailure, TunnelExit } from '../tunnel-exit.ts'
import type { ApiClient } from './client.ts'
import { onApi, printDone, type ApiFlags } from './command.ts'

interface DrainFlags extends ApiFlags {
  readonly spread?: string
  readonly wait?: true
  readonly timeout?: string
  readonly undo?: true
}

const LOOK_MS = 500
/** The API takes no more. */
const MAX_SPREAD_MS = 3_600_000
/** Beyond the spread, for the last ones to go. */
const WAIT_MS = 15_000

const drainHelp = `
  tunnelmq drain --spread 30s --wait
  tunnelmq drain --undo

Takes no new connections, says 503 on /ready, and sends clients away spread over a time, so that they do not come back
all at once. The process goes on. With --wait it ends when no connection is left, or with exit code 1 when the time is
over: as preStop hook of a pod, or before a stop by hand.`

/** `tunnelmq drain`: empties one broker, for an update. */
export function drainCommand(env: Environment): Command {
  const command = new Command('drain')
    .description('send the clients of this broker away, in order')
    .option('--spread <duration>', 'close clients spread over this; default: 30s')
    .option('--wait', 'until no connection is left')
    .option('--timeout <duration>', 'with --wait: at most so long; default: the spread and 15s')
    .option('--undo', 'accept connections again')
    .addHelpText('after', drainHelp)
  return onApi(command, env, (api, flags: DrainFlags) =>
    flags.undo === true ? undo(api, flags) : drain(api, flags),
  )
}

async function undo(api: ApiClient, flags: DrainFlags): Promise<void> {
  printDone('it accepts connections again', flags, await api.ask<DrainState>('DELETE', '/drain'))
}

async function drain(api: ApiClient, flags: DrainFlags): Promise<void> {
  const spreadMs = parseDuration('--spread', flags.spread ?? '30s', MAX_SPREAD_MS)
  const timeoutMs =
    flags.timeout === undefined ? spreadMs + WAIT_MS : parseDuration('--timeout', flags.timeout)
  let state = await api.ask<DrainState>('POST', '/drain', { body: { spreadMs } })
  if (flags.wait !== true)
    return printDone(`draining; ${state.connections} connections are left`, flags, state)
  const deadlineMs = performance.now() + timeoutMs
  while (state.connections > 0) {
    const leftMs = deadlineMs - performance.now()
    if (leftMs <= 0)
      throw new CommandFailure(
        TunnelExit.failed,
        `${state.connections} connections are left after ${timeoutMs} ms`,
      )
    await delay(Math.min(LOOK_MS, leftMs))
    state = await api.ask<DrainState>('GET', '/drain')
    if (!state.isDraining) throw new CommandFailure(TunnelExit.failed, 'somebody else has ended the drain')
  }
  printDone('drained: no connection is left', flags, state)
}

/** `tunnelmq log-level` */
export function logLevelCommand(env: Environment): Command {
  const command = new Command('log-level')
    .description('show or change the log level, until the next start')
    .argument('[level]', 'trace, debug, info, warn, error or silent')
  return onApi(command, env, async (api, flags, level) => {
    const now =
      level === undefined
        ? await api.ask<LogLevel>('GET', '/log-level')
        : await api.ask<LogLevel>('PUT', '/log-level', { body: { level } })
    printDone(now.level, flags, now)
  })
}

/** `tunnelmq config running`: what is in force there, secrets as ***. */
export function runningConfigCommand(env: Environment): Command {
  const command = new Command('running').description(
    'show the configuration of the broker that runs, as JSON',
  )
  return onApi(command, env, async (api, flags) => {
    const config = await api.ask<unknown>('GET', '/config')
    process.stdout.write(`${JSON.stringify(config, undefined, flags.json === true ? undefined : 2)}\n`)
  })
}
