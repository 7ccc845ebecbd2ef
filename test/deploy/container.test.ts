import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { connectAsync } from 'mqtt'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createCa } from '../integration/listeners/certificates.ts'
import { copyInto, runStage, sizeOf, startContainer, type Container } from '../support/container.ts'
import { readCopy, readDockerfile, readEnvironment, readList } from '../support/dockerfile.ts'
import { eventually } from '../support/eventually.ts'
import { freePort } from '../support/mosquitto.ts'

/** docker/Dockerfile, step by step, without an engine; its last stage runs as a container would. */

const root = fileURLToPath(new URL('../../', import.meta.url))
const stages = readDockerfile(join(root, 'docker/Dockerfile'))
const build = stages.find(({ name }) => name === 'build')!
const image = stages.at(-1)!
const arch = process.arch === 'arm64' ? 'arm64' : 'amd64'
let folder: string

const at = (...path: string[]): string => join(folder, ...path)

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tunnelmq-container-'))
  // Its user has to get there.
  chmodSync(folder, 0o755)
  runStage(build, at('stage'), { TARGETARCH: arch })
  for (const instruction of image.instructions.filter(({ word }) => word === 'COPY')) {
    const { from, sources, target } = readCopy(instruction)
    // tini is that of this machine, under /usr.
    if (from === 'tini') continue
    for (const source of sources)
      copyInto(join(from === 'build' ? at('stage') : root, source), at('image', target), target.endsWith('/'))
  }
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('what goes into the image', () => {
  it('is small: production modules and dist, without types, maps and what other machines need', () => {
    const modules = sizeOf(at('image/opt/tunnelmq/node_modules'))
    const dist = sizeOf(at('image/opt/tunnelmq/dist'))
    console.log(`node_modules ${(modules / 1e6).toFixed(1)} MB, dist ${(dist / 1e6).toFixed(1)} MB`)
    expect(modules).toBeLessThan(32e6)
    expect(dist).toBeLessThan(6e6)
    const files = execFileSync('find', [at('image/opt/tunnelmq'), '-type', 'f'], { encoding: 'utf8' })
    expect(files).not.toMatch(/\.map$|\.d\.ts$|tsbuildinfo|node_modules\/(typescript|vitest|@types)\//m)
  })

  it('has every production dependency, which loads', () => {
    const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      dependencies: Record<string, string>
    }
    const names = Object.keys(dependencies)
    const script = `for (const name of ${JSON.stringify(names)}) await import(name)`
    const cwd = at('image/opt/tunnelmq')
    execFileSync(process.execPath, ['--input-type=module', '-e', script], { cwd, stdio: 'pipe' })
  })

  it('keeps the native build for arm64 on amd64, and the other way round', () => {
    const other = arch === 'amd64' ? 'arm64' : 'amd64'
    mkdirSync(at('other/dist'), { recursive: true })
    const level = 'node_modules/classic-level'
    cpSync(join(root, level), at('other', level), { recursive: true })
    execFileSync(join(root, 'docker/prune'), [other], { cwd: at('other'), stdio: 'pipe' })
    const files = execFileSync('find', [at('other', level, 'prebuilds'), '-type', 'f'], { encoding: 'utf8' })
    const [file = '', ...more] = files.trim().split('\n')
    expect(more).toEqual([])
    // e_machine of the ELF header: 0xb7 AArch64, 0x3e x86-64.
    expect(readFileSync(file).readUInt16LE(18)).toBe(other === 'arm64' ? 0xb7 : 0x3e)
  })

  it('refuses a platform that classic-level has no build for', () => {
    expect(() => execFileSync(join(root, 'docker/prune'), ['riscv64'], { stdio: 'pipe' })).toThrow('riscv64')
  })
})

