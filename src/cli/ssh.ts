import { Command } from 'commander'
import { spawn, type ChildProcess } from 'node:child_process'
import { addClientOptions, connectionWords, type ClientFlags } from './tunnel-flags.ts'
import { CommandFailure, TunnelExit, withTunnelExit } from './tunnel-exit.ts'
import { findAgent, sshOptions } from './tunnel-ssh-arguments.ts'

interface SshFlags extends ClientFlags {
  readonly ssh: string
  readonly service: string
}

const help = `
Options of ours are long and come first; behind them stands what ssh is to be given:

  tunnelmq ssh pi7
  tunnelmq ssh --broker mqtts://broker.example.com:8883 admin@pi7 -L 8080:localhost:80
  tunnelmq ssh -i key pi7 uptime

scp, rsync and sftp, and ssh without this command: see docs/tunnels.md. The exit code is that of ssh.`

/** `tunnelmq ssh`: the user's own ssh, with `tunnelmq connect` for its way. */
export function sshCommand(): Command {
  return addClientOptions(new Command('ssh'))
    .description('run ssh to a device behind an agent')
    .usage('[options] [user@]agent [ssh arguments]')
    .option('--ssh <program>', 'the ssh to run', 'ssh')
    .option('--service <name>', 'service of the agent', 'ssh')
    .argument('[ssh arguments...]', 'as for ssh, with the name of the agent as host')
    .passThroughOptions()
    .allowUnknownOption()
    .addHelpText('after', help)
    .action((words: string[], flags: SshFlags) => withTunnelExit(() => runSsh(words, flags)))
}

async function runSsh(words: readonly string[], flags: SshFlags): Promise<void> {
  const agent = findAgent(words)
  const script = process.argv[1] ?? ''
  const connect = ['connect', ...connectionWords(flags), `${agent}/${flags.service}`]
  const options = sshOptions(agent, [process.execPath, ...process.execArgv, script, ...connect])
  // Passwords go with the environment, which ssh hands to its proxy command.
  const child = spawn(flags.ssh, [...options, ...words], { stdio: 'inherit' })
  const { code, signal } = await ended(child, flags.ssh)
  // As a shell would see it, had it run ssh itself.
  if (signal !== null) process.kill(process.pid, signal)
  else process.exitCode = code
}

interface Ended {
  readonly code: number
  readonly signal: NodeJS.Signals | null
}

/** The terminal sends its signals to ssh as well; those that were meant for us alone are passed on. */
function ended(child: ChildProcess, program: string): Promise<Ended> {
  const ignore = (): void => undefined
  const passOn = (signal: NodeJS.Signals): void => void child.kill(signal)
  process.on('SIGINT', ignore)
  process.on('SIGQUIT', ignore)
  process.on('SIGTERM', passOn)
  process.on('SIGHUP', passOn)
  const done = (): void => {
    process.off('SIGINT', ignore)
    process.off('SIGQUIT', ignore)
    process.off('SIGTERM', passOn)
    process.off('SIGHUP', passOn)
  }
  return new Promise((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) => {
      done()
      const why =
        error.code === 'ENOENT' ? 'is not there; install it, or name another with --ssh' : error.message
      reject(new CommandFailure(TunnelExit.failed, `${program}: ${why}`, { cause: error }))
    })
    child.once('exit', (code, signal) => {
      done()
      resolve({ code: code ?? TunnelExit.failed, signal })
    })
  })
}
