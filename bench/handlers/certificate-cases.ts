import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { HandlerCase } from './cases.ts'

const REVOKED = 100_000
const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']

/** A CA with a long revocation list, made with openssl, and clients with a certificate of it. */
export function certificateCases(
  common: Omit<HandlerCase, 'name' | 'handlers'>,
  parent: string,
): HandlerCase[] {
  const folder = join(parent, 'ca')
  mkdirSync(folder)
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' })
  const revoked = Array.from({ length: REVOKED }, (_, n) => {
    const serial = (0x10000000000000000000n + BigInt(n)).toString(16).toUpperCase()
    return `R\t361231235959Z\t251101000000Z\t${serial}\tunknown\t/CN=gone\n`
  })
  writeFileSync(join(folder, 'index.txt'), revoked.join(''))
  writeFileSync(join(folder, 'crlnumber'), '01\n')
  writeFileSync(
    join(folder, 'ca.cnf'),
    '[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\ncrlnumber=crlnumber\ncertificate=ca.crt\nprivate_key=ca.key\ndefault_md=sha256\n',
  )
  openssl('req', '-x509', ...NEW_KEY, '-days', '30', '-subj', '/CN=ca', '-keyout', 'ca.key', '-out', 'ca.crt')
  openssl('req', '-new', ...NEW_KEY, '-subj', '/CN=user0', '-keyout', 'c.key', '-out', 'c.csr')
  const signing = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '30']
  openssl('x509', '-req', '-in', 'c.csr', ...signing, '-out', 'c.crt')
  openssl('ca', '-config', 'ca.cnf', '-gencrl', '-crldays', '30', '-out', 'ca.crl')

  const pem = readFileSync(join(folder, 'c.crt'), 'utf8')
  const { fingerprint256, validTo, serialNumber } = new X509Certificate(pem)
  const shown = {
    subject: 'CN=user0',
    commonName: 'user0',
    altNames: [],
    issuer: 'CN=ca',
    serialNumber,
    fingerprint256,
    validTo,
    pem,
  }
  const revocation = { crl: { files: [join(folder, 'ca.crl')] } }
  const listed = [{ type: 'certificate', ca: join(folder, 'ca.crt'), revocation }]
  const client = () => ({ id: 'c1', certificate: shown })
  return [
    { ...common, name: 'certificate', handlers: [{ type: 'certificate' }], client },
    { ...common, name: 'certificate, 100,000 revoked, seen before', handlers: listed, client },
    {
      ...common,
      name: 'certificate, 100,000 revoked, each once',
      handlers: listed,
      client: (n) => ({ id: 'c1', certificate: { ...shown, fingerprint256: String(n) } }),
    },
  ]
}
