import { X509Certificate, constants, createHash, createPrivateKey, type KeyObject } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import type { TlsConfig } from '../config/schema.ts'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import { watchFiles } from '../watch-files.ts'

/** Certificate, key and CA of a server, from files that may be replaced while it runs. */
export interface TlsFiles {
  /** Of the files as they were read first. */
  readonly context: SecureContextOptions
  /** Unix time in ms at which the certificate ends that is in use now. */
  readonly certificateEndsAtMs: number
  /** Reads the files again, and hands on what is in them. Rejects, and keeps the old, if they are bad. */
  reload(): Promise<void>
  close(): void
}

export interface TlsFileEvents {
  /** New files, for connections that come later. */
  changed(context: SecureContextOptions): void
  /** New files could not be used, and the old ones stay. */
  failed(error: Error): void
}

/**
 * Reads the files and watches them.
 * @throws {TunnelMQError} TMQ_FILE if one cannot be read or used.
 */
export async function openTlsFiles(config: TlsConfig, events: TlsFileEvents): Promise<TlsFiles> {
  const files = [config.cert, config.key, ...(config.clientCa === undefined ? [] : [config.clientCa])]
  const first = await load(config)
  /** Last contents that were tried, good or bad, so that a bad file is reported once and not at every look. */
  let triedDigest = first.digest
  let { certificateEndsAtMs } = first

  function use(loaded: Loaded): void {
    triedDigest = loaded.digest
    certificateEndsAtMs = loaded.certificateEndsAtMs
    events.changed(loaded.context)
  }
  async function reloadIfChanged(): Promise<void> {
    const contents = await readContents(config)
    const digest = digestOf(contents)
    if (digest === triedDigest) return
    triedDigest = digest
    use(check(config, contents, digest))
  }
  const watch = watchFiles(files, {
    onChange: () => void reloadIfChanged().catch((error: unknown) => events.failed(asError(error))),
  })
  return {
    context: first.context,
    get certificateEndsAtMs() {
      return certificateEndsAtMs
    },
    reload: async () => use(await load(config)),
    close: () => watch.close(),
  }
}

interface Contents {
  readonly cert: Buffer
  readonly key: Buffer
  readonly clientCa: Buffer | undefined
}

interface Loaded {
  readonly context: SecureContextOptions
  readonly digest: string
  readonly certificateEndsAtMs: number
}

async function load(config: TlsConfig): Promise<Loaded> {
  const contents = await readContents(config)
  return check(config, contents, digestOf(contents))
}

async function readContents(config: TlsConfig): Promise<Contents> {
  const [cert, key, clientCa] = await Promise.all([
    readNamed(config.cert),
    readNamed(config.key),
    config.clientCa === undefined ? undefined : readNamed(config.clientCa),
  ])
  return { cert, key, clientCa }
}

async function readNamed(file: string): Promise<Buffer> {
  try {
    return await readFile(file)
  } catch (error) {
    throw new TunnelMQError(ErrorCode.file, `cannot read ${file}: ${messageOf(error)}`, { cause: error })
  }
}

function digestOf(contents: Contents): string {
  const hash = createHash('sha256')
  for (const part of [contents.cert, contents.key, contents.clientCa ?? Buffer.alloc(0)]) {
    hash.update(`${part.length}:`).update(part)
  }
  return hash.digest('hex')
}

/**
 * A context that OpenSSL accepts: certificate and key are PEM and belong together.
 * @throws {TunnelMQError} TMQ_FILE, naming the file that is at fault.
 */
function check(config: TlsConfig, contents: Contents, digest: string): Loaded {
  const certificate = readCertificate(config.cert, contents.cert)
  if (!certificate.checkPrivateKey(readKey(config, contents.key)))
    throw unusable(`${config.key}: is not the key of the certificate ${config.cert}`)
  // OpenSSL would take a file without one in silence, and then no client's certificate would ever be good.
  if (config.clientCa !== undefined && contents.clientCa !== undefined)
    readCertificate(config.clientCa, contents.clientCa)
  const context: SecureContextOptions = {
    cert: contents.cert,
    key: contents.key,
    minVersion: config.minVersion,
    // No MQTT client asks for it, and each one costs us a handshake: Node's own limit does not count resumed ones.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
    ...(contents.clientCa === undefined ? {} : { ca: contents.clientCa }),
    ...(config.passphrase === undefined ? {} : { passphrase: config.passphrase }),
    ...(config.ciphers === undefined ? {} : { ciphers: config.ciphers }),
  }
  try {
    createSecureContext(context)
  } catch (error) {
    throw unusable(
      `certificate ${config.cert} with key ${config.key} cannot be used: ${messageOf(error)}`,
      error,
    )
  }
  return { context, digest, certificateEndsAtMs: Date.parse(certificate.validTo) }
}

function readCertificate(file: string, pem: Buffer): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch (error) {
    throw unusable(`${file}: is no certificate in PEM form (${messageOf(error)})`, error)
  }
}

function readKey({ key: file, passphrase }: TlsConfig, pem: Buffer): KeyObject {
  try {
    return createPrivateKey({ key: pem, ...(passphrase === undefined ? {} : { passphrase }) })
  } catch (error) {
    // Both forms of PEM say so: BEGIN ENCRYPTED PRIVATE KEY, and Proc-Type: 4,ENCRYPTED.
    if (passphrase === undefined && pem.includes('ENCRYPTED'))
      throw unusable(`${file}: the key is encrypted, and there is no tls.passphrase`, error)
    const doubt = passphrase === undefined ? '' : ', or tls.passphrase is wrong'
    throw unusable(`${file}: is no private key in PEM form${doubt} (${messageOf(error)})`, error)
  }
}

function unusable(message: string, cause?: unknown): TunnelMQError {
  return new TunnelMQError(ErrorCode.file, message, { cause })
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
