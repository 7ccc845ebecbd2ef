import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { gatewayCommand } from '../../src/cli/gateway.ts'
import { loadConfig } from '../../src/config/load.ts'
import { parsePasswordHash, verifyPassword } from '../../src/hooks/password-hash.ts'
import { temporaryFolder } from '../support/broker-world.ts'
import { runCommand } from '../support/run-command.ts'
import { initGateway, install } from '../integration/gateway/machines.ts'

const run = promisify(execFile)
const deploy = fileURLToPath(new URL('../../deploy/gateway/', import.meta.url))

const orders = {
  haproxy: [
    'haproxy',
    '--vm-address',
    '203.0.113.10',
    '--domain',
    'mqtt.example.com',
    '--local-name',
    'fd00::20',
  ],
  agent: ['agent', '--vm-address', '2001:db8::10'],
  service: [
    'service',
    '--domain',
    'vm.example.com',
    '--service',
    '192.168.20.5:443',
    '--allow',
    '10.0.0.0/24',
  ],
}

async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
}

describe('tunnelmq gateway init', () => {
  let out: Record<keyof typeof orders, string>

  let base: string

  beforeAll(async () => {
    base = await mkdtemp(join(tmpdir(), 'tunnelmq-gateway-'))
    const made: [string, string][] = []
    for (const [kind, words] of Object.entries(orders))
      made.push([kind, await initGateway(join(base, kind), words)])
    out = Object.fromEntries(made) as typeof out
  })
  afterAll(() => rm(base, { recursive: true, force: true }))

  it('writes all of deploy/gateway, filled in, for nobody else to read', async () => {
    const ways = { haproxy: 'haproxy-wireguard', agent: 'agent', service: 'private-service' }
    for (const [kind, way] of Object.entries(ways)) {
      const folder = out[kind as keyof typeof out]
      const files = await filesIn(folder)
      expect(files).toEqual(expect.arrayContaining(await filesIn(join(deploy, way))))
      for (const file of files) {
        const { mode } = await stat(join(folder, file))
        expect([file, (mode & 0o777).toString(8)]).toEqual([file, file.endsWith('/install') ? '700' : '600'])
        expect([file, await readFile(join(folder, file), 'utf8')]).not.toEqual([
          file,
          expect.stringMatching(/@[A-Z0-9_]+@/),
        ])
      }
    }
  })

  it('writes what brokers, HAProxy, WireGuard and nftables take', async () => {
    for (const file of ['haproxy/pi0', 'agent/vm', 'agent/pi0', 'service/vm'] as const) {
      const [kind, machine] = file.split('/') as [keyof typeof out, string]
      const loaded = await loadConfig({ file: join(out[kind], machine, 'tunnelmq.yaml'), env: {} })
      expect([file, loaded.warnings]).toEqual([file, []])
    }
    await run('haproxy', ['-c', '-q', '-f', join(out.haproxy, 'vm/haproxy.cfg')], {
      env: { PATH: `${process.env['PATH']}:/usr/sbin` },
    })
    const field = async (file: string, name: string) =>
      new RegExp(`^${name} = (.*)$`, 'm').exec(await readFile(join(out.haproxy, file), 'utf8'))?.[1] ?? ''
    for (const [own, other] of [
      ['vm', 'pi0'],
      ['pi0', 'vm'],
    ]) {
      const derived = run('wg', ['pubkey'])
      derived.child.stdin?.end(`${await field(`${own}/wg0.conf`, 'PrivateKey')}\n`)
      expect((await derived).stdout.trim()).toBe(await field(`${other}/wg0.conf`, 'PublicKey'))
    }
    expect(await field('vm/wg0.conf', 'PresharedKey')).toBe(await field('pi0/wg0.conf', 'PresharedKey'))
  })

  it('makes certificates that name every way to a broker, also for strict clients', async () => {
    const verify = async (folder: string, machine: string, name: readonly string[]) => {
      const files = ['-CAfile', join(folder, 'ca.pem'), join(folder, machine, 'server.pem')]
      return (await run('openssl', ['verify', '-x509_strict', '-purpose', 'sslserver', ...name, ...files]))
        .stdout
    }
    expect(await verify(out.haproxy, 'pi0', ['-verify_hostname', 'mqtt.example.com'])).toMatch(/OK$/m)
    expect(await verify(out.haproxy, 'pi0', ['-verify_ip', 'fd00::20'])).toMatch(/OK$/m)
    expect(await verify(out.agent, 'vm', ['-verify_ip', '2001:db8::10'])).toMatch(/OK$/m)
    await expect(verify(out.haproxy, 'pi0', ['-verify_hostname', 'example.com'])).rejects.toThrow(/mismatch/)
  })

  it('keeps passwords as hashes for the one side and as text for the other', async () => {
    const [line = ''] = (await readFile(join(out.agent, 'vm/passwords'), 'utf8')).split('\n')
    const hash = parsePasswordHash(line.replace(/^pi0:/, ''))
    const text = (await readFile(join(out.agent, 'pi0/agent.password'), 'utf8')).trim()
    expect(text).toHaveLength(32)
    if (typeof hash === 'string') throw new Error(hash)
    expect(await verifyPassword(hash, Buffer.from(text))).toBe(true)
  })

  it('says what to do, without a secret, and does not write over what is there', async () => {
    const folder = join(await temporaryFolder(), "it's new")
    const words = ['init', ...orders.agent, '--out', folder]
    const { stdout } = await runCommand(gatewayCommand(), words)
    expect(stdout.toString()).toMatch(
      /scp -r '\S*\/it'\\''s new\/vm' root@\[2001:db8::10\]:gateway && ssh .* gateway\/install/,
    )
    expect(stdout.toString()).not.toContain((await readFile(join(folder, 'admin.password'), 'utf8')).trim())
    const again = await runCommand(gatewayCommand(), words)
    expect(again.error?.message).toMatch(/is not empty, and its keys may be in use; name another folder/)
  })

  it.each([
    [['agent'], /--vm-address is missing/],
    [['agent', '--vm-address', 'https://x'], /--vm-address https:\/\/x: is no address and no host name/],
    [['haproxy', '--vm-address', 'vm', '--local-name', 'a b'], /--local-name a b: is no address/],
    [
      ['service', '--vm-address', 'vm', '--service', 'nas', '--allow', '10.0.0.1'],
      /--service nas: is not host:port/,
    ],
    [['service', '--vm-address', 'vm', '--service', 'nas:443', '--allow', 'all'], /--allow all: is neither/],
    [['service', '--vm-address', 'vm', '--service', 'nas:443'], /--allow/],
    [
      ['service', '--vm-address', 'vm', '--service', '::1:443', '--allow', '::1'],
      /--service ::1:443: is not host:port/,
    ],
    [
      ['service', '--vm-address', 'vm', '--service', 'nas:443', '--allow', '::1', '--listen', ':8884'],
      /--listen :8884: 8884 is where the agent dials in/,
    ],
    [['haproxy', '--vm-address', 'fe80::1%eth0'], /--vm-address fe80::1%eth0: is no address/],
    [['haproxy', '--vm-address', '256.1.1.1'], /--vm-address 256.1.1.1: is no address/],
  ])('refuses %j', async (words, message) => {
    const folder = join(await temporaryFolder(), 'new')
    const { error, stderr } = await runCommand(gatewayCommand(), ['init', ...words, '--out', folder])
    expect(`${error?.message} ${stderr}`).toMatch(message)
    await expect(stat(folder)).rejects.toThrow(/ENOENT/)
  })
})