describe('the container', () => {
  const user = image.instructions.findLast(({ word }) => word === 'USER')?.text ?? ''
  let container: Container
  let port: number
  let collector: Server
  const traced: string[] = []

  beforeAll(async () => {
    const ca = await createCa(folder)
    const { cert, key } = await ca.issue('admin')
    collector = createServer((request, response) => {
      traced.push(request.url ?? '')
      request.resume().on('end', () => response.end('{}'))
    }).listen(0, '127.0.0.1')
    await once(collector, 'listening')
    port = await freePort()
    mkdirSync(at('image/etc/tunnelmq'), { recursive: true })
    const endpoint = `http://127.0.0.1:${(collector.address() as AddressInfo).port}/v1/traces`
    const config = {
      listeners: [{ type: 'tcp', port, allowAnonymous: true }],
      // Neither where it is by default, nor in clear text.
      admin: {
        port: await freePort(),
        tls: { cert: '/etc/tunnelmq/admin.pem', key: '/etc/tunnelmq/admin.key' },
      },
      tracing: { endpoint, sampleOneIn: 1, exportIntervalMs: 100 },
    }
    writeFileSync(at('image/etc/tunnelmq/tunnelmq.yaml'), JSON.stringify(config))
    copyFileSync(cert, at('image/etc/tunnelmq/admin.pem'))
    copyFileSync(key, at('image/etc/tunnelmq/admin.key'))
    if (process.getuid?.() === 0) {
      const [uid = 0, gid = 0] = user.split(':').map(Number)
      for (const path of ['var/lib/tunnelmq', 'etc/tunnelmq/admin.key'])
        chownSync(at('image', path), uid, gid)
    }
    const workdir = image.instructions.findLast(({ word }) => word === 'WORKDIR')?.text ?? '/'
    container = startContainer({
      folder: at('image'),
      command: [...readList(image, 'ENTRYPOINT'), ...readList(image, 'CMD')],
      env: readEnvironment(image),
      workdir,
      user,
      writable: [workdir],
    })
    await container.output(/"msg":"ready"/)
  })

  afterAll(() => {
    container.kill()
    collector.close()
  })

  it('runs as a user with a number that is not 0, under tini as the first process', () => {
    expect(user).toMatch(/^[1-9]\d*:[1-9]\d*$/)
    const { output } = container.exec(
      'sh',
      '-c',
      'cat /proc/1/comm; grep -E "^(Uid|Cap|NoNew)" /proc/1/status',
    )
    expect(output).toMatch(/^tini\n/)
    const uid = process.getuid?.() === 0 ? user.split(':')[0] : '[0-9]+'
    expect(output).toMatch(new RegExp(`^Uid:\t${uid}\t`, 'm'))
    expect(output).toMatch(/^CapEff:\t0+$/m)
    expect(output).toMatch(/^NoNewPrivs:\t1$/m)
  })

  it('can write to nothing but the folder of its store', () => {
    for (const path of ['/x', '/opt/tunnelmq/x', '/opt/tunnelmq/dist/x', '/etc/tunnelmq/x', '/usr/x'])
      expect(container.exec('touch', path).output).toMatch(/Read-only file system|Permission denied/)
    expect(container.exec('touch', '/var/lib/tunnelmq/x')).toMatchObject({ code: 0 })
  })

  it('is healthy, by its HEALTHCHECK, wherever the configuration has put the admin server', () => {
    expect(container.exec(...readList(image, 'HEALTHCHECK'))).toMatchObject({ code: 0 })
    const elsewhere = ['env', 'TUNNELMQ_ADMIN_LOCAL_KEY_FILE=/none', 'TUNNELMQ_ADMIN_PORT=1']
    expect(container.exec(...elsewhere, ...readList(image, 'HEALTHCHECK'))).toMatchObject({ code: 1 })
  })

  it('takes and delivers messages, and obeys its own commands', async () => {
    const client = await connectAsync(`mqtt://127.0.0.1:${port}`, { protocolVersion: 4 })
    await client.subscribeAsync('a/#', { qos: 1 })
    const arrived = new Promise<string>((resolve) => {
      client.once('message', (_topic, payload) => resolve(payload.toString()))
    })
    await client.publishAsync('a/b', 'hello', { qos: 1 })
    expect(await arrived).toBe('hello')
    // With the key of this start, which only its user can read.
    expect(container.exec('tunnelmq', 'clients', '--json').output).toContain(client.options.clientId)
    await client.endAsync()
  })

  it('sends traces, with what docker/prune has left of OpenTelemetry', async () => {
    const client = await connectAsync(`mqtt://127.0.0.1:${port}`, { protocolVersion: 4 })
    await client.endAsync()
    await eventually(() => traced).toContain('/v1/traces')
  })

  it('ends with 0 on SIGTERM', async () => {
    container.signal('SIGTERM')
    expect(await container.ended).toBe(0)
  })
})
