import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { createHttpClient } from '../../../src/hooks/http-client.ts'
import { createCa } from '../listeners/certificates.ts'

it('asks over TLS whoever has a certificate of the CA that is named, and nobody else', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'tunnelmq-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const ca = await createCa(folder)
  const files = await ca.issue('server')
  const server = createServer(
    { cert: await readFile(files.cert), key: await readFile(files.key) },
    (_, response) => response.end('hello'),
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => server.closeAllConnections())
  onTestFinished(() => void server.close())
  const url = new URL(`https://127.0.0.1:${(server.address() as AddressInfo).port}/`)
  const options = { maxSockets: 1, keepAliveMs: 1_000, timeoutMs: 20_000, maxResponseBytes: 100 }
  const ask = { method: 'GET', headers: {} } as const

  const trusting = await createHttpClient({ ...options, tls: { ca: ca.cert } })
  onTestFinished(() => trusting.close())
  const { status, body } = await trusting.request(url, ask)
  expect([status, body.toString()]).toEqual([200, 'hello'])

  const strange = await createHttpClient(options)
  onTestFinished(() => strange.close())
  await expect(strange.request(url, ask)).rejects.toMatchObject({ fault: 'connection' })

  // Certificates are read again, and those from before stay when they cannot be.
  const other = join(folder, 'other.pem')
  await writeFile(other, await readFile(ca.cert))
  const changing = await createHttpClient({ ...options, tls: { ca: other } })
  onTestFinished(() => changing.close())
  await rm(other)
  await expect(changing.reload()).rejects.toThrow(other)
  expect((await changing.request(url, ask)).status).toBe(200)
  await expect(createHttpClient({ ...options, tls: { ca: other } })).rejects.toMatchObject({
    code: 'TMQ_FILE',
  })
})
