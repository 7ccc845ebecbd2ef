import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { clientsCommand } from '../../../src/cli/api/clients.ts'
import { logLevelCommand } from '../../../src/cli/api/control.ts'
import { statusCommand } from '../../../src/cli/api/status.ts'
import type { Environment } from '../../../src/config/overrides.ts'
import { apiKeyCommand } from '../../../src/cli/api-key.ts'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'
import { runCommand } from '../../support/run-command.ts'
import { createCa, type CertificateFiles, type TestCa } from '../listeners/certificates.ts'

let folder = ''
let ca: TestCa
let tls: CertificateFiles
let broker: TestBroker
const here = (): Environment => ({ TUNNELMQ_CONFIG: join(folder, 'broker.yaml') })

/** The configuration of commands, which are to find the broker by it. */
async function configure(admin: object): Promise<void> {
  await writeFile(join(folder, 'broker.yaml'), JSON.stringify({ admin }))
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tmq-target-'))
  ca = await createCa(folder)
  // A name that is not the one by which commands reach it.
  tls = await ca.issue('admin', '/CN=admin', 'DNS:broker.example.com')
  const keysFile = join(folder, 'keys')
  await writeFile(keysFile, '')
  const admin = { port: 0, localKey: true, localKeyFile: join(folder, 'local.key'), keysFile, tls }
  await configure(admin)
  const { stdout } = await runCommand(apiKeyCommand({}), [
    'create',
    'reader',
    '--scopes',
    'read',
    '--file',
    keysFile,
  ])
  await writeFile(join(folder, 'reader.key'), stdout)
  broker = await startTestBroker({ admin })
})
afterAll(async () => {
  await broker.stop()
  await rm(folder, { recursive: true })
})

async function said(env: Environment, ...words: string[]): Promise<string> {
  const { error, stdout } = await runCommand(statusCommand(env), words)
  return error === undefined ? stdout.toString() : String(error)
}

it('takes the very certificate of the configuration, whatever its name and CA are', async () => {
  expect(await said(here())).toMatch(/^ready +yes$/m)
})

it('shows no key to a server with another certificate', async () => {
  const other = await ca.issue('other')
  const admin = { port: 0, localKeyFile: join(folder, 'local.key'), tls: other }
  await configure(admin)
  expect(await said(here())).toContain('it shows another certificate than admin.tls.cert')
  await configure({ ...admin, tls })
})

it('checks names and CA of a URL, with the CA that is named', async () => {
  const url = broker.adminUrl!
  const key = ['--api-key-file', join(folder, 'reader.key')]
  expect(await said({}, '--api-url', url, ...key)).toContain(
    'its CA is not known here: name it with --api-ca',
  )
  expect(await said({}, '--api-url', url, ...key, '--api-ca', ca.cert)).toContain(
    'its certificate is for another name',
  )
  expect(await said({}, '--api-url', url.replace('https', 'http'), ...key)).toContain(
    'cannot reach the admin API',
  )
})

it('says which scope is missing', async () => {
  const env = { ...here(), TUNNELMQ_API_KEY_FILE: join(folder, 'reader.key') }
  expect((await runCommand(clientsCommand(env), [])).error).toBeUndefined()
  const refused = String((await runCommand(logLevelCommand(env), ['debug'])).error)
  expect(refused).toMatch(/may not do this: .*admin.*tunnelmq api-key create/)
})

it('does not take one broker for another that was started in the same folder', async () => {
  const admin = { port: 0, localKey: true, localKeyFile: join(folder, 'local.key') }
  const second = await startTestBroker({ admin })
  try {
    const port = Number(new URL(second.adminUrl!).port)
    await configure({ ...admin, port })
    const answer = await said(here())
    expect(answer).toContain(`is the key of the broker at ${broker.adminUrl}`)
    expect(answer).toContain(`is at http://127.0.0.1:${port}`)
    expect(await said(here(), '--api-url', second.adminUrl!)).toContain('does not take the API key')
  } finally {
    await second.stop()
    await configure({ ...admin, tls })
  }
})

it.each(['', 'null', '7', '<html>'])('does not take %j for an answer of the API', async (body) => {
  const server = createServer((_, response) => response.end(body))
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const url = `http://127.0.0.1:${port}`
  const { error, stdout } = await runCommand(clientsCommand({ TUNNELMQ_API_KEY: 'k' }), ['--api-url', url])
  expect(String(error)).toContain(`what answers at ${url} is not the API of TunnelMQ`)
  expect(stdout.toString()).toBe('')
  server.close()
})
