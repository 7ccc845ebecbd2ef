import { Command } from 'commander'
import { configExample } from '../config/example.ts'
import { configSchemaText } from '../config/json-schema.ts'
import { loadConfig, type LoadedConfig } from '../config/load.ts'
import { formatMistake } from '../config/mistake.ts'
import type { Environment } from '../config/overrides.ts'
import { printConfig } from '../config/print.ts'
import { configReference } from '../config/reference.ts'
import { runningConfigCommand } from './api/control.ts'
import { collect, configFile, overridesOf, type ConfigFlags } from './config-flags.ts'

const help = `
  tunnelmq config check /etc/tunnelmq.yaml
  tunnelmq config print --config /etc/tunnelmq.yaml
  tunnelmq config example > tunnelmq.yaml`

/** `tunnelmq config`: checks, shows and documents the configuration. */
export function configCommand(env: Environment): Command {
  const command = new Command('config').description('check, show and document the configuration')
  command
    .command('check')
    .description('name every mistake of a configuration; exit code 1 if there is one')
    .argument('<file>', 'configuration file (YAML)')
    .option('-s, --set <key=value>', 'set one key; may be repeated', collect)
    .action(async (file: string, flags: ConfigFlags) => {
      warn(await loadConfig({ file, env, overrides: overridesOf(flags) }))
      process.stdout.write(`${file}: no mistakes\n`)
    })
  command
    .command('print')
    .description('show what is in force, of file, environment and options; secrets as ***')
    .option('-c, --config <file>', 'configuration file (YAML); or TUNNELMQ_CONFIG')
    .option('-s, --set <key=value>', 'set one key; may be repeated', collect)
    .action(async (flags: ConfigFlags) => {
      const loaded = await loadConfig({ file: configFile(flags, env), env, overrides: overridesOf(flags) })
      warn(loaded)
      process.stdout.write(printConfig(loaded.config))
    })
  printing(command, 'example', 'print a configuration file with every key and its default', configExample)
  printing(command, 'reference', 'print the reference of all keys, as Markdown', configReference)
  printing(command, 'schema', 'print the JSON Schema, for editors', configSchemaText)
  command.addCommand(runningConfigCommand(env))
  return command.addHelpText('after', help)
}

function printing(command: Command, name: string, description: string, text: () => string): void {
  command
    .command(name)
    .description(description)
    .action(() => void process.stdout.write(text()))
}

function warn({ warnings }: LoadedConfig): void {
  for (const warning of warnings) process.stderr.write(`warning: ${formatMistake(warning)}\n`)
}
