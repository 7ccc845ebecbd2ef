import { once } from 'node:events'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { rootCertificates } from 'node:tls'
import { connectAsync, type IClientOptions } from 'mqtt'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { identityCommand } from '../../../src/cli/api/identity.ts'
import { trustNeeded } from '../../../src/cli/api/private-ca.ts'
import type { Environment } from '../../../src/config/overrides.ts'
import { loadAgentConfig } from '../../../src/config/tunnel-endpoint.ts'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'
import { startCli } from '../../support/run-cli.ts'
import { runCommand } from '../../support/run-command.ts'
import { createCa, type CertificateFiles, type TestCa } from '../listeners/certificates.ts'

let folder = ''
let broker: TestBroker
let echo: Server
let ca: TestCa
let leaf: CertificateFiles
/** As on the machine of the broker: nothing but its configuration. */
let here: Environment

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tmq-identity-'))
  ca = await createCa(folder)
  leaf = await ca.issue('broker')
  const chain = join(folder, 'chain.crt')
  await writeFile(chain, (await readFile(leaf.cert, 'utf8')) + (await readFile(ca.cert, 'utf8')))
  const admin = { port: 0, localKeyFile: join(folder, 'admin.key') }
  const file = join(folder, 'broker.yaml')
  await writeFile(file, JSON.stringify({ admin }))
  here = { TUNNELMQ_CONFIG: file }
  broker = await startTestBroker({
    admin: { ...admin, localKey: true },
    listeners: [
      { type: 'tcp', port: 0 },
      { type: 'tls', port: 0, name: 'full', tls: { cert: chain, key: leaf.key } },
      { type: 'wss', port: 0, name: 'leaf-only', tls: { cert: leaf.cert, key: leaf.key } },
    ],
    handlers: [{ type: 'dynamic' }],
  })
  echo = createServer((socket) => socket.on('error', () => undefined).pipe(socket))
  echo.listen(0, '127.0.0.1')
  await once(echo, 'listening')
})
afterAll(async () => {
  echo.close()
  await broker.stop()
  await rm(folder, { recursive: true })
})

const inFolder = (name: string): string => join(folder, name)
const urlOf = (scheme: string): string => broker.listeners.find(({ url }) => url.startsWith(scheme))!.url

async function run(...words: string[]) {
  const result = await runCommand(identityCommand(here), words)
  return { ...result, text: result.stdout.toString() }
}

/** What it printed, when it has done what it should. */
async function done(...words: string[]): Promise<string> {
  const { text, error } = await run(...words)
  if (error !== undefined) throw error
  return text.trim()
}

async function failure(...words: string[]): Promise<string> {
  const { error } = await run(...words)
  return String(error)
}

async function connects(username: string, password: string, more: IClientOptions = {}): Promise<boolean> {
  try {
    const client = await connectAsync(broker.url, { username, password, reconnectPeriod: 0, ...more })
    await client.endAsync()
    return true
  } catch {
    return false
  }
}

