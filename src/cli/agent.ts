import { Command } from 'commander'
import type { Environment } from '../config/overrides.ts'
import { loadAgentConfig } from '../config/tunnel-endpoint.ts'
import { createLog, flushLog } from '../log.ts'
import { createAgent } from '../tunnel/connect.ts'
import { serviceManagerOf } from './systemd.ts'
import { readCredentials } from './tunnel-credentials.ts'
import { TunnelExit, withTunnelExit } from './tunnel-exit.ts'
import { addAgentOptions, configFileOf, tunnelOverrides, type AgentFlags } from './tunnel-flags.ts'
import { linkSettings, logWarnings } from './tunnel-link.ts'
import { untilStopped } from './tunnel-process.ts'

const help = `
  tunnelmq agent --id pi7 --service ssh=127.0.0.1:22
  tunnelmq agent --id pi7 --service ssh=127.0.0.1:22 --service web=localhost:8080,proxy-protocol=v2 \\
    --broker mqtts://broker.example.com:8883 --username pi7 --password-file /etc/tunnelmq/pi7.password
  tunnelmq agent --config /etc/tunnelmq/agent.yaml

A target is host:port, [IPv6]:port or unix:/path. Nobody can reach anything else through the agent.
All of it can also stand in the environment (TUNNEL_BROKER, TUNNEL_ID, TUNNEL_SERVICES, ...) and in a YAML file;
options win over the environment, and that over the file. See docs/tunnels.md.

It runs until SIGTERM or SIGINT, and comes back by itself when the broker was away. Exit code 2: called wrongly.`

/** `tunnelmq agent`: offers services until it is told to stop. */
export function agentCommand(env: Environment): Command {
  return addAgentOptions(new Command('agent'))
    .description('offer services of this machine through a broker')
    .addHelpText('after', help)
    .action((flags: AgentFlags) => withTunnelExit(() => runAgent(flags, env)))
}

async function runAgent(flags: AgentFlags, env: Environment): Promise<void> {
  const { config, warnings } = await loadAgentConfig({
    file: configFileOf(flags, env),
    env,
    flags: tunnelOverrides(flags),
    proxyProtocol: flags.proxyProtocol ?? [],
  })
  const credentials = await readCredentials(config)
  const log = createLog(config.log)
  logWarnings(log, warnings, credentials)
  const { id, services, doctor } = config
  const agent = createAgent({
    ...linkSettings(config, credentials),
    id,
    services,
    doctor,
    log,
    // A device starts before its network, and its broker may be set right meanwhile: it never gives up.
    onConnectFailed: ({ attempts, isFatal }) => {
      if (isFatal && attempts === 1)
        log.error({ agent: id }, 'it will not get better by itself, but the agent goes on trying')
    },
  })
  const targets = Object.fromEntries(Object.entries(services).map(([name, { target }]) => [name, target]))
  log.info({ agent: id, broker: config.broker, services: targets }, 'agent started')
  const manager = serviceManagerOf(env, log)
  // Also without its broker: it tries again for as long as it takes, and systemd is not to end it for that.
  manager?.ready(`agent ${id}`)
  manager?.watch(() => true)
  await untilStopped({
    events: process,
    log,
    stop: async (signal) => {
      manager?.stopping()
      log.info({ signal, streams: agent.streams }, 'agent stopping')
      await agent.close()
      log.info('agent stopped')
    },
  })
  await flushLog(log)
  process.exit(TunnelExit.ok)
}
