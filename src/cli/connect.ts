import { Command } from 'commander'
import { closeSync } from 'node:fs'
import { readDestination, type Destination } from '../config/tunnel-endpoint-syntax.ts'
import type { Environment } from '../config/overrides.ts'
import { joinStdio } from '../tunnel/stdio.ts'
import { startClient } from './tunnel-client.ts'
import { CommandFailure, TunnelExit, withTunnelExit } from './tunnel-exit.ts'
import { addClientOptions, type ClientFlags } from './tunnel-flags.ts'
import { untilStopped } from './tunnel-process.ts'
import { agentOfHost } from './tunnel-ssh-arguments.ts'

const help = `
For ssh, in ~/.ssh/config, after which \`ssh pi7.tunnel\`, scp, sftp and rsync just work:

  Host *.tunnel
    ProxyCommand tunnelmq connect %h/ssh

Only the bytes of the stream go to standard output; what there is to say goes to standard error. The exit code
says what was in the way: see docs/tunnels.md.`

/** `tunnelmq connect`: one stream on standard input and output. */
export function connectCommand(env: Environment): Command {
  return addClientOptions(new Command('connect'))
    .description('a stream to a service, on standard input and output')
    .argument('<agent/service>', 'where to: pi7/ssh; pi7.tunnel/ssh is the same')
    .addHelpText('after', help)
    .action((to: string, flags: ClientFlags) => withTunnelExit(() => runConnect(to, flags, env)))
}

async function runConnect(text: string, flags: ClientFlags, env: Environment): Promise<void> {
  const { agent, service } = destinationOf(text)
  const { client, log } = await startClient(flags, env)
  // That of the program exits at once, and the agent would wait for us.
  process.stdout.removeAllListeners('error')
  try {
    const stream = await client.openStream(`${agent}/${service}`)
    const leaving = new AbortController()
    const leave = (): void => leaving.abort()
    // ssh ends its proxy command so, behind its last words; a terminal that is closed does it as well.
    process.on('SIGHUP', leave)
    const joined = joinStdio(stream, {
      input: process.stdin,
      output: process.stdout,
      closeOutput,
      leave: leaving.signal,
      // The input of somebody who types ends by Ctrl-D; Ctrl-C is meant at once.
      ...(process.stdin.isTTY && { lingerMs: 0 }),
    })
    void untilStopped({
      events: process,
      log,
      stop: async () => {
        leave()
        await joined.catch(() => undefined)
      },
    })
    await joined
  } finally {
    await client.close()
  }
  // A terminal that nobody types on would keep the process.
  process.exit(TunnelExit.ok)
}

function closeOutput(): void {
  try {
    closeSync(1)
  } catch {
    // Its reader was first.
  }
}

function destinationOf(text: string): Destination {
  const slash = text.indexOf('/')
  const plain = slash < 0 ? text : agentOfHost(text.slice(0, slash)) + text.slice(slash)
  const destination = readDestination(plain)
  if (typeof destination === 'string') throw new CommandFailure(TunnelExit.usage, destination)
  return destination
}
