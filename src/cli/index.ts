#!/usr/bin/env -S node --max-semi-space-size=16
import { Command, CommanderError } from 'commander'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import { version } from '../version.ts'
import { brokerCommand } from './broker.ts'
import { configCommand } from './config.ts'
import { passwdCommand } from './passwd.ts'
import { storeCommand } from './store.ts'

const EXIT_FAILURE = 1
const EXIT_USAGE = 2

const help = `
Start here:
  tunnelmq broker                    MQTT on 127.0.0.1:1883, for everyone on this machine
  tunnelmq config example            a configuration file to begin with

Exit code 1: it failed; 2: it was called wrongly. With TUNNELMQ_DEBUG=1 errors come with their stack.`

const { env } = process

function createProgram(): Command {
  const program = new Command('tunnelmq')
    .description('MQTT broker with auth hooks')
    .version(version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help; also after a command')
    .addHelpText('after', help)
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'tunnelmq: ')) })
  for (const command of [brokerCommand(env), configCommand(env), passwdCommand(), storeCommand()]) {
    inherit(command, program)
    program.addCommand(command)
  }
  return program
}

function inherit(command: Command, parent: Command): void {
  command.copyInheritedSettings(parent)
  for (const inner of command.commands) inherit(inner, command)
}

function report(error: unknown): number {
  // Commander has printed these itself: help, version, and what was wrong with the arguments.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE
  process.stderr.write(`tunnelmq: ${error instanceof Error ? error.message : String(error)}\n`)
  if (wantsStack() && error instanceof Error) process.stderr.write(`${error.stack ?? ''}\n`)
  return error instanceof TunnelMQError && error.code === ErrorCode.usage ? EXIT_USAGE : EXIT_FAILURE
}

// The configuration may be what is wrong, so its log level is looked for where it was said.
function wantsStack(): boolean {
  const said = [...process.argv, env['TUNNELMQ_LOG_LEVEL'] ?? ''].join(' ')
  return Boolean(env['TUNNELMQ_DEBUG']) || /\b(debug|trace)$|level[= ](debug|trace)\b/.test(said)
}

// `tunnelmq config reference | head` is no mistake.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? 0 : EXIT_FAILURE)
})

try {
  await createProgram().parseAsync()
} catch (error) {
  process.exitCode = report(error)
}
