import type { Socket } from 'node:net'
import { createServer, type TLSSocket } from 'node:tls'
import type { TlsConfig } from '../config/schema.ts'
import { openTlsFiles } from './tls-files.ts'

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
  const files = await openTlsFiles(config, {
    changed: (context) => server.setSecureContext(context),
    failed: reloadFailed,
  })

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
    ...files.context,
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

  return {
    accept(raw, outcome) {
      outcomes.set(raw, outcome)
      server.emit('connection', raw)
    },
    get certificateEndsAtMs() {
      return files.certificateEndsAtMs
    },
    reload: () => files.reload(),
    close: () => files.close(),
  }
}

/** `wrong version number`, `tlsv1 alert unknown ca`; OpenSSL's whole message has addresses in memory and lines of its source about it. */
function reasonOf(error: Error & { readonly reason?: unknown }): string {
  return typeof error.reason === 'string' ? error.reason : error.message
}
