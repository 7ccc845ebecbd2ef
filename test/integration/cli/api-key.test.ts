import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { hashKey } from '../../../src/admin/api-key.ts'
import { parseKeyFile } from '../../../src/admin/key-file.ts'
import { temporaryFolder } from '../../support/broker-world.ts'
import { parseExpiry } from '../../../src/cli/expiry.ts'
import { runCli } from '../../support/run-cli.ts'

describe('tunnelmq api-key', () => {
  it('makes keys in the file of the configuration, shows each once, lists and deletes them', async () => {
    const folder = await temporaryFolder()
    const file = join(folder, 'keys')
    const config = join(folder, 'broker.yaml')
    await writeFile(
      config,
      'admin: { keysFile: ./keys }\nlisteners: [{ type: tcp, port: 0, allowAnonymous: true }]\n',
    )
    const made = await runCli([
      'api-key',
      'create',
      'deploy',
      '--scopes',
      'read,write',
      '--expires',
      '30d',
      '-c',
      config,
    ])
    expect(made.code).toBe(0)
    expect(made.stdout).toMatch(/^tmq_deploy_[\w-]{43}\n$/)
    const text = await readFile(file, 'utf8')
    expect(text).not.toContain(made.stdout.trim())
    const key = parseKeyFile(text, file).get('deploy')
    expect(key?.hash).toEqual(hashKey(made.stdout.trim()))
    expect([...key!.scopes]).toEqual(['read', 'write'])
    expect(key!.expiresAtMs! - key!.createdAtMs).toBe(30 * 86_400_000)

    const listed = await runCli(['api-key', 'list', '--file', file])
    expect(listed.stdout).toMatch(/^name +scopes +created +expires\ndeploy +read,write +\S+Z +\S+Z\n$/)
    const deleted = await runCli(['api-key', 'delete', 'deploy', '--file', file])
    expect([deleted.code, deleted.stderr]).toEqual([0, `key deploy deleted from ${file}\n`])
    expect((await runCli(['api-key', 'delete', 'deploy', '--file', file])).code).toBe(1)
  })

  it('does not end on a day that is in no calendar', () => {
    expect(parseExpiry('2028-02-29', 0)).toBe(Date.UTC(2028, 1, 29))
    expect(() => parseExpiry('2027-02-29', 0)).toThrow('is neither a time such as 12h')
  })

  it.each([
    [['create', 'local', '--file', 'x'], '"local" is the key that the broker makes itself'],
    [
      ['create', 'a', '--scopes', 'all', '--file', 'x'],
      '--scopes all: "all" is no scope; there are read, write, trace, identities, admin',
    ],
    [
      ['create', 'a', '--expires', 'soon', '--file', 'x'],
      '--expires soon: is neither a time such as 12h, 30d, 1y nor a date',
    ],
    [['create', 'a'], 'the configuration has no admin.keysFile: set it, or name a file with --file'],
  ])('says what is wrong with %j', async (args, message) => {
    const { code, stdout, stderr } = await runCli(['api-key', ...args], { cwd: await temporaryFolder() })
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toContain(message)
  })
})
