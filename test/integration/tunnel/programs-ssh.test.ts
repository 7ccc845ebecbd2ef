import { mkdir, stat, writeFile } from 'node:fs/promises'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { temporaryFolder } from '../../support/broker-world.ts'
import { freePort } from '../../support/mosquitto.ts'
import { digestOfFile, digestOfTree, runProgram, startProgram, writeTree } from '../../support/programs.ts'
import { startSshd, tunnelmqProgram } from '../../support/sshd.ts'
import { ask, openSshWorld } from '../../support/ssh-world.ts'
import { dialPort, digest, digestOf, echo, openTarget } from '../../support/tunnel-ends.ts'
import {
  type BrokerKind,
  openFaultBroker,
  openTunnelBroker,
  startAgent,
  until,
} from '../../support/tunnel-processes.ts'

/** On a busy machine with two cores. */

describe('programs of OpenSSH', () => {
  it('copy a tree by scp, sftp and rsync, there and back', async () => {
    const world = await openSshWorld(await openTunnelBroker())
    const at = (name: string): string => join(world.folder, name)
    await mkdir(at('tree'))
    await writeTree(at('tree'))
    const tree = await digestOfTree(at('tree'))
    expect(tree).toHaveLength(204)

    const shell = `ssh -F ${world.sshd.configFile}`
    await runProgram('rsync', ['-e', shell, '-az', `${at('tree')}/`, `pi7.tunnel:${at('rsync-up')}/`])
    expect(await digestOfTree(at('rsync-up'))).toEqual(tree)
    await runProgram('rsync', ['-e', shell, '-a', `pi7.tunnel:${at('tree')}/`, `${at('rsync-down')}/`])
    expect(await digestOfTree(at('rsync-down'))).toEqual(tree)

    // scp and sftp follow the link.
    const large = tree.find((line) => line.startsWith('large '))!
    const followed = tree.map((line) => (line.startsWith('link ') ? large.replace('large', 'link') : line))
    await world.run('scp', ['-r', '-q', at('tree'), `pi7.tunnel:${at('scp-up')}`])
    expect(await digestOfTree(at('scp-up'))).toEqual(followed)
    await world.run('scp', ['-r', '-q', `pi7.tunnel:${at('tree')}`, at('scp-down')])
    expect(await digestOfTree(at('scp-down'))).toEqual(followed)
    await world.run(
      'sftp',
      ['-b', '-', 'pi7.tunnel'],
      `put ${at('tree/large')} ${at('sftp-up')}\nget ${at('sftp-up')} ${at('sftp-down')}\n`,
    )
    expect(await digestOfFile(at('sftp-down'))).toBe(await digestOfFile(at('tree/large')))
    await until(() => world.agent.countOf('tunnel stream ended', { end: 'closed' }) === 5)
    expect(world.agent.countOf('tunnel stream ended')).toBe(5)
  })

  it('forward a port by -L, within the tunnel', async () => {
    const world = await openSshWorld(await openTunnelBroker())
    const port = await freePort()
    const inner = await openTarget(echo)
    world.start(
      'ssh',
      '-N',
      '-o',
      'ExitOnForwardFailure=yes',
      '-L',
      `127.0.0.1:${port}:${inner}`,
      'pi7.tunnel',
    )
    await until(() => dialPort(port).catch(() => undefined))
    const bytes = randomBytes(5_000_000)
    const socket = await dialPort(port)
    const received = digestOf(socket)
    socket.end(bytes)
    expect(await received).toBe(digest(bytes))
  })

  it('reach the device by a port of the broker', async () => {
    const listen = [{ bind: '127.0.0.1:0', to: 'pi7/ssh' }]
    const broker = await openTunnelBroker({ config: { tunnel: { listen } } })
    const { sshd } = await openSshWorld(broker)
    const port = broker.events.find(({ msg }) => msg === 'tunnel port listening')?.['port']
    const words = [...sshd.options, '-p', String(port), '127.0.0.1']
    const bytes = randomBytes(3_000_000).toString('latin1')
    expect(await runProgram('ssh', [...words, 'cat'], { input: Buffer.from(bytes, 'latin1') })).toBe(bytes)
    // Each time that ssh ends, the TCP connection does, and the stream with it.
    await until(() => broker.events.some(({ msg, reason }) => msg === 'stream ended' && reason === 'closed'))
  })
})

describe('a broker that is killed and started again in the middle of', () => {
  it.each<BrokerKind>(['tunnelmq', 'mosquitto'])('a session, over %s', async (kind) => {
    const broker = await openFaultBroker(kind)
    const { start, agent } = await openSshWorld(broker)
    const session = start('ssh', 'pi7.tunnel', 'sh')
    const shell = await ask(session, 'before', 'echo $$')
    await broker.kill()
    // Typed while nobody can hear it.
    const during = ask(session, 'during', 'echo $$')
    await broker.start()
    expect(await during).toBe(shell)
    expect(await ask(session, 'behind', 'echo $$')).toBe(shell)
    session.write('exit 5\n')
    const { code, stderr } = await session.ended
    expect(code).toBe(5)
    expect(stderr).toMatch(/lost its connection[\s\S]*"tunnel client connected"/)
    expect(await agent.logged('tunnel stream ended')).toMatchObject({ end: 'closed' })
    expect(agent.countOf('tunnel stream opened')).toBe(1)
  })

  it('a session with a terminal, twice', async () => {
    const broker = await openTunnelBroker()
    const folder = await temporaryFolder()
    const sshd = await startSshd(join(folder, 'openssh'))
    onTestFinished(() => sshd.end())
    await startAgent(broker, { ssh: sshd.target })
    // As a user types it.
    const words = ['ssh', ...broker.flags, ...sshd.options, '-tt', 'pi7', 'sh']
    const session = startProgram(process.execPath, [tunnelmqProgram, ...words])
    const terminal = await ask(session, 'before', 'tty')
    expect(terminal).toMatch(/^\/dev\/pts\/\d+$/)
    for (const name of ['once', 'twice']) {
      await broker.kill()
      const answer = ask(session, name, 'tty')
      await broker.start()
      expect(await answer).toBe(terminal)
    }
    // Ctrl-C reaches the program on the device, not ours.
    session.write('echo "as""leep"; sleep 1000\n')
    await session.said(/asleep/)
    session.write('\u0003')
    await session.said(/\^C\s*[#$] $/)
    expect(await ask(session, 'still there', 'tty')).toBe(terminal)
    session.write('\u0004')
    expect((await session.ended).code).toBe(0)
  })

  it('scp, whose file arrives unharmed', async () => {
    const broker = await openTunnelBroker()
    const { folder, start, agent } = await openSshWorld(broker)
    const [from, to] = [join(folder, 'from'), join(folder, 'to')]
    const byteCount = 24 * 1_048_576
    await writeFile(from, randomBytes(byteCount))
    // Held to 8 MB/s, so that there is a middle.
    const copy = start('scp', '-l', '64000', from, `pi7.tunnel:${to}`)
    const arrived = async (): Promise<number> => (await stat(to).catch(() => ({ size: 0 }))).size
    await until(async () => (await arrived()) > byteCount / 8)
    await broker.kill()
    expect(await arrived()).toBeLessThan(byteCount)
    await broker.start()
    expect(await copy.ended).toMatchObject({ code: 0 })
    expect(await digestOfFile(to)).toBe(await digestOfFile(from))
    expect(agent.countOf('tunnel stream opened')).toBe(1)
  })
})
