import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runCli } from '../../support/run-cli.ts'

const fromRoot = (file: string): string => fileURLToPath(new URL(`../../../${file}`, import.meta.url))
let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tmq-cli-'))
})
afterEach(async () => {
  await rm(folder, { recursive: true })
})

describe('tunnelmq', () => {
  it('prints the version of the package', async () => {
    const { version } = JSON.parse(await readFile(fromRoot('package.json'), 'utf8')) as { version: string }
    expect(await runCli(['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' })
  })

  it.each([
    [['--help']],
    [['broker', '--help']],
    [['config', '--help']],
    [['passwd', '--help']],
    [['store', '--help']],
  ])('explains itself with %j', async (args) => {
    const { code, stdout } = await runCli(args)
    expect(code).toBe(0)
    expect(stdout).toContain('Usage: tunnelmq')
  })

  it.each([
    [['brokr'], "tunnelmq: unknown command 'brokr'\n(Did you mean broker?)\n"],
    [['broker', '--confg', 'x'], "tunnelmq: unknown option '--confg'\n(Did you mean --config?)\n"],
    [['config', 'check'], "tunnelmq: missing required argument 'file'\n"],
  ])('exits with 2 when it is called wrongly: %j', async (args, stderr) => {
    expect(await runCli(args)).toEqual({ code: 2, stdout: '', stderr })
  })

  it('exits with 1 and one line when something fails, with the stack only on demand', async () => {
    const args = ['broker', '--config', join(folder, 'none.yaml')]
    const message = `tunnelmq: configuration file ${join(folder, 'none.yaml')} does not exist\n`
    expect(await runCli(args)).toEqual({ code: 1, stdout: '', stderr: message })
    expect((await runCli(args, { env: { TUNNELMQ_DEBUG: '1' } })).stderr).toContain('    at ')
    expect((await runCli([...args, '--log-level', 'debug'])).stderr).toContain('    at ')
  })
})

describe('tunnelmq config', () => {
  it('check is content with a right file', async () => {
    const file = join(folder, 'a.yaml')
    await writeFile(file, 'listeners: [{ type: tcp, port: 1883, host: 0.0.0.0, allowAnonymous: true }]')
    const { code, stdout, stderr } = await runCli(['config', 'check', file])
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${file}: no mistakes\n` })
    expect(stderr).toContain(`warning: ${file}:1:69: listeners.0.allowAnonymous: everyone who reaches`)
  })

  it('check lists all mistakes and exits with 1', async () => {
    const file = join(folder, 'a.yaml')
    await writeFile(file, 'limits:\n  maxPaketBytes: 1\nadmin: { port: x }\n')
    const { code, stderr } = await runCli(['config', 'check', file])
    expect(code).toBe(1)
    expect(stderr.split('\n')).toEqual([
      'tunnelmq: 2 mistakes in the configuration:',
      `  ${file}:2:3: limits.maxPaketBytes: is not known; did you mean maxPacketBytes?`,
      `  ${file}:3:16: admin.port: "x" is not a whole number from 0 to 65535`,
      '',
    ])
  })

  it('check is content with the files in config/, once the files are there that they name', async () => {
    const files = [['server.pem'], ['server.key'], ['passwords.txt'], ['acl.txt']] as const
    await Promise.all(files.map(([name]) => writeFile(join(folder, name), '')))
    const file = join(folder, 'single.yaml')
    await writeFile(file, await readFile(fromRoot('config/single.yaml')))
    expect(await runCli(['config', 'check', file])).toEqual({
      code: 0,
      stdout: `${file}: no mistakes\n`,
      stderr: '',
    })
    const example = await runCli(['config', 'check', fromRoot('config/tunnelmq.example.yaml')])
    expect(example).toMatchObject({ code: 0, stderr: '' })
  })

  it('print shows what is in force, of file, environment and options', async () => {
    const file = join(folder, 'a.yaml')
    await writeFile(file, 'listeners: [{ type: tcp, port: 1, allowAnonymous: true }]\n')
    const env = { TUNNELMQ_CONFIG: file, TUNNELMQ_LIMITS_MAX_INFLIGHT: '7' }
    const { code, stdout } = await runCli(['config', 'print', '--set', 'retained.maxMessages=9'], { env })
    expect(code).toBe(0)
    expect(stdout).toContain('    port: 1\n')
    expect(stdout).toContain('  maxInflight: 7\n')
    expect(stdout).toContain('  maxMessages: 9\n')
  })

  it('reference, schema and example print the files that come with the package', async () => {
    const read = (file: string): Promise<string> => readFile(fromRoot(file), 'utf8')
    expect((await runCli(['config', 'reference'])).stdout).toBe(await read('docs/configuration.md'))
    expect((await runCli(['config', 'schema'])).stdout).toBe(await read('config/tunnelmq.schema.json'))
    expect((await runCli(['config', 'example'])).stdout).toBe(await read('config/tunnelmq.example.yaml'))
  })
})
