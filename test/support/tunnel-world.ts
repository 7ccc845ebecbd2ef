import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hashPassword } from '../../src/hooks/password-hash.ts'
import { runCli, startCli, type CliResult, type RunningCli } from './run-cli.ts'

/** A broker with users and an ACL, and commands of tunnels, each as a process of the built program. */
export interface TunnelWorld {
  readonly folder: string
  readonly brokerUrl: string
  /** A TCP server that sends back what it gets. */
  readonly echoPort: number
  /** Starts a command as this user, until the end of the world. */
  start(user: string, args: readonly string[], env?: Readonly<Record<string, string>>): RunningCli
  /** Runs a command as this user to its end, without input. */
  run(user: string, args: readonly string[], env?: Readonly<Record<string, string>>): Promise<CliResult>
  /** The environment that `start` gives: broker, user name, password. */
  environmentOf(user: string): Record<string, string>
  end(): Promise<void>
}

const ACL = `
user pi7
topic read $tunnel/pi7/#
topic write $tunnel/pi7/#
user pi8
topic read $tunnel/pi8/#
topic write $tunnel/pi8/#
user alice
topic write $tunnel/#
topic read $tunnel/+/status
user bob
topic write $tunnel/pi7/web/#
topic read $tunnel/+/status
`
const USERS = ['pi7', 'pi8', 'alice', 'bob']

const passwordOf = (user: string): string => `password of ${user}`

export async function createTunnelWorld(): Promise<TunnelWorld> {
  const folder = await mkdtemp(join(tmpdir(), 'tmq-tunnel-'))
  const passwords = await Promise.all(
    USERS.map(async (user) => `${user}:${await hashPassword(Buffer.from(passwordOf(user)))}\n`),
  )
  await writeFile(join(folder, 'passwords'), passwords.join(''))
  await writeFile(join(folder, 'acl'), ACL)
  // JSON is YAML.
  const config = {
    listeners: [{ type: 'tcp', port: 0 }],
    handlers: [
      { type: 'password-file', file: 'passwords' },
      { type: 'acl-file', file: 'acl' },
    ],
    store: { type: 'memory' },
    admin: { enabled: false },
    shutdown: { drainMs: 0 },
    log: { format: 'json' },
  }
  await writeFile(join(folder, 'broker.yaml'), JSON.stringify(config))
  const running: RunningCli[] = []
  const broker = startCli(['broker', '--config', 'broker.yaml'], { cwd: folder })
  running.push(broker)
  const [, brokerUrl = ''] = await broker.output(/(mqtt:\/\/127\.0\.0\.1:\d+)/)
  const echo = await startEcho()

  const environmentOf = (user: string): Record<string, string> => ({
    TUNNEL_BROKER: brokerUrl,
    TUNNEL_USERNAME: user,
    TUNNEL_PASSWORD: passwordOf(user),
    // Not that of whoever runs the tests.
    XDG_CONFIG_HOME: folder,
  })
  return {
    folder,
    brokerUrl,
    echoPort: (echo.address() as AddressInfo).port,
    environmentOf,
    start(user, args, env = {}) {
      const cli = startCli(args, { cwd: folder, env: { ...environmentOf(user), ...env } })
      running.push(cli)
      return cli
    },
    run: (user, args, env = {}) => runCli(args, { cwd: folder, env: { ...environmentOf(user), ...env } }),
    async end() {
      echo.close()
      for (const { process: child, ended } of running) {
        child.kill('SIGKILL')
        await ended
      }
      await rm(folder, { recursive: true })
    },
  }
}

async function startEcho(): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined)
    socket.pipe(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}
