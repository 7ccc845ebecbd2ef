import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Finding } from '../../../src/doctor/finding.ts'
import { freePort } from '../../support/mosquitto.ts'
import { runCli, startCli, type CliResult, type RunningCli } from '../../support/run-cli.ts'
import { createCa, type CertificateFiles, type TestCa } from '../listeners/certificates.ts'

const run = promisify(execFile)
const program = fileURLToPath(new URL('../../../dist/cli/index.js', import.meta.url))

let folder = ''
let file = ''
let ca: TestCa
let shown: CertificateFiles
const ports = new Map<string, number>()

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tmq-doctor-'))
  file = join(folder, 'broker.yaml')
  ca = await createCa(folder)
  shown = await ca.issue('server', '/CN=server', 'DNS:localhost', 200)
  for (const name of ['plain', 'tls', 'ws', 'wss', 'behind', 'mixed', 'mutual', 'locked', 'admin'])
    ports.set(name, await freePort())
  const port = (name: string): object => ({ name, port: ports.get(name), allowAnonymous: true })
  const config = {
    listeners: [
      { type: 'tcp', ...port('plain') },
      { type: 'tls', ...port('tls'), tls: shown, protocolVersions: ['3.1'] },
      { type: 'ws', ...port('ws'), protocolVersions: ['5'] },
      { type: 'wss', ...port('wss'), tls: shown },
      { type: 'tcp', ...port('behind'), proxyProtocol: 'required' },
      { type: 'tcp', ...port('mixed'), proxyProtocol: 'trusted', trustedProxies: ['127.0.0.1'] },
      {
        type: 'tls',
        ...port('mutual'),
        tls: { ...shown, clientCa: ca.cert },
        proxyProtocol: 'trusted',
        trustedProxies: ['127.0.0.1'],
      },
      {
        type: 'tcp',
        ...port('locked'),
        allowAnonymous: false,
        handlers: [{ type: 'anonymous', allow: false }],
      },
      { type: 'unix', name: 'socket', path: join(folder, 'broker.sock'), allowAnonymous: true },
    ],
    admin: { port: ports.get('admin'), localKeyFile: 'admin.key' },
    limits: { maxConnections: 100 },
    store: { path: 'data' },
    sysIntervalMs: 0,
    shutdown: { drainMs: 0 },
    log: { format: 'json' },
  }
  // JSON is YAML.
  await writeFile(file, JSON.stringify(config))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

function parsed({ stdout }: CliResult): readonly Finding[] {
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Finding)
}

async function doctor(
  ...args: readonly string[]
): Promise<{ readonly code: number | null; readonly findings: readonly Finding[] }> {
  const result = await runCli(['doctor', '--config', file, '--json', ...args], { cwd: folder })
  expect(result.stderr).toBe('')
  return { code: result.code, findings: parsed(result) }
}

/** What was seen, of one check. */
function seen(findings: readonly Finding[], check: string, state?: Finding['state']): string[] {
  return findings
    .filter((one) => one.check === check && (state ?? one.state) === one.state)
    .map((one) => one.seen)
}

/** Without what depends on the machine that the test runs on: its clock, its limits, how fast its disk is. */
function problems(findings: readonly Finding[]): Finding[] {
  const ofMachine = ['clock', 'limits', 'node', 'store']
  return findings.filter(
    ({ check, state }) => state === 'fail' || (state === 'warn' && !ofMachine.includes(check)),
  )
}

it('works without a broker: nothing fails, and what needs one is skipped', async () => {
  const { code, findings } = await doctor()
  expect(problems(findings)).toEqual([])
  expect(code).toBe(0)
  expect(seen(findings, 'port', 'ok')).toHaveLength(9)
  expect(seen(findings, 'mqtt', 'skipped')).toHaveLength(9)
  expect(seen(findings, 'proxy', 'skipped')).toHaveLength(3)
  expect(seen(findings, 'store')).toEqual([
    `${join(folder, 'data')} is not there yet: the first start makes it`,
  ])
  expect(seen(findings, 'tunnel', 'skipped')).toHaveLength(1)
})

