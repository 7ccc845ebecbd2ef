import { Command } from 'commander'
import type { Environment } from '../config/overrides.ts'
import type { AgentInfo } from '../tunnel/status.ts'
import { addAdminOptions, type ApiFlags } from './api/command.ts'
import { listAgents } from './api/tunnels.ts'
import { formatTable, terminalWidth } from './table.ts'
import { startClient } from './tunnel-client.ts'
import { TunnelExit, withTunnelExit } from './tunnel-exit.ts'
import { addClientOptions, type ClientFlags } from './tunnel-flags.ts'
import { untilStopped } from './tunnel-process.ts'

interface AgentsFlags extends ClientFlags, Omit<ApiFlags, 'config' | 'json'> {
  readonly admin?: true
  readonly json?: true
  readonly watch?: true
}

const help = `
  tunnelmq agents
  tunnelmq agents --json | jq -r 'select(.online).id'
  tunnelmq agents --watch
  tunnelmq agents --admin

--json: one JSON object a line, with id, online, services, since, streams, host, version. With --watch a line for each
change follows. The right to read $tunnel/+/status is needed.

--admin: as the broker knows them, with address, user name, pod and bytes; an API key is needed (docs/commands.md).`

const HEADINGS = ['agent', 'state', 'since', 'services', 'streams', 'host', 'version'] as const

/** `tunnelmq agents`: who offers what. */
export function agentsCommand(env: Environment): Command {
  const command = addClientOptions(new Command('agents'))
    .description('list the agents of a broker')
    .option('--json', 'one JSON object a line')
    .option('--watch', 'go on, with a line for each change')
    .option('--admin', 'ask the admin API instead of MQTT; then --config is that of the broker')
  return addAdminOptions(command)
    .addHelpText('after', help)
    .action((flags: AgentsFlags) =>
      flags.admin === true ? listAgents(flags, env) : withTunnelExit(() => runAgents(flags, env)),
    )
}

async function runAgents(flags: AgentsFlags, env: Environment): Promise<void> {
  const { client, log } = await startClient(flags, env)
  const print = flags.json === true ? printJson : printTable
  try {
    const agents = await client.agents()
    print(agents)
    if (flags.watch === true) {
      const shown = new Map(agents.map((agent) => [agent.id, JSON.stringify(agent)]))
      client.watchAgents((id, agent) => {
        // What is known is told again, at first and after each reconnect.
        const text = agent === undefined ? '' : JSON.stringify(agent)
        if (text === (shown.get(id) ?? '')) return
        if (agent === undefined) shown.delete(id)
        else shown.set(id, text)
        printChange(id, agent, flags.json === true)
      })
      await untilStopped({ events: process, log, stop: () => Promise.resolve() })
    }
  } finally {
    await client.close()
  }
  // Not process.exit: what was printed may still be on its way into a pipe.
  process.exitCode = TunnelExit.ok
}

function printJson(agents: readonly AgentInfo[]): void {
  process.stdout.write(agents.map((agent) => `${JSON.stringify(agent)}\n`).join(''))
}

function printTable(agents: readonly AgentInfo[]): void {
  if (agents.length === 0) process.stderr.write('there are no agents at this broker\n')
  else process.stdout.write(formatTable(HEADINGS, agents.map(cellsOf), terminalWidth()))
}

/** A line a change; an agent whose status was removed is gone. */
function printChange(id: string, agent: AgentInfo | undefined, asJson: boolean): void {
  if (asJson) return printJson([agent ?? { id, online: false, services: [] }])
  const cells = agent === undefined ? [id, 'gone'] : cellsOf(agent)
  process.stdout.write(`${new Date().toISOString()}  ${cells.join('  ').trimEnd()}\n`)
}

function cellsOf(agent: AgentInfo): (string | number)[] {
  const { id, online, since, services, streams, host, version } = agent
  return [
    id,
    online ? 'online' : 'offline',
    since?.toISOString().replace(/\.\d+Z$/, 'Z') ?? '',
    services.join(','),
    online ? (streams ?? '') : '',
    host ?? '',
    version ?? '',
  ]
}
