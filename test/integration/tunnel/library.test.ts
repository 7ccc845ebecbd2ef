import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createAgent, createTunnelClient, forward, openStream } from '../../../src/tunnel/index.ts'
import { openBroker } from '../../support/broker-world.ts'
import { compileProgram } from '../../support/compile-program.ts'
import { dialPort, echo, openTarget, textOf } from '../../support/tunnel-ends.ts'

const root = fileURLToPath(new URL('../../..', import.meta.url))

/** The program in the section about tunnels. */
function documentedProgram(): string {
  const [, section = ''] = readFileSync(join(root, 'docs/library.md'), 'utf8').split('## Tunnels')
  const program = /```ts\n(.*?)```/s.exec(section)?.[1]
  if (program === undefined) throw new Error('docs/library.md has no program about tunnels')
  return program
}

/** Runs a TypeScript program for which `tunnelmq/tunnel` is our source; returns what it prints. */
async function run(program: string): Promise<string> {
  const cache = join(root, 'node_modules/.cache')
  await mkdir(cache, { recursive: true })
  const folder = await mkdtemp(join(cache, 'documented-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const file = join(folder, 'program.ts')
  await writeFile(join(folder, 'package.json'), JSON.stringify({ type: 'module' }))
  await writeFile(
    file,
    program.replaceAll("'tunnelmq/tunnel'", `'${relative(folder, join(root, 'src/tunnel/index.ts'))}'`),
  )
  const compiled = await compileProgram(file)
  onTestFinished(() => compiled.remove())
  const { stdout } = await promisify(execFile)(process.execPath, [compiled.file], { timeout: 20_000 })
  return stdout
}

describe('the example of docs/library.md', () => {
  it('compiles, and does what the text says', async () => {
    const broker = await openBroker()
    const server = createServer((_, response) => response.end('a page')).listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    const { port } = server.address() as AddressInfo
    const program = documentedProgram()
      .replace('mqtt://127.0.0.1:1883', broker.url)
      .replace('127.0.0.1:80', `127.0.0.1:${port}`)
    const printed = await run(program)
    expect(printed).toContain("pi7 true [ 'web' ]\n")
    expect(printed).toMatch(/HTTP\/1.1 200 OK[^]*a page\n/)
    expect(printed.endsWith("a page\nunknown-service agent pi7 does not offer 'ssh'; it offers: web\n")).toBe(
      true,
    )
  })
})

describe('the library', () => {
  it('opens one stream, or one forward, with a connection of its own', async () => {
    const { url } = await openBroker()
    const agent = createAgent({ url, id: 'pi7', services: { echo: { target: await openTarget(echo) } } })
    onTestFinished(() => agent.close())
    await agent.connected()
    const stream = await openStream('pi7/echo', { url })
    stream.end('one')
    expect(await textOf(stream)).toBe('one')

    const opened = await forward({ url, to: 'pi7/echo' })
    const socket = await dialPort(opened.port)
    socket.end('two')
    expect(await textOf(socket)).toBe('two')
    await opened.close()
    await expect(dialPort(opened.port)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    await expect(openStream('pi7/none', { url })).rejects.toMatchObject({ reset: 'unknown-service' })
    await expect(forward({ url, to: 'pi7' })).rejects.toMatchObject({ code: 'TMQ_USAGE' })
    const limits = { resumeTimeoutMs: 2 ** 31 }
    await expect(forward({ url, to: 'pi7/ssh', limits })).rejects.toThrow(
      'limits.resumeTimeoutMs is 2147483648',
    )
  })

  it('tells the program of attempts to connect that failed, and goes on', async () => {
    const failures: string[] = []
    const client = createTunnelClient({
      url: 'mqtt://127.0.0.1:1',
      onConnectFailed: ({ error }) => void failures.push(error.code),
    })
    onTestFinished(() => client.close())
    expect(client.id).toMatch(/^tunnelmq-[0-9a-f]{8}$/)
    await expect.poll(() => failures.length).toBeGreaterThan(1)
    expect(new Set(failures)).toEqual(new Set(['TMQ_UNREACHABLE']))
    await expect(client.connected(1)).rejects.toMatchObject({ code: 'TMQ_UNREACHABLE' })
  })

  it.each([
    [{ url: 'mqtt://127.0.0.1', id: 'a b' }, /a name is/],
    [{ url: 'http://127.0.0.1' }, /not the URL of a broker/],
  ])('refuses options that cannot be right: %o', (options, message) => {
    expect(() => createTunnelClient(options)).toThrow(message)
  })
})

/** Every file of ours, and every package, that comes with a file at run time. */
function closureOf(entry: string): { files: Set<string>; packages: Set<string> } {
  const files = new Set<string>()
  const packages = new Set<string>()
  const visit = (file: string): void => {
    if (files.has(file)) return
    files.add(file)
    const text = readFileSync(join(root, file), 'utf8')
    const statements = text.matchAll(/^(?:import|export)\s+(?!type\s)(?:[^'";]*?\sfrom\s+)?'([^']+)'/gm)
    for (const [, specifier = ''] of statements) {
      if (specifier.startsWith('.')) visit(join(dirname(file), specifier))
      else if (!specifier.startsWith('node:')) packages.add(specifier)
    }
  }
  visit(entry)
  return { files, packages }
}

describe('what comes with tunnelmq/tunnel', () => {
  it('is not the broker, nor its libraries', () => {
    const { files, packages } = closureOf('src/tunnel/index.ts')
    expect(files).toContain('src/tunnel/link/mqtt-link.ts')
    expect(files).toContain('src/tunnel/protocol/create-streams.ts')
    const foreign = [...files].filter(
      (file) => !/^src\/(?:tunnel\/(?!router\/|gateway\/)|errors\.ts$|timer\.ts$|version\.ts$)/.test(file),
    )
    expect(foreign).toEqual([])
    expect([...packages]).toEqual(['ws'])
  })

  it('is what package.json exports', () => {
    const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      exports: Record<string, unknown>
    }
    expect(exports['./tunnel']).toEqual({
      types: './dist/tunnel/index.d.ts',
      default: './dist/tunnel/index.js',
    })
  })
})
