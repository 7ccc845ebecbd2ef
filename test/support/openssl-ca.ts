import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const openssl = (...args: string[]) => run('openssl', args)

export interface IssuedFiles {
  /** The certificate, and of a client of an intermediate CA that one's as well. */
  readonly cert: string
  readonly key: string
}

export interface IssueOptions {
  readonly subject?: string
  /** Lines of its section of extensions. */
  readonly extensions?: readonly string[]
  /** As openssl has it: YYMMDDHHMMSSZ. */
  readonly from?: string
  readonly until?: string
}

/** A CA kept by `openssl ca`, which knows what it has issued and revoked. */
export interface OpensslCa {
  readonly folder: string
  readonly cert: string
  readonly key: string
  readonly index: string
  issue(name: string, options?: IssueOptions): Promise<IssuedFiles>
  issueCa(name: string, extensions?: readonly string[]): Promise<OpensslCa>
  revoke(certificate: string, reason?: string): Promise<void>
  /** A revocation list in PEM; `until` and `from` as openssl has them. */
  crl(
    file: string,
    options?: { readonly from?: string; readonly until?: string; extensions?: string },
  ): Promise<string>
  /** Adds revoked certificates that never were, to make lists long. */
  pretendRevoked(count: number): Promise<void>
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']

export async function createOpensslCa(parent: string, name: string): Promise<OpensslCa> {
  const folder = await caFolder(parent, name)
  const [cert, key] = [join(folder, 'ca.crt'), join(folder, 'ca.key')]
  await openssl(
    'req',
    '-x509',
    ...NEW_KEY,
    '-days',
    '30',
    '-subj',
    `/CN=${name}`,
    '-keyout',
    key,
    '-out',
    cert,
  )
  return caOf(folder, [])
}

async function caFolder(parent: string, name: string): Promise<string> {
  const folder = join(parent, name)
  await mkdir(folder)
  await writeFile(join(folder, 'index.txt'), '')
  await writeFile(join(folder, 'crlnumber'), '01\n')
  const lines = [
    '[ca]\ndefault_ca = own',
    `[own]\ndatabase = ${folder}/index.txt\ncrlnumber = ${folder}/crlnumber\nnew_certs_dir = ${folder}`,
    `certificate = ${folder}/ca.crt\nprivate_key = ${folder}/ca.key\ndefault_md = sha256\npolicy = any`,
    'rand_serial = yes\nunique_subject = no\ndefault_days = 10\ndefault_crl_days = 10\ncopy_extensions = none',
    '[any]\ncommonName = optional\norganizationName = optional',
    '[crl]\nauthorityKeyIdentifier = keyid',
    '[crl-users]\nissuingDistributionPoint = critical, @users',
    '[users]\nonlyuser = TRUE',
    '',
  ]
  await writeFile(join(folder, 'ca.cnf'), lines.join('\n'))
  return folder
}

function caOf(folder: string, chain: readonly string[]): OpensslCa {
  const [cert, key, index] = [join(folder, 'ca.crt'), join(folder, 'ca.key'), join(folder, 'index.txt')]
  const config = ['-config', join(folder, 'ca.cnf')]

  // `openssl ca` rewrites its index, and cannot share it.
  let turn: Promise<unknown> = Promise.resolve()
  function ca(...args: string[]): Promise<unknown> {
    const next = turn.then(() => openssl('ca', ...config, ...args))
    turn = next.catch(() => undefined)
    return next
  }

  async function sign(place: string, name: string, options: IssueOptions): Promise<IssuedFiles> {
    const files = { cert: join(place, `${name}.crt`), key: join(place, `${name}.key`) }
    const request = join(folder, `${name}.csr`)
    const extensions = join(folder, `${name}.ext`)
    await writeFile(extensions, (options.extensions ?? ['basicConstraints = CA:FALSE']).join('\n'))
    const subject = options.subject ?? `/CN=${name}`
    await openssl('req', '-new', ...NEW_KEY, '-subj', subject, '-keyout', files.key, '-out', request)
    await ca(
      ...['-batch', '-notext', '-in', request, '-out', files.cert, '-extfile', extensions],
      ...(options.from === undefined ? [] : ['-startdate', options.from]),
      ...(options.until === undefined ? [] : ['-enddate', options.until]),
    )
    return files
  }

  return {
    folder,
    cert,
    key,
    index,
    async issue(name, options = {}) {
      const files = await sign(folder, name, options)
      for (const issuer of chain) await appendFile(files.cert, await readFile(issuer))
      return files
    },
    async issueCa(name, extensions = []) {
      const place = await caFolder(join(folder, '..'), name)
      const { cert: made, key: madeKey } = await sign(place, 'ca', {
        subject: `/CN=${name}`,
        extensions: [
          'basicConstraints = critical, CA:TRUE',
          'keyUsage = keyCertSign, cRLSign',
          ...extensions,
        ],
      })
      return { ...caOf(place, [made, ...chain]), cert: made, key: madeKey }
    },
    async revoke(certificate, reason = 'keyCompromise') {
      await ca('-revoke', certificate, '-crl_reason', reason)
    },
    async crl(file, { from, until, extensions = 'crl' } = {}) {
      await ca(
        ...['-gencrl', '-crlexts', extensions, '-out', file],
        ...(from === undefined ? [] : ['-crl_lastupdate', from]),
        ...(until === undefined ? [] : ['-crl_nextupdate', until]),
      )
      return file
    },
    async pretendRevoked(count) {
      const lines = Array.from({ length: count }, (_, number) => {
        const serial = (0x10000000000000000000n + BigInt(number)).toString(16).toUpperCase()
        return `R\t361231235959Z\t251101000000Z\t${serial}\tunknown\t/CN=gone\n`
      })
      await appendFile(index, lines.join(''))
    },
  }
}

/** `openssl ocsp` answers one request from the index of the CA; `args` say who signs, and for how long it counts. */
export async function ocspAnswer(
  { folder, index, cert, key }: OpensslCa,
  request: Buffer,
  args: { readonly signer?: IssuedFiles; readonly minutes?: number } = {},
): Promise<Buffer> {
  const name = join(folder, `ocsp-${process.hrtime.bigint()}`)
  await writeFile(`${name}.req`, request)
  const { signer = { cert, key }, minutes = 5 } = args
  await openssl(
    ...['ocsp', '-index', index, '-CA', cert, '-rsigner', signer.cert, '-rkey', signer.key],
    ...['-reqin', `${name}.req`, '-respout', `${name}.resp`],
    ...(minutes === 0 ? [] : ['-nmin', String(minutes)]),
  )
  return readFile(`${name}.resp`)
}

export interface HttpWorld {
  readonly url: string
  /** host:port */
  readonly host: string
  /** Path of each request. */
  readonly asked: string[]
  close(): Promise<void>
}

/** A server on a free port; `answer` gets the body of each request. */
export async function serveHttp(
  answer: (request: IncomingMessage, body: Buffer, response: ServerResponse) => void | Promise<void>,
): Promise<HttpWorld> {
  const asked: string[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      asked.push(request.url ?? '')
      Promise.resolve(answer(request, Buffer.concat(chunks), response)).catch(() => response.destroy())
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url: `http://${host}`,
    host,
    asked,
    close: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
