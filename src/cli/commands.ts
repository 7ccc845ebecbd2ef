import type { Command } from 'commander'

type Environment = Readonly<Record<string, string | undefined>>
type LoadCommand = (env: Environment) => Promise<Command>

/** In the order of the help. */
const loaders: Readonly<Record<string, LoadCommand>> = {
  broker: async (env) => (await import('./broker.ts')).brokerCommand(env),
  agent: async (env) => (await import('./agent.ts')).agentCommand(env),
  ssh: async () => (await import('./ssh.ts')).sshCommand(),
  forward: async (env) => (await import('./forward.ts')).forwardCommand(env),
  connect: async (env) => (await import('./connect.ts')).connectCommand(env),
  agents: async (env) => (await import('./agents.ts')).agentsCommand(env),
  config: async (env) => (await import('./config.ts')).configCommand(env),
  passwd: async () => (await import('./passwd.ts')).passwdCommand(),
  'api-key': async (env) => (await import('./api-key.ts')).apiKeyCommand(env),
  identity: async (env) => (await import('./api/identity.ts')).identityCommand(env),
  gateway: async () => (await import('./gateway.ts')).gatewayCommand(),
  import: async () => (await import('./import.ts')).importCommand(),
  store: async (env) => (await import('./store.ts')).storeCommand(env),
  status: async (env) => (await import('./api/status.ts')).statusCommand(env),
  clients: async (env) => (await import('./api/clients.ts')).clientsCommand(env),
  retained: async (env) => (await import('./api/retained.ts')).retainedCommand(env),
  streams: async (env) => (await import('./api/tunnels.ts')).streamsCommand(env),
  listeners: async (env) => (await import('./api/status.ts')).listenersCommand(env),
  pods: async (env) => (await import('./api/status.ts')).podsCommand(env),
  ban: async (env) => (await import('./api/bans.ts')).banCommand(env),
  refusals: async (env) => (await import('./api/records.ts')).refusalsCommand(env),
  audit: async (env) => (await import('./api/records.ts')).auditCommand(env),
  why: async (env) => (await import('./api/why.ts')).whyCommand(env),
  trace: async (env) => (await import('./api/trace.ts')).traceCommand(env),
  'log-level': async (env) => (await import('./api/control.ts')).logLevelCommand(env),
  drain: async (env) => (await import('./api/control.ts')).drainCommand(env),
  doctor: async (env) => (await import('./doctor.ts')).doctorCommand(env),
}

/**
 * The command of that name alone: a broker does not hold the code of all the others in memory, and `tunnelmq ssh` does
 * not wait for it. Without such a name all of them, for the help and for the nearest known name.
 */
export function commandsFor(name: string | undefined, env: Environment): Promise<Command[]> {
  const load = name === undefined || !Object.hasOwn(loaders, name) ? undefined : loaders[name]
  return Promise.all((load === undefined ? Object.values(loaders) : [load]).map((each) => each(env)))
}
