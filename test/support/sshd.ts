import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { freePort } from './mosquitto.ts'

/** The built program, as ssh is to run it. */
export const tunnelmqProgram = fileURLToPath(new URL('../../dist/cli/index.js', import.meta.url))

const SSHD = '/usr/sbin/sshd'
const run = promisify(execFile)

export interface Sshd {
  /** `127.0.0.1:port` */
  readonly target: string
  /** A client's configuration: this user's key, and the entry of docs/tunnels.md for `*.tunnel`. */
  readonly configFile: string
  readonly knownHostsFile: string
  /** The options of that configuration without the entry, for a command line. */
  readonly options: readonly string[]
  /** What sshd has written. */
  readonly said: () => string
  end(): Promise<void>
}

/**
 * OpenSSH's sshd with keys of its own in a new folder, for the user of this process.
 * `connectFlags` stand in the ProxyCommand: how `tunnelmq connect` finds its broker.
 */
export async function startSshd(folder: string, connectFlags: readonly string[] = []): Promise<Sshd> {
  await mkdir(folder, { mode: 0o700 })
  const at = (name: string): string => join(folder, name)
  for (const key of ['host', 'user'])
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', at(key)])
  await writeFile(at('authorized'), await readFile(at('user.pub')), { mode: 0o600 })
  // sshd cannot choose a port itself.
  const port = await freePort()
  const settings = [
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${at('host')}`,
    `AuthorizedKeysFile ${at('authorized')}`,
    `PidFile ${at('pid')}`,
    'StrictModes no',
    'UsePAM no',
    'PrintMotd no',
    'LogLevel VERBOSE',
    'Subsystem sftp internal-sftp',
  ]
  await writeFile(at('sshd_config'), settings.join('\n'))
  // Of root it wants that folder, which is not there where sshd was never started as a service.
  await mkdir('/run/sshd', { recursive: true }).catch(() => undefined)
  const daemon = spawn(SSHD, ['-D', '-e', '-f', at('sshd_config')], { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  daemon.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
  while (!said.includes('Server listening')) {
    const [event] = await Promise.race([once(daemon.stderr, 'data'), once(daemon, 'exit')])
    if (typeof event === 'number') throw new Error(`sshd did not start:\n${said}`)
  }

  const common = {
    IdentityFile: at('user'),
    IdentitiesOnly: 'yes',
    UserKnownHostsFile: at('known_hosts'),
    StrictHostKeyChecking: 'accept-new',
    BatchMode: 'yes',
    LogLevel: 'ERROR',
    HashKnownHosts: 'no',
    User: userInfo().username,
  }
  const entries = Object.entries(common)
  // The entry of docs/tunnels.md, for a program that is not in the PATH.
  const proxyCommand = [process.execPath, tunnelmqProgram, 'connect', ...connectFlags, '%h/ssh'].join(' ')
  const lines = [
    'Host *.tunnel',
    `  ProxyCommand ${proxyCommand}`,
    'Host *',
    ...entries.map(([key, value]) => `  ${key} ${value}`),
  ]
  await writeFile(at('config'), `${lines.join('\n')}\n`)
  return {
    target: `127.0.0.1:${port}`,
    configFile: at('config'),
    knownHostsFile: at('known_hosts'),
    options: entries.flatMap(([key, value]) => ['-o', `${key}=${value}`]),
    said: () => said,
    end: () => stopProcess(daemon),
  }
}

async function stopProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill()
  await gone
}