describe('with a broker that runs', () => {
  let broker: RunningCli
  let agent: RunningCli
  beforeAll(async () => {
    broker = startCli(['broker', '--config', file], { cwd: folder })
    await broker.output(/"msg":"ready"/)
    const url = `mqtt://127.0.0.1:${ports.get('plain')}`
    agent = startCli(['agent', '--id', 'pi7', '--service', 'web=127.0.0.1:1', '--broker', url])
    await agent.output(/"tunnel agent connected"/)
  })
  afterAll(async () => {
    for (const { process: child, ended } of [agent, broker]) {
      child.kill('SIGKILL')
      await ended
    }
  })

  it('sees each listener answer, whom PROXY headers made of it, and how good the way to an agent is', async () => {
    const { code, findings } = await doctor('--agent', 'pi7')
    expect(problems(findings)).toEqual([])
    expect(code).toBe(0)
    expect(seen(findings, 'broker')).toEqual([
      expect.stringMatching(/^TunnelMQ \S+ answers at http:\/\/127\.0\.0\.1:\d+$/),
      'it is ready',
      'its API answers',
    ])
    const pid = broker.process.pid
    expect(
      seen(findings, 'port').filter((line) => line.endsWith(`is held by the broker (pid ${pid})`)),
    ).toHaveLength(9)
    expect(seen(findings, 'mqtt').map((line) => line.replace(/[\d.]+ ms/g, 'T'))).toEqual([
      ...['plain', 'tls', 'ws', 'wss', 'behind', 'mixed'].map((name) => `${name}: CONNECT took T, PINGREQ T`),
      'mutual: refuses a client without a certificate, as it should; one with it was not tried',
      expect.stringMatching(/^locked: answers CONNECT in T; who gets in was not tried/),
      'socket: CONNECT took T, PINGREQ T',
    ])
    expect(
      seen(findings, 'tls').filter((line) => line.endsWith('clients are shown this certificate')),
    ).toHaveLength(3)
    expect(seen(findings, 'proxy')).toEqual([
      'behind: refuses a connection without a PROXY header',
      'behind: believes the PROXY header: it saw 192.0.2.77',
      'mixed: believes the PROXY header: it saw 192.0.2.77',
      'mutual: needs a client certificate, which this probe has not',
    ])
    expect(seen(findings, 'store')[0]).toBe(`${join(folder, 'data')} is in use by the broker (pid ${pid})`)
    expect(seen(findings, 'limits')[0]).toContain(`the broker, pid ${pid}`)
    expect(seen(findings, 'tunnel')).toEqual([
      expect.stringMatching(/^pi7: opened in [\d.]+ ms/),
      expect.stringMatching(/^pi7: round trip [\d.]+ ms/),
      expect.stringMatching(/^pi7: [\d.]+ [KM]iB\/s to the agent, [\d.]+ [KM]iB\/s from it$/),
    ])
  })

  it('fails for an agent that is not there', async () => {
    const { code, findings } = await doctor('--agent', 'pi8')
    expect(code).toBe(1)
    expect(problems(findings)).toEqual([
      {
        check: 'tunnel',
        state: 'fail',
        seen: expect.stringContaining('there is no agent pi8'),
        todo: expect.any(String),
      },
    ])
  })

  it('sees that clients are shown another certificate than that of the file, which has expired', async () => {
    await expire(shown)
    const result = await runCli(['doctor', '--config', file], { cwd: folder })
    expect(result.code).toBe(1)
    expect(result.stdout).toMatch(
      /^FAIL {2}tls +tls: \S+server\.crt has expired on Feb {2}1 00:00:00 2020 GMT\n +-> renew it/m,
    )
    expect(result.stdout).toMatch(/^FAIL {2}tls +tls: \S+server\.key is not the key of/m)
    expect(result.stdout).toMatch(/^FAIL {2}tls +wss: clients are shown another certificate/m)
    expect(result.stdout).toMatch(/\n\d+ failed, \d+ warnings, \d+ ok, \d+ skipped\n$/)
  })
})

it('names each fault of a machine: a port that is taken, too few files, a folder that cannot be written', async () => {
  const taken = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1')
  await once(taken, 'listening')
  const { port } = taken.address() as AddressInfo
  const store = await unwritable()
  const config = {
    listeners: [{ type: 'tcp', name: 'mine', port, allowAnonymous: true }],
    admin: { enabled: false },
    store: { path: store },
  }
  const faulty = join(folder, 'faulty.yaml')
  await writeFile(faulty, JSON.stringify(config))
  const words = `ulimit -n 300; exec "${process.execPath}" "${program}" doctor --json --config "${faulty}"`
  const { code, stdout } = await run('sh', ['-c', words], { cwd: folder }).then(
    (result) => ({ code: 0, ...result }),
    (error: { code: number; stdout: string }) => error,
  )
  taken.close()
  expect(code).toBe(1)
  const findings = parsed({ code, stdout, stderr: '' }).filter(({ state }) => state === 'fail')
  expect(findings.map(({ check, seen: text }) => [check, text])).toEqual([
    ['port', expect.stringContaining(`(pid ${process.pid})`)],
    ['mqtt', expect.any(String)],
    ['store', expect.stringContaining(`${store} cannot be written`)],
    ['limits', expect.stringContaining('300 open files (started from this shell)')],
  ])
})

it('names the mistakes of a configuration, and looks at what needs none', async () => {
  const wrong = join(folder, 'wrong.yaml')
  await writeFile(wrong, 'limits:\n  maxPaketBytes: 1\n')
  const result = await runCli(['doctor', '--config', wrong, '--json'])
  expect(result.code).toBe(1)
  const findings = parsed(result)
  expect(seen(findings, 'configuration', 'fail')).toEqual([
    `${wrong}:2:3: limits.maxPaketBytes: is not known; did you mean maxPacketBytes?`,
  ])
  expect(new Set(findings.map(({ check }) => check))).toEqual(
    new Set(['configuration', 'node', 'clock', 'tunnel']),
  )
})

/** Puts a certificate of the year 2020, with a key of its own, in place of the one that is there. */
async function expire({ cert }: CertificateFiles): Promise<void> {
  const place = join(folder, 'expired')
  await mkdir(place)
  await writeFile(
    join(place, 'ca.cnf'),
    '[ca]\ndefault_ca=d\n[d]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n',
  )
  await writeFile(join(place, 'index'), '')
  await writeFile(join(place, 'serial'), '01\n')
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  await run('openssl', ['req', '-new', ...newKey, '-subj', '/CN=server', '-keyout', 'key', '-out', 'csr'], {
    cwd: place,
  })
  const dates = ['-startdate', '20200101000000Z', '-enddate', '20200201000000Z']
  const sign = [
    'ca',
    '-batch',
    '-config',
    'ca.cnf',
    '-selfsign',
    '-keyfile',
    'key',
    '-in',
    'csr',
    '-out',
    'crt',
  ]
  await run('openssl', [...sign, ...dates, '-notext'], { cwd: place })
  await copyFile(join(place, 'crt'), cert)
}

/** Root may write everywhere, but not into the kernel's own folders. */
async function unwritable(): Promise<string> {
  if (process.getuid?.() === 0) return '/sys/kernel'
  const place = join(folder, 'read-only')
  await mkdir(place, { mode: 0o555 })
  return place
}
