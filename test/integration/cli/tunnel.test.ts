import { createHash, randomBytes } from 'node:crypto'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { TunnelExit } from '../../../src/cli/tunnel-exit.ts'
import { startCli, type RunningCli } from '../../support/run-cli.ts'
import { createTunnelWorld, type TunnelWorld } from '../../support/tunnel-world.ts'

let world: TunnelWorld
let agent: RunningCli

beforeAll(async () => {
  world = await createTunnelWorld()
  agent = world.start('pi7', [
    ...['agent', '--id', 'pi7', '--service', `echo=127.0.0.1:${world.echoPort}`],
    // Nobody listens on port 1, and RFC 6761 has reserved the name.
    ...['--service', 'web=127.0.0.1:1', '--service', 'far=nothing.invalid:80'],
  ])
  await agent.output(/"tunnel agent connected"/)
})
afterAll(() => world.end())

/** Port of each line that `tunnelmq forward` has printed. */
async function portsOf(forward: RunningCli, count: number): Promise<number[]> {
  const [printed] = await forward.output(new RegExp(`^(.+ -> .+\n){${count}}`))
  return [...printed.matchAll(/:(\d+) -> /g)].map((match) => Number(match[1]))
}

async function echoed(socket: Socket, words: string): Promise<string> {
  socket.end(words)
  return text(socket)
}

describe('tunnelmq agent', () => {
  it('says what it offers and where', async () => {
    const [line = ''] = await agent.output(/.*"agent started".*/)
    expect(JSON.parse(line)).toMatchObject({
      agent: 'pi7',
      broker: world.brokerUrl,
      services: { echo: `127.0.0.1:${world.echoPort}`, web: '127.0.0.1:1' },
    })
  })

  it('takes all of it from the environment, warns of a password that all can read, and stops in order', async () => {
    const passwordFile = join(world.folder, 'pi8.password')
    await writeFile(passwordFile, 'password of pi8\n', { mode: 0o644 })
    const cli = world.start('pi8', ['agent'], {
      TUNNEL_ID: 'pi8',
      TUNNEL_SERVICES: `echo=127.0.0.1:${world.echoPort} x=unix:/run/x.sock`,
      TUNNEL_PASSWORD: '',
      TUNNEL_PASSWORD_FILE: passwordFile,
    })
    await cli.output(/"tunnel agent connected"/)
    cli.process.kill('SIGTERM')
    const { code, stdout } = await cli.ended
    expect(code).toBe(TunnelExit.ok)
    expect(stdout).toContain(`${passwordFile} can be read by everyone on this machine`)
    expect(stdout).toContain('"agent stopped"')
    expect(stdout).not.toContain('password of pi8')
    const agents = (await world.run('alice', ['agents', '--json'])).stdout
    expect(agents).toMatch(/"id":"pi8","online":false/)
  })

  it('comes from a file, and waits for a broker that is not there yet', async () => {
    const placeholder = createServer().listen(0, '127.0.0.1')
    await once(placeholder, 'listening')
    const { port } = placeholder.address() as AddressInfo
    placeholder.close()
    await once(placeholder, 'close')
    const yaml = `id: early\nbroker: mqtt://127.0.0.1:${port}\nservices: { echo: 127.0.0.1:${world.echoPort} }\n`
    await writeFile(join(world.folder, 'early.yaml'), yaml)
    const early = startCli(['agent', '--config', 'early.yaml'], { cwd: world.folder })
    await early.output(/connection refused: is the broker running/)
    const set = [
      `listeners=[{ type: tcp, port: ${port}, allowAnonymous: true }]`,
      'store.type=memory',
      'admin.port=0',
    ]
    const late = startCli(['broker', ...set.flatMap((word) => ['--set', word])], { cwd: world.folder })
    await early.output(/"tunnel agent connected"/)
    early.process.kill('SIGINT')
    expect((await early.ended).code).toBe(TunnelExit.ok)
    late.process.kill('SIGKILL')
    await late.ended
  })

  it('goes on trying with the wrong password, and says that this will not help', async () => {
    const cli = world.start('pi8', ['agent', '--id', 'pi8', '--service', 'x=127.0.0.1:1'], {
      TUNNEL_PASSWORD: 'wrong',
    })
    await cli.output(/wrong user name or password/)
    await cli.output(/it will not get better by itself/)
    cli.process.kill('SIGTERM')
    expect((await cli.ended).code).toBe(TunnelExit.ok)
  })

  it('names mistakes with file, line and key, and ends', async () => {
    await writeFile(join(world.folder, 'wrong.yaml'), 'id: pi7\nservices:\n  ssh: { traget: 127.0.0.1:22 }\n')
    const { code, stderr } = await world.run('pi7', ['agent', '--config', 'wrong.yaml'])
    expect(code).toBe(TunnelExit.usage)
    expect(stderr).toContain('wrong.yaml:3:10: services.ssh.traget: is not known; did you mean target?')
  })
})