describe('install, of a gateway', () => {
  it("leaves a broker's files, and keeps other programs' beside the new ones", async () => {
    const out = await initGateway(await temporaryFolder(), orders.haproxy)
    const etc = (machine: string, file: string) => join(out, `root-of-${machine}`, 'etc', file)
    await mkdir(etc('pi0', 'tunnelmq'), { recursive: true })
    await mkdir(etc('vm', 'haproxy'), { recursive: true })
    await writeFile(etc('pi0', 'tunnelmq/tunnelmq.yaml'), 'mine\n')
    await writeFile(etc('vm', 'haproxy/haproxy.cfg'), 'theirs\n')
    for (const machine of ['vm', 'vm', 'pi0', 'pi0']) await install(out, machine)

    expect(await readFile(etc('pi0', 'tunnelmq/tunnelmq.yaml'), 'utf8')).toBe('mine\n')
    expect(await readFile(etc('vm', 'haproxy/haproxy.cfg.before-gateway'), 'utf8')).toBe('theirs\n')
    expect(await readFile(etc('vm', 'haproxy/haproxy.cfg'), 'utf8')).toMatch(
      /server pi0 10\.200\.200\.2:1883/,
    )
    const modes = await Promise.all(
      ['wireguard/wg0.conf', 'tunnelmq/server.key', 'tunnelmq/passwords', 'tunnelmq/server.pem'].map(
        async (file) => ((await stat(etc('pi0', file))).mode & 0o777).toString(8),
      ),
    )
    expect(modes).toEqual(['600', '640', '640', '644'])
  })
})