describe('tunnelmq identity', () => {
  it('makes one with a password that is printed alone, once, and shows all but that', async () => {
    const { text, stderr } = await run('create', 'alice', '--description', 'a person', '--client-id', 'a1')
    expect(text).toMatch(/^[\w-]{32}\n$/)
    expect(stderr).toContain('alice is made; this is its password; it is shown only now:')
    expect(await connects('alice', text.trim(), { clientId: 'a1' })).toBe(true)
    expect(await connects('alice', text.trim(), { clientId: 'a2' })).toBe(false)
    expect(await failure('create', 'alice')).toMatch(/^CommandFailure: .*alice/)
    const shown = await done('show', 'alice')
    expect(shown).toMatch(/^client id +a1$/m)
    expect(shown).toMatch(/^asked in order +no role: nothing is allowed$/m)
    expect(shown + (await done('show', 'alice', '--json'))).not.toContain(text.trim())
    expect(await done('list')).toMatch(/^alice +enabled +a1 .* password /m)
    expect(await failure('show', 'nobody')).toContain('there is no identity nobody')
  })

  it('takes a password from standard input, gives a new one, and takes it away', async () => {
    const stdin = vi.spyOn(process, 'stdin', 'get')
    onTestFinished(() => stdin.mockRestore())
    const typed = new PassThrough()
    typed.end('of her own choice\n')
    stdin.mockReturnValue(typed as unknown as typeof process.stdin)
    expect(await done('create', 'carol', '--password-stdin')).toBe('carol is made')
    expect(await connects('carol', 'of her own choice')).toBe(true)
    const { password } = JSON.parse(await done('passwd', 'carol', '--json')) as { password: string }
    expect([await connects('carol', 'of her own choice'), await connects('carol', password)]).toEqual([
      false,
      true,
    ])
    await done('passwd', 'carol', '--no-password')
    expect(await connects('carol', password)).toBe(false)
    expect(await failure('create', 'x', '--password-stdin', '--no-password')).toContain('only one of')
  })

  it('makes keys that stand in place of the password, until they end or are deleted', async () => {
    await done('create', 'robot', '--no-password')
    const { id, secret, expiresAt } = JSON.parse(
      await done('key', 'create', 'robot', '--expires', '30d', '--description', 'ci', '--json'),
    ) as { id: string; secret: string; expiresAt: string }
    expect(Date.parse(expiresAt)).toBeGreaterThan(Date.now() + 29 * 86_400_000)
    expect(await connects('robot', secret)).toBe(true)
    expect(await done('key', 'list', 'robot')).toMatch(new RegExp(`^${id} .* ci$`, 'm'))
    expect(await done('show', 'robot')).not.toContain(secret)
    await done('key', 'delete', 'robot', id)
    expect(await connects('robot', secret)).toBe(false)
    expect(await failure('key', 'delete', 'robot', id)).toContain('there is no key')
  })

  it('has groups and roles, whose rules hold in the order in which they were given', async () => {
    await done(
      ...['role', 'set', 'sensor', '--deny', 'publish:s/%u/config', '--allow', 'publish,subscribe:s/%u/#'],
    )
    expect(await done('role', 'show', 'sensor')).toMatch(
      /rule 1 +--deny publish:s\/%u\/config\nrule 2 +--allow publish,subscribe:s\/%u\/#$/,
    )
    await done('role', 'set', 'sensor', '--description', 'measures')
    const [role] = (await done('role', 'list', '--json'))
      .split('\n')
      .map((line) => JSON.parse(line) as object)
    expect(role).toMatchObject({ name: 'sensor', description: 'measures', rules: [{ allow: false }, {}] })
    await done('group', 'set', 'field', '--role', 'sensor')
    const password = await done('create', 'm1', '--group', 'field')
    const client = await connectAsync(broker.url, { username: 'm1', password, reconnectPeriod: 0 })
    await client.subscribeAsync('s/m1/#')
    await expect(client.subscribeAsync('s/m2/#')).rejects.toThrow('Subscribe error')
    await client.endAsync()
    expect(await failure('group', 'delete', 'field')).toContain('CommandFailure')
    await done('set', 'm1', '--no-group', '--role', 'sensor')
    await done('group', 'delete', 'field')
    expect(await done('show', 'm1')).toMatch(/^asked in order +sensor$/m)
    expect(await failure('role', 'set', 'x', '--allow', 'publish')).toContain('is not ACTIONS:TOPIC')
    expect(await failure('set', 'm1')).toContain('change what?')
  })
})

describe('what has to be trusted for a certificate', () => {
  it('is found in its file, or beside it; else it is not known, and what systems trust needs nothing', async () => {
    const [one, root] = await Promise.all([readFile(leaf.cert, 'utf8'), readFile(ca.cert, 'utf8')])
    expect(trustNeeded(one)).toEqual({ kind: 'unknown' })
    expect(trustNeeded(one + root)).toEqual({ kind: 'private', pem: root })
    expect(trustNeeded(one, root)).toEqual({ kind: 'private', pem: root })
    expect(trustNeeded(rootCertificates[0]!)).toEqual({ kind: 'public' })
  })
})