describe('tunnelmq connect', () => {
  it.each(['pi7/echo', 'pi7.tunnel/echo'])(
    'carries standard input and output to %s, and nothing else',
    async (to) => {
      const sent = randomBytes(3_000_000)
      const cli = world.start('alice', ['connect', to])
      const received = createHash('sha256')
      cli.process.stdout.on('data', (chunk: Buffer) => received.update(chunk))
      cli.process.stdin.end(sent)
      const { code, stderr } = await cli.ended
      expect({ code, stderr }).toEqual({ code: TunnelExit.ok, stderr: '' })
      expect(received.digest('hex')).toBe(createHash('sha256').update(sent).digest('hex'))
    },
  )

  it('has written all of it before it ends, also to a reader that is slow', async () => {
    // More than a pipe holds (64 KiB), and less than makes the writer wait.
    const sent = randomBytes(70_000)
    await writeFile(join(world.folder, 'sent'), sent)
    const words = ['connect', 'pi7/echo'].join(' ')
    const program = fileURLToPath(new URL('../../../dist/cli/index.js', import.meta.url))
    const line = `"${process.execPath}" "${program}" ${words} < sent | (sleep 2; cat)`
    const shell = spawn('sh', ['-c', line], {
      cwd: world.folder,
      env: { PATH: process.env['PATH'], ...world.environmentOf('alice') },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const parts: Buffer[] = []
    shell.stdout.on('data', (part: Buffer) => parts.push(part))
    await once(shell, 'close')
    expect(Buffer.concat(parts).equals(sent)).toBe(true)
  })

  it('tells the agent when ssh ends it with SIGHUP', async () => {
    const cli = world.start('alice', ['connect', 'pi7/echo'])
    cli.process.stdin.write('x')
    await cli.output(/x/)
    const [, id = ''] = await agent.output(/"client":"([^"]+)"[^\n]*"tunnel stream opened"\}\n$/)
    cli.process.kill('SIGHUP')
    expect((await cli.ended).code).toBe(TunnelExit.ok)
    await agent.output(new RegExp(`"client":"${id}"[^\\n]*"tunnel stream ended"`))
  })
})

describe('tunnelmq forward', () => {
  it('opens several ports over one connection, prints them, and closes them on SIGTERM', async () => {
    const cli = world.start('alice', ['forward', '--client-id', 'laptop', '0=pi7/echo', '0.0.0.0:0=pi7/echo'])
    const ports = await portsOf(cli, 2)
    const answers = await Promise.all(
      ports.map((port) => echoed(connect({ port, host: '127.0.0.1' }), `to ${port}`)),
    )
    expect(answers).toEqual(ports.map((port) => `to ${port}`))
    cli.process.kill('SIGTERM')
    const { code, stdout } = await cli.ended
    expect(code).toBe(TunnelExit.ok)
    expect(stdout).toBe(`127.0.0.1:${ports[0]} -> pi7/echo\n0.0.0.0:${ports[1]} -> pi7/echo\n`)
  })

  it('goes on when nobody hears its words any more', async () => {
    const cli = world.start('alice', ['forward', '--log-level', 'debug', '0=pi7/echo'])
    const [port = 0] = await portsOf(cli, 1)
    cli.process.stderr.destroy()
    for (const words of ['first', 'second', 'third'])
      expect(await echoed(connect({ port, host: '127.0.0.1' }), words)).toBe(words)
    cli.process.kill('SIGTERM')
    expect((await cli.ended).code).toBe(TunnelExit.ok)
  })

  it('listens on a unix socket, as the environment says', async () => {
    const path = join(world.folder, 'echo.sock')
    const cli = world.start('alice', ['forward'], { TUNNEL_FORWARDS: `unix:${path}=pi7/echo` })
    await cli.output(/-> pi7\/echo\n/)
    expect(await echoed(connect({ path, allowHalfOpen: true }), 'by socket')).toBe('by socket')
  })

  it('resets what cannot be opened, says why, and goes on', async () => {
    const cli = world.start('alice', ['forward', '0=pi7/web', '0=pi7/echo'])
    const [web = 0, echo = 0] = await portsOf(cli, 2)
    const socket = connect({ port: web, host: '127.0.0.1' })
    await expect(once(socket, 'end').then(() => text(socket))).rejects.toThrow('ECONNRESET')
    await cli.output(/pi7\/web: agent pi7 was refused by the target/)
    expect(await echoed(connect({ port: echo, host: '127.0.0.1' }), 'still there')).toBe('still there')
  })
})

describe('tunnelmq agents', () => {
  it('prints a table, or an object for each', async () => {
    const table = await world.run('alice', ['agents'])
    expect(table.stdout).toMatch(/^agent +state +since +services +streams +host +version\n/)
    expect(table.stdout).toMatch(
      /^pi7 +online +\d{4}-\d\d-\d\dT[\d:]+Z +echo,web,far +\d+ +\S+ +tunnelmq\/\d/m,
    )
    const { stdout } = await world.run('alice', ['agents', '--json'])
    const agents = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { id: string })
    expect(agents.find(({ id }) => id === 'pi7')).toMatchObject({
      online: true,
      services: ['echo', 'web', 'far'],
    })
  })

  it('follows with --watch', async () => {
    const cli = world.start('alice', ['agents', '--json', '--watch'])
    await cli.output(/"id":"pi7","online":true/)
    const passing = world.start('pi8', ['agent', '--id', 'pi8', '--service', 'passing=127.0.0.1:1'])
    await cli.output(/"id":"pi8","online":true,"services":\["passing"\]/)
    passing.process.kill('SIGKILL')
    await cli.output(/"services":\["passing"\][^\n]*\n(.*\n)*\{"id":"pi8","online":false/)
    cli.process.kill('SIGINT')
    expect((await cli.ended).code).toBe(TunnelExit.ok)
  })
})

describe('the exit code', () => {
  it.each<[string, keyof typeof TunnelExit, string, string[], RegExp]>([
    ['a word that is none', 'usage', 'alice', ['connect', 'pi7'], /"pi7" is not agent\/service/],
    ['an unknown option', 'usage', 'alice', ['agents', '--jsn'], /unknown option '--jsn'/],
    [
      'a forward that is none',
      'usage',
      'alice',
      ['forward', '2222:pi7/ssh'],
      /is not \[address:\]port=agent\/service/,
    ],
    ['no forward', 'usage', 'alice', ['forward'], /which ports\?/],
    ['a file that is not there', 'usage', 'alice', ['agents', '--ca', 'no.pem'], /no\.pem, does not exist/],
    ['an agent nobody knows', 'noSuchAgent', 'alice', ['connect', 'pi9/ssh'], /there is no agent pi9/],
    ['a right that is missing', 'forbidden', 'bob', ['connect', 'pi7/echo'], /no right to pi7\/echo/],
    [
      'a service that is not offered',
      'unknownService',
      'alice',
      ['connect', 'pi7/ssh'],
      /it offers: echo, web, far/,
    ],
    ['a target that refuses', 'targetRefused', 'bob', ['connect', 'pi7/web'], /was refused by the target/],
    [
      'a target out of reach',
      'targetUnreachable',
      'alice',
      ['connect', 'pi7/far'],
      /cannot reach the target/,
    ],
    [
      'a broker that is not there',
      'brokerUnreachable',
      'alice',
      ['agents', '--broker', 'mqtt://127.0.0.1:1'],
      /cannot connect to mqtt:\/\/127\.0\.0\.1:1: connection refused/,
    ],
  ])('of %s is that of %s', async (_what, exit, user, args, message) => {
    const { code, stdout, stderr } = await world.run(user, args)
    expect(stderr).toMatch(/^tunnelmq: /m)
    expect(stderr).toMatch(message)
    expect({ code, stdout }).toEqual({ code: TunnelExit[exit], stdout: '' })
  })

  it('of the wrong password is that of badCredentials', async () => {
    const { code, stderr } = await world.run('alice', ['agents'], { TUNNEL_PASSWORD: 'wrong' })
    expect(code).toBe(TunnelExit.badCredentials)
    expect(stderr).toMatch(/wrong user name or password/)
    expect(stderr).not.toContain('"wrong"')
  })

  it('of an agent that was here is that of agentOffline', async () => {
    const passing = world.start('pi8', ['agent', '--id', 'pi8', '--service', 'x=127.0.0.1:1'])
    await passing.output(/"tunnel agent connected"/)
    passing.process.kill('SIGTERM')
    await passing.ended
    const { code, stderr } = await world.run('alice', ['connect', 'pi8/x'])
    expect(code).toBe(TunnelExit.agentOffline)
    expect(stderr).toMatch(/^tunnelmq: agent pi8 is offline since \d{4}-/)
  })

  it('of a port in use is that of portInUse', async () => {
    const { code, stderr } = await world.run('alice', ['forward', `${world.echoPort}=pi7/echo`])
    expect(code).toBe(TunnelExit.portInUse)
    expect(stderr).toContain(`cannot listen on 127.0.0.1:${world.echoPort}: in use`)
  })
})
