import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { watchFiles, type WatchOptions } from '../../watch-files.ts'
import type { HandlerLog } from '../log.ts'
import type { Authority } from './authorities.ts'
import { readCrl, type Crl } from './crl.ts'

export interface CrlFiles {
  /** Reads those again that have changed. Rejects when one is not usable; its old lists stay. */
  reload(): Promise<void>
  close(): void
}

export interface CrlFilesOptions {
  readonly files: readonly string[]
  /** CAs that are known now. */
  readonly authorities: () => readonly Authority[]
  readonly log: HandlerLog
  /** New lists of a file. */
  readonly loaded: (file: string, crls: readonly Crl[]) => void
  /** After one or several files have changed. */
  readonly changed: () => void
  readonly watch?: Omit<WatchOptions, 'onChange'> | undefined
}

/**
 * Revocation lists from files, read again when they change.
 * @throws {TunnelMQError} TMQ_FILE when one is not usable at the start.
 */
export async function openCrlFiles(options: CrlFilesOptions): Promise<CrlFiles> {
  const { files, log, loaded, changed } = options
  const digests = new Map<string, string>()
  let closed = false
  const watcher = watchFiles(files, {
    ...options.watch,
    onChange: () => {
      reload().catch((error: unknown) =>
        log.error({ err: error }, 'revocation list not usable; the one from before stays in force'),
      )
    },
  })

  async function readChanged(): Promise<void> {
    const failures: unknown[] = []
    let hasChanged = false
    for (const file of files) {
      try {
        hasChanged = (await readOne(file)) || hasChanged
      } catch (error) {
        failures.push(error)
      }
    }
    if (hasChanged && !closed) changed()
    if (failures.length > 0) throw failures[0]
  }

  async function readOne(file: string): Promise<boolean> {
    const bytes = await readBytes(file)
    const digest = createHash('sha256').update(bytes).digest('base64')
    if (digests.get(file) === digest) return false
    const crls = await parseCrlFile(bytes, file)
    for (const crl of crls) checkSigner(crl, file, options.authorities())
    digests.set(file, digest)
    loaded(file, crls)
    const entries = crls.reduce((sum, { serials }) => sum + serials.size, 0)
    log.info({ file, entries }, 'revocation list read')
    return true
  }

  let queue: Promise<void> = Promise.resolve()
  function reload(): Promise<void> {
    const next = queue.then(readChanged)
    queue = next.catch(() => undefined)
    return next
  }

  try {
    await reload()
  } catch (error) {
    watcher.close()
    throw error
  }
  return {
    reload,
    close() {
      closed = true
      watcher.close()
    },
  }
}

/**
 * One DER list, or PEM blocks.
 * @throws {TunnelMQError} TMQ_FILE, naming the file.
 */
export async function parseCrlFile(bytes: Buffer, file: string): Promise<readonly Crl[]> {
  const ders = bytes.includes('-----BEGIN ') ? pemBlocks(bytes) : [bytes]
  if (ders.length === 0) throw unusable(file, 'has no revocation list in PEM or DER form')
  const crls: Crl[] = []
  for (const der of ders) {
    try {
      crls.push(await readCrl(der))
    } catch (error) {
      throw unusable(file, error instanceof Error ? error.message : String(error))
    }
  }
  return crls
}

function pemBlocks(bytes: Buffer): Buffer[] {
  const blocks = bytes.toString('latin1').matchAll(/-----BEGIN X509 CRL-----([^-]+)-----END X509 CRL-----/g)
  return [...blocks].map(([, base64 = '']) => Buffer.from(base64, 'base64'))
}

/** A list of a CA that is not in the file may be that of an intermediate which clients bring. */
function checkSigner(crl: Crl, file: string, authorities: readonly Authority[]): void {
  const named = authorities.filter(({ name }) => name.equals(crl.issuer))
  if (named.length > 0 && !named.some(({ x509 }) => crl.isSignedBy(x509)))
    throw unusable(file, 'the signature is not that of the CA which it names as issuer')
}

async function readBytes(file: string): Promise<Buffer> {
  try {
    return await readFile(file)
  } catch (error) {
    throw unusable(file, `cannot be read: ${error instanceof Error ? error.message : String(error)}`, error)
  }
}

function unusable(file: string, fault: string, cause?: unknown): TunnelMQError {
  return new TunnelMQError(ErrorCode.file, `${file}: ${fault}`, { cause })
}
