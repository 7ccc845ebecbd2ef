import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { userInfo } from 'node:os'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it, onTestFinished } from 'vitest'
import { temporaryFolder } from '../../support/broker-world.ts'
import { runCli, startCli, type CliResult } from '../../support/run-cli.ts'
import { startSshd } from '../../support/sshd.ts'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const script = join(root, 'deploy/systemd/install')

/** docs/install-pi.md, as root would: into a folder in place of `/`. */
async function install(machine: string, args: readonly string[], input = ''): Promise<CliResult> {
  const child = spawn(script, args, { env: { PATH: process.env['PATH'], DESTDIR: machine } })
  let stderr = ''
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  child.stdin.end(input)
  await once(child, 'close')
  return { code: child.exitCode, stdout: '', stderr }
}

/**
 * The command of the unit that was installed, as systemd would run it, with that machine's `/etc`, and resolved with the
 * first log line that has the message.
 */
async function startUnit(
  machine: string,
  unit: string,
  { env = {}, more = [], message }: { env?: Record<string, string>; more?: string[]; message: string },
): Promise<Record<string, unknown>> {
  const text = await readFile(join(machine, 'etc/systemd/system', `${unit}.service`), 'utf8')
  const command = /^ExecStart=(.*)$/m.exec(text)?.[1]?.replaceAll('/etc/', `${machine}/etc/`) ?? ''
  const [program = '', ...args] = command.split(' ')
  const child = spawn(program, [...args, ...more], {
    cwd: machine,
    env: { ...env, PATH: process.env['PATH'] },
  })
  onTestFinished(async () => {
    child.kill()
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  })
  let output = ''
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
  for await (const line of createInterface({ input: child.stdout })) {
    output += line
    const event = JSON.parse(line) as Record<string, unknown>
    if (event['msg'] === message) {
      child.stdout.resume()
      return event
    }
  }
  throw new Error(`no "${message}" in:\n${output}`)
}

const modeOf = async (file: string) => ((await stat(file)).mode & 0o777).toString(8)

describe('deploy/systemd/install', () => {
  it('makes a broker and an agent of two machines, and ssh goes through', async () => {
    const [pi0, pi7, laptop] = await Promise.all([temporaryFolder(), temporaryFolder(), temporaryFolder()])
    const atBroker = (name: string) => join(pi0, 'etc/tunnelmq', name)
    const atAgent = (name: string) => join(pi7, 'etc/tunnelmq', name)

    expect((await install(pi0, ['broker'])).code).toBe(0)
    for (const user of ['admin', 'pi7']) {
      const passwd = startCli(['passwd', atBroker('passwords'), user])
      passwd.process.stdin.end(`secret of ${user}\n`)
      expect((await passwd.ended).code).toBe(0)
    }
    for (const name of ['server.key', 'passwords', 'acl', 'tunnelmq.yaml'])
      expect([name, await modeOf(atBroker(name))]).toEqual([name, '640'])
    const check = await runCli(['config', 'check', atBroker('tunnelmq.yaml')])
    expect(check).toMatchObject({ code: 0 })

    const free = [
      'listeners.0.port=0',
      'listeners.1.port=0',
      'admin.port=0',
      'log.format=json',
      'shutdown.drainMs=0',
    ]
    const ready = await startUnit(pi0, 'tunnelmq-broker', {
      more: free.flatMap((setting) => ['--set', setting]),
      message: 'ready',
    })
    const [{ url }] = ready['listeners'] as [{ url: string }]
    const broker = `mqtts://localhost:${new URL(url).port}`

    const installed = await install(pi7, ['agent', 'pi7', broker], 'secret of pi7\n')
    expect(installed.code).toBe(0)
    const { stdout: fingerprint } = await promisify(execFile)('openssl', [
      ...['x509', '-in', atBroker('server.pem'), '-noout', '-fingerprint', '-sha256'],
    ])
    expect(installed.stderr).toContain(fingerprint.trim())
    expect(await modeOf(atAgent('agent.password'))).toBe('600')
    const sshd = await startSshd(join(laptop, 'openssh'))
    onTestFinished(() => sshd.end())
    const agentFile = await readFile(atAgent('agent.yaml'), 'utf8')
    await writeFile(atAgent('agent.yaml'), agentFile.replace('127.0.0.1:22', sshd.target))
    await startUnit(pi7, 'tunnelmq-agent', {
      env: { TUNNEL_PASSWORD_FILE: atAgent('agent.password') },
      message: 'tunnel agent connected',
    })

    const { stdout, stderr } = await runCli(
      [
        ...['ssh', '--broker', broker, '--ca', atBroker('server.pem'), '--username', 'admin'],
        ...[...sshd.options, `${userInfo().username}@pi7`, 'echo', 'through'],
      ],
      { env: { TUNNEL_PASSWORD: 'secret of admin' } },
    )
    expect(stdout, stderr).toBe('through\n')
  })

  it('leaves what is there, and says what is missing', async () => {
    const machine = await temporaryFolder()
    expect((await install(machine, ['broker'])).code).toBe(0)
    const file = join(machine, 'etc/tunnelmq/tunnelmq.yaml')
    await writeFile(file, '# mine\n')
    const again = await install(machine, ['broker'])
    expect(again).toMatchObject({ code: 0, stderr: expect.stringContaining('is there already') as string })
    expect(await readFile(file, 'utf8')).toBe('# mine\n')

    expect(await install(machine, ['agent', 'pi7'])).toMatchObject({ code: 1 })
    expect(await install(machine, ['agent', 'pi7', 'mqtts://127.0.0.1:1'], 'x\n')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('no certificate from 127.0.0.1:1') as string,
    })
    expect(await install(machine, [])).toMatchObject({ code: 1 })
  })
})