describe('a bundle', () => {
  it('is not written over a file, nor without what the device needs, and then nobody is made', async () => {
    const taken = inFolder('taken.yaml')
    await writeFile(taken, 'mine')
    expect(await failure('create', 'late', '--bundle', taken)).toContain(
      'is there already, and is not overwritten',
    )
    expect(await readFile(taken, 'utf8')).toBe('mine')
    const file = inFolder('late.yaml')
    const url = urlOf('wss:').replace('127.0.0.1', 'localhost')
    expect(await failure('create', 'late', '--bundle', file, '--url', url)).toContain('--ca FILE')
    expect(await failure('create', 'a b', '--bundle', file)).toContain('is not a name')
    expect(await failure('create', 'alice', '--bundle', file)).toContain('CommandFailure')
    await expect(stat(file)).rejects.toThrow('ENOENT')
    expect(await failure('show', 'late')).toContain('there is no identity late')
  })

  it('says where a broker is that others reach, with a CA that was named', async () => {
    const file = inFolder('far.yaml')
    const words = ['--url', 'mqtts://broker.example.com', '--ca', ca.cert, '--service', 'web=localhost:80']
    const { stderr } = await run('create', 'far', '--no-password', '--bundle', file, ...words)
    expect(stderr).not.toContain('this machine')
    const { config } = await loadAgentConfig({
      file,
      env: {},
      flags: { values: [], mistakes: [] },
      proxyProtocol: [],
    })
    expect(config).toMatchObject({
      id: 'far',
      broker: 'mqtts://broker.example.com',
      username: 'far',
      password: expect.stringMatching(/^tmqi_/) as string,
      tls: { caPem: await readFile(ca.cert, 'utf8') },
      services: { web: { target: 'localhost:80' } },
    })
  })

  it('lets a device in with one command, is reached through it, and disabling it cuts it', async () => {
    const file = inFolder('pi7.yaml')
    const { port } = echo.address() as AddressInfo
    const made = await run('create', 'pi7', '--bundle', file, '--service', `echo=127.0.0.1:${port}`)
    expect(made.error).toBeUndefined()
    expect(made.stderr).toMatch(/mqtts:\/\/localhost:\d+ is this machine for everyone who reads it/)
    expect((await stat(file)).mode & 0o777).toBe(0o600)

    await done('role', 'set', 'support', '--allow', 'open:*/*', '--allow', 'subscribe:$tunnel/+/status')
    const password = await done('create', 'support', '--role', 'support')
    const client = inFolder('client.yaml')
    const caPem = await readFile(ca.cert, 'utf8')
    const url = urlOf('mqtts:').replace('127.0.0.1', 'localhost')
    await writeFile(client, JSON.stringify({ broker: url, username: 'support', password, tls: { caPem } }))

    const agent = startCli(['agent', '--config', file])
    onTestFinished(async () => {
      agent.process.kill()
      await agent.ended
    })
    await agent.output(/"msg":"(tunnel agent )?connected"|connected/)
    const connect = startCli(['connect', '--config', client, 'pi7/echo'])
    connect.process.stdin.write('through')
    await connect.output(/through/)

    const own = await connectAsync(url, {
      ...{ username: 'pi7', password: passwordIn(await readFile(file, 'utf8')), clientId: 'other' },
      ...{ ca: caPem, reconnectPeriod: 0 },
    }).catch((error: unknown) => String(error))
    expect(own).toContain('Identifier rejected')

    await done('disable', 'pi7')
    const { code, stderr } = await connect.ended
    expect([code, stderr]).toEqual([expect.any(Number), expect.stringContaining('pi7')])
    expect(code).not.toBe(0)
    await agent.output(/not authorized/)
  })
})

function passwordIn(bundle: string): string {
  return /^password: (\S+)$/m.exec(bundle)?.[1] ?? ''
}
