#!/usr/bin/env -S node --max-semi-space-size=16 --initial-old-space-size=64
import { Command, CommanderError } from 'commander'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import { version } from '../version.ts'
import { commandsFor } from './commands.ts'
import { CommandFailure } from './tunnel-exit.ts'

const EXIT_FAILURE = 1
const EXIT_USAGE = 2

const help = `
Start here:
  tunnelmq broker                    MQTT on 127.0.0.1:1883, for everyone on this machine
  tunnelmq config example            a configuration file to begin with

Tunnels, through that broker or another one:
  tunnelmq agent --id pi7 --service ssh=127.0.0.1:22
  tunnelmq ssh pi7

A broker that runs on this machine, or another one with an API key (docs/commands.md):
  tunnelmq status
  tunnelmq clients
  tunnelmq doctor                    what is wrong here, and what to do about it

Exit code 1: it failed; 2: it was called wrongly; those of tunnels: docs/tunnels.md. With TUNNELMQ_DEBUG=1 errors come with their stack.`

const { env } = process

async function createProgram(): Promise<Command> {
  const program = new Command('tunnelmq')
    .description('MQTT broker with auth hooks and TCP tunnels')
    .version(version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help; also after a command')
    .addHelpText('after', help)
    // What stands behind `tunnelmq ssh pi7` is for ssh.
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'tunnelmq: ')) })
  for (const command of await commandsFor(process.argv[2], env)) {
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
  if (wantsStack()) process.stderr.write(`${stackOf(error)}\n`)
  if (error instanceof CommandFailure) return error.exitCode
  return error instanceof TunnelMQError && error.code === ErrorCode.usage ? EXIT_USAGE : EXIT_FAILURE
}

/** A command of tunnels says how it ends; what was behind it is more telling. */
function stackOf(error: unknown): string {
  const told = error instanceof CommandFailure && error.cause instanceof Error ? error.cause : error
  return told instanceof Error ? (told.stack ?? '') : ''
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
// A terminal that is closed, or a pager: nobody hears the words of a forward then, and its streams go on.
process.stderr.on('error', () => undefined)

try {
  const program = await createProgram()
  await program.parseAsync()
} catch (error) {
  process.exitCode = report(error)
}
