import type { X509Certificate } from 'node:crypto'
import type { TLSSocket } from 'node:tls'
import type { PeerCertificate, TlsFacts } from '../peer.ts'

/** What a finished handshake agreed on. */
export function tlsFacts(socket: TLSSocket): TlsFacts {
  const { servername } = socket
  return {
    version: socket.getProtocol() ?? 'unknown',
    cipher: socket.getCipher().name,
    serverName: typeof servername === 'string' && servername !== '' ? servername : undefined,
  }
}

/** The client's certificate, only if TLS has verified it against the listener's CA. */
export function peerCertificate(socket: TLSSocket): PeerCertificate | undefined {
  const x509 = socket.authorized ? socket.getPeerX509Certificate() : undefined
  if (x509 === undefined) return undefined
  // Only the first certificate object that Node makes of a connection knows them.
  const sent = x509.issuerCertificate
  return {
    subject: x509.subject.replaceAll('\n', ', '),
    commonName: onlyCommonName(x509.subject),
    altNames: splitAltNames(x509.subjectAltName ?? ''),
    issuer: x509.issuer.replaceAll('\n', ', '),
    serialNumber: x509.serialNumber,
    fingerprint256: x509.fingerprint256,
    validTo: x509.validTo,
    pem: x509.toString(),
    ...(sent && { issuers: () => pemOfIssuers(sent) }),
  }
}

/** Longer chains are not what TLS has verified. */
const MAX_ISSUERS = 8

function pemOfIssuers(nearest: X509Certificate): string[] {
  const issuers: string[] = []
  let issuer: X509Certificate | undefined = nearest
  while (issuer !== undefined && issuers.length < MAX_ISSUERS) {
    issuers.push(issuer.toString())
    issuer = issuer.issuerCertificate
  }
  return issuers
}

/** A subject with two names has none: which of them is the identity would depend on who reads it. */
function onlyCommonName(subject: string): string | undefined {
  // A plus sign in a value is escaped, so ` + ` stands only between the parts of a multi-valued name.
  const names = subject.split(/\n| \+ /).filter((part) => part.startsWith('CN='))
  return names.length === 1 ? unescapeName(names[0]?.slice('CN='.length) ?? '') : undefined
}

/** Node prints names with the escapes of RFC 2253: `\,` and `\C3`. */
function unescapeName(escaped: string): string {
  const bytes: Buffer[] = []
  for (const [, hex, char, plain] of escaped.matchAll(/\\([0-9A-Fa-f]{2})|\\(.)|([^\\]+)/gsu)) {
    bytes.push(hex === undefined ? Buffer.from(char ?? plain ?? '') : Buffer.from(hex, 'hex'))
  }
  return Buffer.concat(bytes).toString()
}

/** `DNS:a, IP Address:1.2.3.4`; Node puts quotes around a name that has a comma in it. */
function splitAltNames(text: string): string[] {
  return (text.match(/(?:[^,"]|"(?:\\.|[^"\\])*")+/g) ?? []).map((name) => name.trim())
}
