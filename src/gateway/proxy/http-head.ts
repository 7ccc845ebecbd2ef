import type { DoorCredentials } from '../../broker/door/contract.ts'
import { refusal, SocksReply, type Refusal } from './refusal.ts'

/** The head of a request to a proxy (RFC 9112, 3 and 5). Pure, and strict: what two can read differently is refused. */
export interface RequestHead {
  readonly method: string
  readonly target: string
  readonly headers: readonly (readonly [name: string, value: string])[]
}

const LINE_END = Buffer.from('\r\n\r\n')
const REQUEST_LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([\x21-\x7e]+) HTTP\/1\.[01]$/
const HEADER = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\x80-\xff\t]*?)[ \t]*$/

/** Where the head ends; -1: it has not come yet. */
export function headEnd(bytes: Buffer): number {
  const at = bytes.indexOf(LINE_END)
  return at < 0 ? -1 : at + LINE_END.length
}

export function parseHead(bytes: Buffer): RequestHead | Refusal {
  const [first = '', ...lines] = bytes.toString('latin1').slice(0, -LINE_END.length).split('\r\n')
  const request = REQUEST_LINE.exec(first)
  if (request === null) return bad('not an HTTP/1.1 request')
  const headers: [string, string][] = []
  for (const line of lines) {
    const header = HEADER.exec(line)
    if (header === null) return bad('a header that is none')
    headers.push([header[1]!, header[2]!])
  }
  return { method: request[1]!, target: request[2]!, headers }
}

/** Values of this header, which is named in lower case. */
export function valuesOf({ headers }: RequestHead, name: string): string[] {
  return headers.filter(([given]) => given.toLowerCase() === name).map(([, value]) => value)
}

/** Host of `host:port`, for CONNECT (RFC 9110, 9.3.6). The port says nothing here. */
export function hostOfAuthority(target: string): string | undefined {
  return /^([A-Za-z0-9._-]{1,255}):[0-9]{1,5}$/.exec(target)?.[1]
}

/** Proxy-Authorization: Basic (RFC 7617), or Bearer: a token as the password. Undefined: none. */
export function proxyCredentials(head: RequestHead): DoorCredentials | Refusal | undefined {
  const values = valuesOf(head, 'proxy-authorization')
  if (values.length === 0) return undefined
  if (values.length > 1) return bad('more than one Proxy-Authorization')
  const [scheme = '', token = '', ...more] = values[0]!.split(/ +/)
  if (more.length > 0 || token === '') return bad('Proxy-Authorization that is neither Basic nor Bearer')
  if (scheme.toLowerCase() === 'bearer') return { password: Buffer.from(token, 'latin1') }
  if (scheme.toLowerCase() !== 'basic') return bad('Proxy-Authorization that is neither Basic nor Bearer')
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(token)) return bad('Proxy-Authorization that is not base64')
  const decoded = Buffer.from(token, 'base64')
  const colon = decoded.indexOf(':')
  if (colon < 0) return bad('Proxy-Authorization without a password')
  return { username: decoded.toString('utf8', 0, colon), password: decoded.subarray(colon + 1) }
}

export function isRefusal(value: object): value is Refusal {
  return 'socks' in value
}

function bad(text: string): Refusal {
  return refusal(400, SocksReply.generalFailure, text)
}
