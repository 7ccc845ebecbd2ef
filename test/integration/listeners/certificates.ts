import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

export interface CertificateFiles {
  readonly cert: string
  readonly key: string
}

/** A CA of its own, made with the openssl command. */
export interface TestCa extends CertificateFiles {
  issue(name: string, subject?: string, altNames?: string, days?: number): Promise<CertificateFiles>
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']

/** Makes a CA in the folder. */
export async function createCa(folder: string, name = 'ca'): Promise<TestCa> {
  const cert = join(folder, `${name}.crt`)
  const key = join(folder, `${name}.key`)
  await run('openssl', [
    'req',
    '-x509',
    ...NEW_KEY,
    '-days',
    '2',
    '-subj',
    `/CN=${name}`,
    '-keyout',
    key,
    '-out',
    cert,
  ])
  return {
    cert,
    key,
    async issue(leaf, subject = `/CN=${leaf}`, altNames = 'DNS:localhost,IP:127.0.0.1', days = 2) {
      const files = { cert: join(folder, `${leaf}.crt`), key: join(folder, `${leaf}.key`) }
      const request = join(folder, `${leaf}.csr`)
      const extensions = join(folder, `${leaf}.ext`)
      await writeFile(extensions, `subjectAltName=${altNames}\n`)
      await run('openssl', [
        'req',
        '-new',
        ...NEW_KEY,
        '-subj',
        subject,
        '-keyout',
        files.key,
        '-out',
        request,
      ])
      await run('openssl', [
        ...['x509', '-req', '-in', request, '-CA', cert, '-CAkey', key, '-CAcreateserial'],
        ...['-days', String(days), '-extfile', extensions, '-out', files.cert],
      ])
      return files
    },
  }
}

/** Certificate and key in one file, as HAProxy wants them. */
export async function bundle(files: CertificateFiles, target: string): Promise<string> {
  await writeFile(target, `${await readFile(files.cert, 'utf8')}${await readFile(files.key, 'utf8')}`)
  return target
}
