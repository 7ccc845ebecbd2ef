/** How the client's address was learned. */
export type AddressSource = 'socket' | 'proxy-v1' | 'proxy-v2' | 'x-forwarded-for'

export type TransportKind =
  | 'tcp'
  | 'tls'
  | 'ws'
  | 'wss'
  | 'unix'
  | 'http'
  | 'https'
  | 'coap'
  | 'proxy'
  | 'internal'

/** A client certificate that TLS has verified against the listener's CA. */
export interface PeerCertificate {
  readonly subject: string
  readonly commonName: string | undefined
  /** Subject alternative names as Node prints them: `DNS:a, IP Address:1.2.3.4`. */
  readonly altNames: readonly string[]
  readonly issuer: string
  readonly serialNumber: string
  /** SHA-256, upper-case hex with colons. */
  readonly fingerprint256: string
  readonly validTo: string
  readonly pem: string
  /**
   * PEM of the issuers that the client has sent with it, nearest first; not trusted by themselves. Undefined: it has
   * sent none, as in a resumed TLS session.
   */
  readonly issuers?: () => readonly string[]
}

export interface TlsFacts {
  readonly version: string
  readonly cipher: string
  readonly serverName: string | undefined
}

/** Who is at the other end of a connection, as far as the transport can tell. */
export interface Peer {
  /** The client's own address: from a trusted PROXY or X-Forwarded-For header, else the socket's; `unix` for unix sockets. */
  readonly address: string
  readonly port: number
  readonly addressSource: AddressSource
  /** Address of the socket's other end: the proxy's, where there is one. */
  readonly socketAddress: string
  /** Name of the listener in the configuration. */
  readonly listener: string
  readonly transport: TransportKind
  readonly tls?: TlsFacts
  readonly certificate?: PeerCertificate
  /** PP2_SUBTYPE_SSL_CN of a PROXY v2 header: the CN of the certificate that the proxy has seen. */
  readonly proxyCertificateName?: string
}
