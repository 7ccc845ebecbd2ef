import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const analyze = '/usr/bin/systemd-analyze'
const units = ['tunnelmq-agent.service', 'tunnelmq-broker.service']

/** Most that `systemd-analyze security` may find to complain of, of 10; below 2 is its best word. */
const MAX_EXPOSURE = 2

const textOf = (unit: string): string => readFileSync(join(root, 'deploy/systemd', unit), 'utf8')

/** Keys with all their values, in order. */
function readUnit(text: string): Map<string, string[]> {
  const keys = new Map<string, string[]>()
  for (const line of text.split('\n')) {
    const match = /^([A-Z]\w+)=(.*)$/.exec(line)
    if (match?.[1] !== undefined) keys.set(match[1], [...(keys.get(match[1]) ?? []), match[2] ?? ''])
  }
  return keys
}

describe.each(units)('%s', (unit) => {
  const keys = readUnit(textOf(unit))

  it('takes away what the program does not need', () => {
    const hardening = {
      NoNewPrivileges: 'yes',
      ProtectSystem: 'strict',
      ProtectHome: 'yes',
      PrivateTmp: 'yes',
      CapabilityBoundingSet: '',
      RestrictAddressFamilies: 'AF_INET AF_INET6 AF_UNIX AF_NETLINK',
      Restart: 'always',
    }
    for (const [key, value] of Object.entries(hardening)) expect([key, keys.get(key)]).toEqual([key, [value]])
    expect(keys.get('SystemCallFilter')?.[0]).toBe('@system-service')
    // Node could not run.
    expect(keys.has('MemoryDenyWriteExecute')).toBe(false)
  })

  it('runs as nobody else, and as no root', () => {
    expect(keys.get('DynamicUser') ?? keys.get('User')).toEqual([unit.includes('agent') ? 'yes' : 'tunnelmq'])
  })

  it('starts a command that there is', () => {
    const [command = ''] = keys.get('ExecStart') ?? []
    const [node, ...words] = command.split(' ')
    const [script, name] = words.filter((word) => !word.startsWith('--'))
    expect([node, script]).toEqual(['/usr/bin/node', '/opt/tunnelmq/dist/cli/index.js'])
    expect(existsSync(join(root, 'src/cli', `${name}.ts`))).toBe(true)
    expect(keys.get('RestartPreventExitStatus')).toEqual(['2'])
  })
})

it('hands the password to the agent without a file that it could read otherwise', () => {
  const keys = readUnit(textOf('tunnelmq-agent.service'))
  expect(keys.get('LoadCredential')).toEqual(['password:/etc/tunnelmq/agent.password'])
  expect(keys.get('Environment')).toEqual(['TUNNEL_PASSWORD_FILE=%d/password'])
})

describe('what systemd says of the units', () => {
  const run = promisify(execFile)
  let folder = ''
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tmq-units-'))
  })
  afterEach(async () => {
    await rm(folder, { recursive: true })
  })

  /** The unit as it would be with the program where it is here: systemd looks whether it is there. */
  async function installed(unit: string): Promise<string> {
    const file = join(folder, unit)
    await writeFile(
      file,
      textOf(unit).replaceAll('/usr/bin/node', process.execPath).replaceAll('/opt/tunnelmq/', root),
    )
    return file
  }

  it.each(units)('%s has no mistakes', async (unit) => {
    const { stdout, stderr } = await run(analyze, ['verify', '--man=no', await installed(unit)])
    expect(stdout + stderr).not.toContain(unit)
  })

  it.each(units)('%s leaves little exposed', async (unit) => {
    const file = await installed(unit)
    const { stdout } = await run(analyze, ['security', '--offline=true', '--no-pager', file])
    const [, exposure] = /exposure level for \S+: ([\d.]+)/.exec(stdout) ?? []
    expect(Number(exposure)).toBeLessThan(MAX_EXPOSURE)
  })
})
