import { Command } from 'commander'
import { formatPath } from '../config/mistake.ts'
import { loadConfig, type LoadedConfig } from '../config/load.ts'
import type { Environment } from '../config/overrides.ts'
import { createLog, flushLog, resolveLogFormat, type Log } from '../log.ts'
import type { RunningBroker } from '../main.ts'
import { collect, configFile, overridesOf, type ConfigFlags } from './config-flags.ts'
import { greeting, tryCommands } from './greeting.ts'
import { RUNNING, runUntilStopped } from './process-events.ts'
import { serviceManagerOf, watchStore } from './systemd.ts'

const help = `
Without a configuration: MQTT on 127.0.0.1:1883 and ws://127.0.0.1:8083/mqtt for everyone on this machine,
health and metrics on http://127.0.0.1:8080, and what has to last in ./data.

  tunnelmq broker
  tunnelmq broker --config /etc/tunnelmq.yaml
  tunnelmq broker --set listeners.0.port=1884 --set store.path=/var/lib/tunnelmq

SIGTERM and SIGINT send clients away in order and stop; SIGHUP reads certificates, passwords and ACLs again.`

/** `tunnelmq broker`: runs until it is told to stop. */
export function brokerCommand(env: Environment): Command {
  return new Command('broker')
    .description('run the broker')
    .option('-c, --config <file>', 'configuration file (YAML); or TUNNELMQ_CONFIG')
    .option('-s, --set <key=value>', 'set one key of the configuration; may be repeated', collect)
    .option('--log-level <level>', 'lowest level that is logged; short for --set log.level=<level>')
    .addHelpText('after', help)
    .action((flags: ConfigFlags) => runBroker(flags, env))
}

async function runBroker(flags: ConfigFlags, env: Environment): Promise<void> {
  const loaded = await loadConfig({ file: configFile(flags, env), env, overrides: overridesOf(flags) })
  const log = createLog(loaded.config.log)
  warn(loaded, log)
  // Loaded by those who run it: `tunnelmq connect` is started for each ssh, and takes half as long without.
  const { startBroker } = await import('../main.ts')
  const broker = await startBroker({ config: loaded.config, log })
  greet(loaded, broker, log)
  const manager = serviceManagerOf(env, log)
  manager?.ready(RUNNING)
  manager?.watch(watchStore(() => broker.storeProgress()))
  const exitCode = await runUntilStopped({ broker, log, manager, events: process })
  await flushLog(log)
  // Not by an empty event loop: a handler's forgotten timer must not keep a stopped broker alive.
  process.exit(exitCode)
}

function warn({ warnings }: LoadedConfig, log: Log): void {
  for (const { path, message, file, line, source } of warnings)
    log.warn({ key: formatPath(path), detail: message, file, line, source }, 'doubtful configuration')
}

// Standard output belongs to the log as soon as that is JSON; the words for people then go beside it.
function greet({ config, file }: LoadedConfig, broker: RunningBroker, log: Log): void {
  const text = `${greeting(config, broker)}\n`
  if (resolveLogFormat(config.log.format, process.stdout.isTTY) === 'pretty') {
    process.stdout.write(text)
    return
  }
  const { listeners, adminUrl } = broker
  log.info({ config: file, listeners, adminUrl, next: tryCommands(config, broker) }, 'ready')
  process.stderr.write(text)
}
