import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { request } from 'node:https'
import type { TLSSocket } from 'node:tls'
import { expect, it } from 'vitest'
import { openBroker, temporaryFolder } from '../../support/broker-world.ts'
import { eventually } from '../../support/eventually.ts'
import { createCa } from '../listeners/certificates.ts'

interface Live {
  readonly status: number | undefined
  /** Of the server's certificate. */
  readonly serial: string
}

function getLive(url: string, ca: Buffer): Promise<Live> {
  return new Promise((resolve, reject) => {
    const asked = request(`${url}/live`, { ca, agent: false }, (response) => {
      const { serialNumber } = (response.socket as TLSSocket).getPeerCertificate()
      response.resume()
      response.once('end', () => resolve({ status: response.statusCode, serial: serialNumber }))
    })
    asked.once('error', reject)
    asked.end()
  })
}

it('serves HTTPS, with a new certificate as soon as there is one, and the old one when the new is bad', async () => {
  const folder = await temporaryFolder()
  const ca = await createCa(folder)
  const [first, second] = [await ca.issue('first'), await ca.issue('second')]
  const [cert, key] = [`${folder}/cert.pem`, `${folder}/key.pem`]
  const use = async (files: { cert: string; key: string }): Promise<void> => {
    await copyFile(files.cert, cert)
    await copyFile(files.key, key)
  }
  await use(first)
  const broker = await openBroker({ admin: { port: 0, tls: { cert, key } } })
  expect(broker.adminUrl).toMatch(/^https:/)
  const authority = await readFile(ca.cert)
  const before = await getLive(broker.adminUrl!, authority)
  expect(before.status).toBe(200)

  await use(second)
  await eventually(async () => (await getLive(broker.adminUrl!, authority)).serial).not.toBe(before.serial)
  const after = await getLive(broker.adminUrl!, authority)
  await writeFile(cert, 'nonsense')
  await expect(broker.reload()).rejects.toMatchObject({ code: 'TMQ_FILE' })
  expect(await getLive(broker.adminUrl!, authority)).toEqual(after)
})
