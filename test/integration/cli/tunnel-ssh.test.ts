import { execFile } from 'node:child_process'
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { PATIENCE } from '../../support/eventually.ts'
import type { RunningCli } from '../../support/run-cli.ts'
import { startSshd, tunnelmqProgram as program, type Sshd } from '../../support/sshd.ts'
import { createTunnelWorld, type TunnelWorld } from '../../support/tunnel-world.ts'

const run = promisify(execFile)

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

describe('with OpenSSH', () => {
  let sshd: Sshd
  let agent: RunningCli

  beforeAll(async () => {
    sshd = await startSshd(join(world.folder, 'openssh'))
    agent = world.start('pi8', ['agent', '--id', 'pi8', '--service', `ssh=${sshd.target}`])
    await agent.output(/"tunnel agent connected"/)
  })
  afterAll(() => sshd.end())

  const environment = () => ({ PATH: process.env['PATH'], ...world.environmentOf('alice') })

  it('runs a command on the device, hands its input over, and passes its exit code on', async () => {
    const cli = world.start('alice', ['ssh', ...sshd.options, 'pi8', 'cat; exit 7'])
    cli.process.stdin.end('through the tunnel')
    const { code, stdout, stderr } = await cli.ended
    expect({ code, stdout, stderr }).toEqual({ code: 7, stdout: 'through the tunnel', stderr: '' })
    expect(await readFile(sshd.knownHostsFile, 'utf8')).toMatch(/^pi8\.tunnel ssh-ed25519 /)
  })

  it('ends as orderly as ssh does, at the agent and in the eyes of sshd', async () => {
    const before = sshd.said().length
    const { code } = await world.run('alice', [
      'ssh',
      '--client-id',
      'laptop',
      ...sshd.options,
      'pi8',
      'true',
    ])
    expect(code).toBe(0)
    const [, end] = await agent.output(/"client":"laptop".*"end":"(\w+)".*"tunnel stream ended"/)
    expect(end).toBe('closed')
    await vi.waitFor(() => expect(sshd.said().slice(before)).toContain('disconnected by user'), PATIENCE)
  })

  it('ends with 255 below our own words when there is no such agent', async () => {
    const { code, stderr } = await world.run('alice', ['ssh', ...sshd.options, 'pi9'])
    expect(code).toBe(255)
    expect(stderr).toContain('tunnelmq: there is no agent pi9')
  })

  it('carries ssh and scp by the one-liner in the configuration of ssh', async () => {
    const { stdout } = await run('ssh', ['-F', sshd.configFile, 'pi8.tunnel', 'echo', 'by name'], {
      env: environment(),
    })
    expect(stdout).toBe('by name\n')
    // No line of its own: it is the host that `tunnelmq ssh` knows.
    expect(await readFile(sshd.knownHostsFile, 'utf8')).toMatch(/^pi8\.tunnel ssh-ed25519 \S+\n$/)
    const [from, to] = [join(world.folder, 'from'), join(world.folder, 'to')]
    await writeFile(from, 'x'.repeat(1_000_000))
    await run('scp', ['-F', sshd.configFile, from, `pi8.tunnel:${to}`], { env: environment() })
    expect(await readFile(to, 'utf8')).toBe('x'.repeat(1_000_000))
  })

  it('carries rsync with -e', async () => {
    const tree = join(world.folder, 'tree')
    await mkdir(join(tree, 'inner'), { recursive: true })
    await writeFile(join(tree, 'inner/file'), 'content')
    const shell = [process.execPath, program, 'ssh', ...sshd.options].join(' ')
    await run('rsync', ['-e', shell, '-a', `${tree}/`, `pi8:${world.folder}/copy/`], { env: environment() })
    expect(await readFile(join(world.folder, 'copy/inner/file'), 'utf8')).toBe('content')
  })
})
