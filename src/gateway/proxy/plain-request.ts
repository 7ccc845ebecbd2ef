import { hostOfAuthority, valuesOf, type RequestHead } from './http-head.ts'
import { refusal, SocksReply, type Refusal } from './refusal.ts'

/** A plain request to a proxy, `GET http://web.pi7.tunnel/path`, as it goes on to the service. */
export interface PlainRequest {
  readonly host: string
  /** The head for the service: origin-form, without what is meant for us alone, and the last of its connection. */
  readonly head: Buffer
  readonly bodyBytes: number
}

/** Hop by hop (RFC 9110, 7.6.1), and what is ours to know. */
const OURS: ReadonlySet<string> = new Set([
  'connection',
  'proxy-connection',
  'proxy-authorization',
  'keep-alive',
  'te',
  'trailer',
  'upgrade',
  'host',
])

/**
 * One request, of which we know where it ends: behind it the client's bytes are of another one, with credentials that the
 * service must not see. So bodies come with Content-Length; what else there is goes by CONNECT.
 */
export function plainRequest(head: RequestHead): PlainRequest | Refusal {
  const { method, target, headers } = head
  const url = /^http:\/\/([^/?#@]+)([/?][^#]*)?$/i.exec(target)
  if (url === null) {
    const isUrl = /^[a-z]+:\/\//i.test(target)
    return bad(
      isUrl
        ? 'only http:// is forwarded; use CONNECT'
        : 'this is a proxy: use CONNECT, or http:// and a name',
    )
  }
  const authority = url[1]!
  const host = hostOfAuthority(authority.includes(':') ? authority : `${authority}:80`)
  if (host === undefined) return bad('no host name')
  if (valuesOf(head, 'transfer-encoding').length > 0 || valuesOf(head, 'upgrade').length > 0)
    return refusal(501, SocksReply.generalFailure, 'use CONNECT for this (curl: --proxytunnel)')
  const lengths = valuesOf(head, 'content-length')
  if (lengths.length > 1 || (lengths.length === 1 && !/^[0-9]{1,15}$/.test(lengths[0]!)))
    return bad('a Content-Length that is none')
  const named = valuesOf(head, 'connection').flatMap((value) =>
    value.split(',').map((name) => name.trim().toLowerCase()),
  )
  // What a client names here is for us, too; but what says where its body ends is not its to take away.
  const removed = new Set([...OURS, ...named.filter((name) => name !== 'content-length')])
  const path = url[2] ?? '/'
  const lines = [
    `${method} ${path.startsWith('/') ? path : `/${path}`} HTTP/1.1`,
    `Host: ${authority}`,
    ...headers
      .filter(([name]) => !removed.has(name.toLowerCase()))
      .map(([name, value]) => `${name}: ${value}`),
    'Connection: close',
  ]
  return {
    host,
    head: Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'),
    bodyBytes: Number(lengths[0] ?? 0),
  }
}

function bad(text: string): Refusal {
  return refusal(400, SocksReply.generalFailure, text)
}
