import { X509Certificate, constants, createHash, createPrivateKey, type KeyObject } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { createSecureContext, createServer, type SecureContextOptions, type TLSSocket } from 'node:tls'
import type { TlsConfig } from '../config/schema.ts'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import { watchFiles } from '../watch-files.ts'

/** How the handshake of one socket ended; one of them is called, unless the socket closes without a byte. */
export interface TlsOutcome {
  secured(socket: TLSSocket): void
  failed(detail: string): void
}

/** The TLS server side for sockets that others have accepted. */
export interface TlsDoor {
  /** Starts the handshake. The caller holds the deadline. */
  accept(raw: Socket, outcome: TlsOutcome): void
  /** Unix time in ms at which the certificate ends that is shown to clients now. */
  readonly certificateEndsAtMs: number
  /** Reads the files again; connections that come later see the new ones. Rejects, and keeps the old, if they are bad. */
  reload(): Promise<void>
  close(): void
}

/**
 * Reads the certificate files and watches them. `reloadFailed`: new files could not be used, and the old ones stay.
 * @throws {TunnelMQError} TMQ_FILE if one cannot be read or used.
 */
export async function openTlsDoor(config: TlsConfig, reloadFailed: (error: Error) => void): Promise<TlsDoor> {
  const files = [config.cert, config.key, ...(config.clientCa === undefined ? [] : [config.clientCa])]
  const first = await load(config)
  /** Last contents that were tried, good or bad, so that a bad file is reported once and not at every look. */
  let triedDigest = first.digest
  let { certificateEndsAtMs } = first

  const outcomes = new WeakMap<Socket, TlsOutcome>()
  /**
   * Node documents no way from a TLS socket back to the one below it; `_parent` has been there since TLSSocket exists,
   * and every TLS test fails without it.
   */
  function outcomeOf(socket: TLSSocket): TlsOutcome | undefined {
    const { _parent: raw } = socket as TLSSocket & { _parent?: Socket }
    return raw && outcomes.get(raw)
  }

  // Never listens: sockets are handed to it, which is what its 'connection' event is documented for.
  const server = createServer({
    ...first.context,
    requestCert: config.clientCa !== undefined,
    rejectUnauthorized: config.clientCa !== undefined && config.requireClientCertificate,
  })
  server.on('secureConnection', (socket) => {
    socket.on('error', () => undefined)
    const outcome = outcomeOf(socket)
    if (outcome === undefined) socket.destroy()
    else outcome.secured(socket)
  })
  server.on('tlsClientError', (error, socket) => {
    // Node types it as Error; it is the code of OpenSSL's verdict, and null before there is one.
    const code = socket.authorizationError as unknown as string | null
    outcomeOf(socket)?.failed(code === null ? reasonOf(error) : `client certificate: ${code}`)
  })

  function use(loaded: Loaded): void {
    triedDigest = loaded.digest
    certificateEndsAtMs = loaded.certificateEndsAtMs
    server.setSecureContext(loaded.context)
  }
  async function reloadIfChanged(): Promise<void> {
    const contents = await readContents(config)
    const digest = digestOf(contents)
    if (digest === triedDigest) return
    triedDigest = digest
    use(check(config, contents, digest))
  }
  const watch = watchFiles(files, {
    onChange: () => void reloadIfChanged().catch((error: unknown) => reloadFailed(asError(error))),
  })

  return {
    accept(raw, outcome) {
      outcomes.set(raw, outcome)
      server.emit('connection', raw)
    },
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

/** `wrong version number`, `tlsv1 alert unknown ca`; OpenSSL's whole message has addresses in memory and lines of its source about it. */
function reasonOf(error: Error & { readonly reason?: unknown }): string {
  return typeof error.reason === 'string' ? error.reason : error.message
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
