import { Command } from 'commander'
import type { Environment } from '../config/overrides.ts'
import { readForward, type ForwardWord } from '../config/tunnel-endpoint-syntax.ts'
import { flushLog } from '../log.ts'
import type { TunnelClient } from '../tunnel/client.ts'
import type { Forward } from '../tunnel/forward.ts'
import { startClient } from './tunnel-client.ts'
import { CommandFailure, TunnelExit, withTunnelExit } from './tunnel-exit.ts'
import { addClientOptions, type ClientFlags } from './tunnel-flags.ts'
import { untilStopped } from './tunnel-process.ts'

const help = `
  tunnelmq forward 2222=pi7/ssh
  tunnelmq forward 2222=pi7/ssh 127.0.0.1:8080=pi7/web '[::1]:5432=db/postgres' unix:/tmp/pi7.sock=pi7/ssh
  tunnelmq forward 0=pi7/ssh          a free port, which is printed

Without an address: 127.0.0.1, for this machine only; *:2222 for everyone. All forwards share one connection to the
broker. When they listen, one line for each is printed: 127.0.0.1:2222 -> pi7/ssh. More of it: docs/tunnels.md.`

/** `tunnelmq forward`: local ports that lead to services, until it is told to stop. */
export function forwardCommand(env: Environment): Command {
  return addClientOptions(new Command('forward'))
    .description('local ports that lead to services of agents')
    .argument('[forwards...]', '[address:]port=agent/service; or TUNNEL_FORWARDS, or forwards in the file')
    .addHelpText('after', help)
    .action((words: string[], flags: ClientFlags) => withTunnelExit(() => runForward(words, flags, env)))
}

async function runForward(words: readonly string[], flags: ClientFlags, env: Environment): Promise<void> {
  // Before anything is connected: who has mistyped one, or named none, shall hear of it at once.
  let wanted = words.map(forwardOf)
  const { client, log } = await startClient(flags, env, ({ forwards }) => {
    if (wanted.length === 0) wanted = forwards.map(forwardOf)
    if (wanted.length > 0) return
    const message = 'which ports? tunnelmq forward [address:]port=agent/service, such as 2222=pi7/ssh'
    throw new CommandFailure(TunnelExit.usage, message)
  })
  try {
    const forwards: Forward[] = []
    for (const word of wanted) forwards.push(await listen(client, word))
    process.stdout.write(forwards.map((forward) => `${placeOf(forward)} -> ${forward.to}\n`).join(''))
    await untilStopped({
      events: process,
      log,
      stop: async (signal) => {
        log.info({ signal }, 'forward stopping')
        await client.close()
      },
    })
  } finally {
    await client.close()
    await flushLog(log)
  }
  process.exit(TunnelExit.ok)
}

function forwardOf(text: string): ForwardWord {
  const forward = readForward(text)
  if (typeof forward === 'string') throw new CommandFailure(TunnelExit.usage, forward)
  return forward
}

async function listen(
  client: TunnelClient,
  { agent, service, listen: place }: ForwardWord,
): Promise<Forward> {
  const to = `${agent}/${service}`
  if ('path' in place || place.host !== '*') return client.forward({ to, ...place })
  try {
    return await client.forward({ to, host: '::', port: place.port })
  } catch (error) {
    if (!hasNoIPv6(error)) throw error
    return client.forward({ to, host: '0.0.0.0', port: place.port })
  }
}

function hasNoIPv6(error: unknown): boolean {
  const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException
  return code === 'EAFNOSUPPORT' || code === 'EADDRNOTAVAIL'
}

function placeOf({ host = '', port, path }: Forward): string {
  if (path !== undefined) return `unix:${path}`
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
