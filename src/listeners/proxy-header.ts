/** What a PROXY header says. */
export interface ProxyHeader {
  readonly version: 1 | 2
  /** The client's end; undefined (LOCAL, UNKNOWN, UNSPEC, unix): the socket's own addresses hold. */
  readonly source: { readonly address: string; readonly port: number } | undefined
  /** CN of a client certificate that the proxy itself has verified (PP2_SUBTYPE_SSL_CN). */
  readonly certificateName: string | undefined
}

/** What the reader of one version makes of all bytes so far. */
export type ProxyReading =
  | { readonly kind: 'needMore' }
  | { readonly kind: 'header'; readonly header: ProxyHeader; readonly headerBytes: number }
  | { readonly kind: 'invalid'; readonly reason: string }

export const needMore: ProxyReading = { kind: 'needMore' }

export function invalid(reason: string): ProxyReading & { kind: 'invalid' } {
  return { kind: 'invalid', reason }
}
