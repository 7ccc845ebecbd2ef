import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { readCredentials } from '../../../src/cli/tunnel-credentials.ts'
import { clientSchema, type ClientConfig } from '../../../src/config/tunnel-endpoint-schema.ts'

let folder = ''
let file = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tmq-credentials-'))
  file = join(folder, 'password')
})
afterEach(async () => {
  await rm(folder, { recursive: true })
})

const withPassword = (passwordFile: string): ClientConfig =>
  clientSchema.parse({ username: 'a', passwordFile })

it.each(['secret', 'secret\n', 'secret\r\n', 'secret\n# the old one\n'])(
  'takes the first line of %j',
  async (text) => {
    await writeFile(file, text, { mode: 0o600 })
    const { password, username, warnings } = await readCredentials(withPassword(file))
    expect(String(password)).toBe('secret')
    expect(username).toBe('a')
    expect(warnings).toEqual([])
  },
)

it('takes a password as it is when it is not in a file', async () => {
  expect((await readCredentials(clientSchema.parse({ username: 'a', password: 'x\ny' }))).password).toBe(
    'x\ny',
  )
})

it('warns of secrets that everyone can read, and not of those for a group', async () => {
  const key = join(folder, 'key.pem')
  await writeFile(file, 'secret')
  await writeFile(key, 'key')
  await chmod(file, 0o644)
  await chmod(key, 0o604)
  const config = clientSchema.parse({ username: 'a', passwordFile: file, tls: { cert: key, key } })
  const { warnings } = await readCredentials(config)
  expect(warnings).toEqual([
    `${file} can be read by everyone on this machine: chmod 600 ${file}`,
    `${key} can be read by everyone on this machine: chmod 600 ${key}`,
  ])
  expect(warnings.join()).not.toContain('secret')
  await chmod(file, 0o640)
  await chmod(key, 0o600)
  expect((await readCredentials(config)).warnings).toEqual([])
})

it('names the file that is empty, or not there', async () => {
  await writeFile(file, '\n')
  await expect(readCredentials(withPassword(file))).rejects.toThrow(`the password file ${file} is empty`)
  await rm(file)
  await expect(readCredentials(withPassword(file))).rejects.toThrow(
    `the file of the password, ${file}, does not exist`,
  )
})
