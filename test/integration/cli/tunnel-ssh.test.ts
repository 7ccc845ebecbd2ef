import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createTunnelWorld, type TunnelWorld } from '../../support/tunnel-world.ts'

const run = promisify(execFile)
const program = fileURLToPath(new URL('../../../dist/cli/index.js', import.meta.url))
const sshd = '/usr/sbin/sshd'
const hasSsh = existsSync(sshd) && existsSync('/usr/bin/ssh')

let world: TunnelWorld
beforeAll(async () => {
  world = await createTunnelWorld()
})
afterAll(() => world.end())

describe('tunnelmq ssh', () => {
  it('runs the ssh that is chosen, with a proxy command that works and no password in it, and ends as it ends', async () => {
    const agent = world.start('pi7', ['agent', '--id', 'pi7', '--service', `ssh=127.0.0.1:${world.echoPort}`])
    await agent.output(/"tunnel agent connected"/)
    // As ssh: its arguments, `%%` for `%`, and the proxy command by the shell.
    const script = join(world.folder, "it's ssh")
    await writeFile(
      script,
      `#!/bin/sh
      printf '[%s]' "$@"
      command=$(printf '%s' "$2" | sed 's/^ProxyCommand=//; s/%%/%/g')
      echo through | sh -c "exec $command"
      exit 42`,
    )
    await chmod(script, 0o755)
    const args = ['ssh', '--ssh', script, '--client-id', 'laptop', 'admin@pi7', '-v', 'uptime', '--help']
    const { code, stdout } = await world.run('alice', args)
    expect(code).toBe(42)
    const proxyCommand = `${process.execPath} ${program} connect --client-id laptop pi7/ssh`
    expect(stdout).toBe(
      `[-o][ProxyCommand=${proxyCommand}][-o][HostKeyAlias=pi7.tunnel][admin@pi7][-v][uptime][--help]through\n`,
    )
  })

  it('says that there is no such ssh', async () => {
    const { code, stderr } = await world.run('alice', ['ssh', '--ssh', '/nowhere/ssh', 'pi7'])
    expect(code).toBe(1)
    expect(stderr).toBe('tunnelmq: /nowhere/ssh: is not there; install it, or name another with --ssh\n')
  })

  it('does not take a mistyped option for one of ssh', async () => {
    const { code, stderr } = await world.run('alice', ['ssh', '--brokr', 'x', 'pi7'])
    expect(code).toBe(2)
    expect(stderr).toContain('--brokr is not an option of ours')
  })
})

describe.runIf(hasSsh)('with OpenSSH', () => {
  const children: ChildProcess[] = []
  let options: readonly string[] = []
  let configFile = ''

  beforeAll(async () => {
    const folder = join(world.folder, 'openssh')
    await mkdir(folder, { mode: 0o700 })
    const at = (name: string): string => join(folder, name)
    for (const key of ['host', 'user'])
      await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', at(key)])
    await writeFile(at('authorized'), await readFile(at('user.pub')), { mode: 0o600 })
    // sshd cannot choose a port itself.
    const free = createServer().listen(0, '127.0.0.1')
    await once(free, 'listening')
    const { port } = free.address() as AddressInfo
    free.close()
    await once(free, 'close')
    const lines = [
      `Port ${port}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${at('host')}`,
      `AuthorizedKeysFile ${at('authorized')}`,
      `PidFile ${at('pid')}`,
      'StrictModes no',
      'UsePAM no',
      'Subsystem sftp internal-sftp',
    ]
    await writeFile(at('sshd_config'), lines.join('\n'))
    await mkdir('/run/sshd', { recursive: true }).catch(() => undefined)
    const daemon = spawn(sshd, ['-D', '-e', '-f', at('sshd_config')], { stdio: ['ignore', 'ignore', 'pipe'] })
    children.push(daemon)
    let said = ''
    for await (const chunk of daemon.stderr) {
      said += String(chunk)
      if (said.includes('Server listening')) break
    }
    expect(said).toContain('Server listening')
    daemon.stderr.resume()
    const agent = world.start('pi8', ['agent', '--id', 'pi8', '--service', `ssh=127.0.0.1:${port}`])
    await agent.output(/"tunnel agent connected"/)

    configFile = at('config')
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
    const entries = Object.entries(common).map(([key, value]) => `  ${key} ${value}\n`)
    // The one-liner of docs/tunnels.md, for a program that is not in the PATH.
    const oneLiner = `Host *.tunnel\n  ProxyCommand ${process.execPath} ${program} connect %h/ssh\n  HostKeyAlias %h\n`
    await writeFile(configFile, `${oneLiner}Host *\n${entries.join('')}`)
    options = Object.entries(common).flatMap(([key, value]) => ['-o', `${key}=${value}`])
  })
  afterAll(async () => {
    for (const child of children) {
      child.kill()
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    }
  })

  const environment = () => ({ PATH: process.env['PATH'], ...world.environmentOf('alice') })

  it('runs a command on the device, hands its input over, and passes its exit code on', async () => {
    const cli = world.start('alice', ['ssh', ...options, 'pi8', 'cat; exit 7'])
    cli.process.stdin.end('through the tunnel')
    const { code, stdout, stderr } = await cli.ended
    expect({ code, stdout, stderr }).toEqual({ code: 7, stdout: 'through the tunnel', stderr: '' })
    const known = await readFile(join(world.folder, 'openssh/known_hosts'), 'utf8')
    expect(known).toMatch(/^pi8\.tunnel ssh-ed25519 /)
  })

  it('ends with 255 below our own words when there is no such agent', async () => {
    const { code, stderr } = await world.run('alice', ['ssh', ...options, 'pi9'])
    expect(code).toBe(255)
    expect(stderr).toContain('tunnelmq: there is no agent pi9')
  })

  it('carries ssh and scp by the one-liner in the configuration of ssh', async () => {
    const { stdout } = await run('ssh', ['-F', configFile, 'pi8.tunnel', 'echo', 'by name'], {
      env: environment(),
    })
    expect(stdout).toBe('by name\n')
    const [from, to] = [join(world.folder, 'from'), join(world.folder, 'to')]
    await writeFile(from, 'x'.repeat(1_000_000))
    await run('scp', ['-F', configFile, from, `pi8.tunnel:${to}`], { env: environment() })
    expect(await readFile(to, 'utf8')).toBe('x'.repeat(1_000_000))
  })

  it.runIf(existsSync('/usr/bin/rsync'))('carries rsync with -e', async () => {
    const tree = join(world.folder, 'tree')
    await mkdir(join(tree, 'inner'), { recursive: true })
    await writeFile(join(tree, 'inner/file'), 'content')
    const shell = [process.execPath, program, 'ssh', ...options].join(' ')
    await run('rsync', ['-e', shell, '-a', `${tree}/`, `pi8:${world.folder}/copy/`], { env: environment() })
    expect(await readFile(join(world.folder, 'copy/inner/file'), 'utf8')).toBe('content')
  })
})
