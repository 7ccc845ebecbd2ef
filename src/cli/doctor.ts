import { Command } from 'commander'
import { loadConfig } from '../config/load.ts'
import type { Environment } from '../config/overrides.ts'
import type { Config } from '../config/schema.ts'
import type { Finding } from '../doctor/finding.ts'
import type { Check } from '../doctor/examine.ts'
import { addAdminOptions, printJson, type ApiFlags } from './api/command.ts'
import { collect, configFile, overridesOf, type ConfigFlags } from './config-flags.ts'
import { printable } from './table.ts'

interface DoctorFlags extends ApiFlags, Omit<ConfigFlags, 'logLevel'> {
  readonly agent?: string
  readonly broker?: string
  readonly username?: string
  readonly passwordFile?: string
  readonly ca?: string
}

const help = `
  tunnelmq doctor --config /etc/tunnelmq.yaml
  tunnelmq doctor --agent pi7
  tunnelmq doctor --agent pi7/ssh --broker mqtts://broker.example.com --username alice --password-file alice.password

It looks at what goes wrong in practice: configuration, ports, certificates, PROXY headers, Redis or the store's folder,
clock, limits, the broker that runs, and with --agent the way to an agent. It works without a broker, too, and changes
nothing; to a listener that runs it connects for a moment as doctor-... It finds an agent as tunnelmq connect does, with
the same variables (TUNNEL_BROKER, ...) and file; default: the listener of this configuration.

Exit code 0: nothing fails (there may be warnings); 1: something does.`

/** `tunnelmq doctor`: what is wrong here, and what to do about it. */
export function doctorCommand(env: Environment): Command {
  const command = new Command('doctor')
    .description('look for what is wrong with a broker, its machine, its store, and the way to an agent')
    .option('-c, --config <file>', 'configuration file (YAML); or TUNNELMQ_CONFIG')
    .option('-s, --set <key=value>', 'set one key; may be repeated', collect)
    .option('--agent <name[/service]>', 'measure the way to this agent')
    .option('--broker <url>', 'for --agent: mqtt://, mqtts://, ws://, wss:// or unix:/path')
    .option('--username <name>', 'for --agent: user name')
    .option(
      '--password-file <file>',
      'for --agent: file whose first line is the password; or TUNNEL_PASSWORD',
    )
    .option('--ca <file>', "for --agent: CAs of the broker (PEM); default: the system's")
    .option('--json', 'one JSON object a line')
  return addAdminOptions(command)
    .addHelpText('after', help)
    .action((flags: DoctorFlags) => runDoctor(flags, env))
}

async function runDoctor(flags: DoctorFlags, env: Environment): Promise<void> {
  // The checks bring Redis and the tunnels with them: loaded by those who ask.
  const { checkConfiguration } = await import('../doctor/configuration.ts')
  const { examine } = await import('../doctor/examine.ts')
  const show = (findings: readonly Finding[]): void => {
    if (flags.json === true) printJson(findings)
    else process.stdout.write(findings.map(linesOf).join(''))
  }
  const load = () => loadConfig({ file: configFile(flags, env), env, overrides: overridesOf(flags) })
  const { loaded, findings } = await checkConfiguration(load)
  show(findings)
  const checks = await checksOf(loaded?.config, flags, env)
  const all = [...findings, ...(await examine(checks, show))]
  const count = (state: Finding['state']): number => all.filter((finding) => finding.state === state).length
  if (flags.json !== true)
    process.stdout.write(
      `\n${count('fail')} failed, ${count('warn')} warnings, ${count('ok')} ok, ${count('skipped')} skipped\n`,
    )
  process.exitCode = count('fail') === 0 ? 0 : 1
}

/** Without a configuration only the machine, and the way to an agent, can be looked at. */
async function checksOf(
  config: Config | undefined,
  flags: DoctorFlags,
  env: Environment,
): Promise<readonly Check[]> {
  const { judgeNode } = await import('../doctor/node.ts')
  const { checkClock } = await import('../doctor/clock.ts')
  const { checkTunnel } = await import('../doctor/tunnel.ts')
  const { tunnelFlags } = await import('./doctor-tunnel.ts')
  const { startClient } = await import('./tunnel-client.ts')
  const connect = async () => (await startClient(tunnelFlags(flags, config, env), env)).client
  return [
    { name: 'node', run: () => Promise.resolve(judgeNode(process.versions.node)) },
    ...(config === undefined ? [] : await checksOfConfig(config, flags, env)),
    { name: 'clock', run: checkClock },
    { name: 'tunnel', run: () => checkTunnel(flags.agent, connect) },
  ]
}

async function checksOfConfig(
  config: Config,
  flags: DoctorFlags,
  env: Environment,
): Promise<readonly Check[]> {
  const { checksOfBroker } = await import('../doctor/checks.ts')
  const { viewBroker } = await import('./doctor-broker.ts')
  return checksOfBroker(config, await viewBroker(flags, config, env))
}

const marks = { ok: 'ok   ', warn: 'warn ', fail: 'FAIL ', skipped: 'skip ' } as const
const NAME_WIDTH = 13

function linesOf({ check, state, seen, todo }: Finding): string {
  const first = `${marks[state]} ${check.padEnd(NAME_WIDTH)} ${printable(seen)}\n`
  return todo === null ? first : `${first}${' '.repeat(NAME_WIDTH + 7)}-> ${printable(todo)}\n`
}
