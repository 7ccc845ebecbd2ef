import { SocksReply } from './refusal.ts'

/** SOCKS5 as a server has it: RFC 1928, and RFC 1929 for user names. Sans-IO; CONNECT to a domain name is all there is. */

const VERSION = 5
const AUTH_VERSION = 1
const Method = { none: 0x00, password: 0x02, unacceptable: 0xff } as const
const CONNECT = 0x01
const AddressType = { ipv4: 0x01, domain: 0x03, ipv6: 0x04 } as const

export type SocksStep =
  /** Answer with these bytes, and read on; with `ends`, that is the last. */
  | { readonly kind: 'reply'; readonly bytes: Buffer; readonly ends?: string }
  /** Credentials: {@link Socks.authenticated} or {@link Socks.notAuthenticated} follows. */
  | { readonly kind: 'credentials'; readonly username: string; readonly password: Buffer }
  | { readonly kind: 'connect'; readonly host: string }

/**
 *   greeting ──▶ (user name and password ──▶) request ──▶ done
 */
export class Socks {
  #bytes: Buffer = Buffer.alloc(0)
  #phase: 'greeting' | 'credentials' | 'asking' | 'request' | 'done' = 'greeting'

  /** Of what came behind the request. */
  get rest(): Buffer {
    return this.#bytes
  }

  receive(chunk: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk])
  }

  /** What is next; undefined: more bytes are needed. Each message is 515 bytes at most. */
  next(): SocksStep | undefined {
    switch (this.#phase) {
      case 'greeting':
        return this.#greeting()
      case 'credentials':
        return this.#credentials()
      case 'request':
        return this.#request()
      default:
        return undefined
    }
  }

  /** RFC 1929, 2: 0 is success. */
  authenticated(): Buffer {
    this.#phase = 'request'
    return Buffer.of(AUTH_VERSION, 0)
  }

  notAuthenticated(): Buffer {
    this.#phase = 'done'
    return Buffer.of(AUTH_VERSION, 1)
  }

  #greeting(): SocksStep | undefined {
    const methods = this.#counted(1)
    if (methods === undefined) return undefined
    if (methods.includes(Method.password)) {
      this.#phase = 'credentials'
      return reply(Buffer.of(VERSION, Method.password))
    }
    if (methods.includes(Method.none)) {
      this.#phase = 'request'
      return reply(Buffer.of(VERSION, Method.none))
    }
    this.#phase = 'done'
    return reply(Buffer.of(VERSION, Method.unacceptable), 'no method that is known here is offered')
  }

  #credentials(): SocksStep | undefined {
    const bytes = this.#bytes
    if (bytes.length === 0) return undefined
    if (bytes[0] !== AUTH_VERSION) return this.#fail('not RFC 1929', Buffer.of(AUTH_VERSION, 1))
    const passwordAt = 2 + (bytes[1] ?? 0)
    const end = passwordAt + 1 + (bytes[passwordAt] ?? 0)
    if (bytes.length < 2 || bytes.length < passwordAt + 1 || bytes.length < end) return undefined
    const username = bytes.toString('utf8', 2, passwordAt)
    const password = Buffer.from(bytes.subarray(passwordAt + 1, end))
    bytes.fill(0, passwordAt + 1, end)
    this.#bytes = bytes.subarray(end)
    this.#phase = 'asking'
    return { kind: 'credentials', username, password }
  }

  #request(): SocksStep | undefined {
    const bytes = this.#bytes
    if (bytes.length < 4) return undefined
    const [version, command, , type] = bytes
    if (version !== VERSION) return this.#fail('not SOCKS5', socksReply(SocksReply.generalFailure))
    if (command !== CONNECT)
      return this.#fail('only CONNECT is known here', socksReply(SocksReply.commandNotSupported))
    if (type !== AddressType.domain)
      return this.#fail(
        'an address, where names of tunnels are expected (socks5h)',
        socksReply(SocksReply.addressTypeNotSupported),
      )
    const end = 5 + (bytes[4] ?? 0) + 2
    if (bytes.length < 5 || bytes.length < end) return undefined
    const host = bytes.toString('latin1', 5, end - 2)
    this.#bytes = bytes.subarray(end)
    this.#phase = 'done'
    return { kind: 'connect', host }
  }

  /** A version, a count, and so many bytes. */
  #counted(at: number): Buffer | undefined {
    const bytes = this.#bytes
    const end = at + 1 + (bytes[at] ?? 0)
    if (bytes.length <= at || bytes.length < end) return undefined
    this.#bytes = bytes.subarray(end)
    return bytes.subarray(at + 1, end)
  }

  #fail(ends: string, bytes: Buffer): SocksStep {
    this.#phase = 'done'
    return reply(bytes, ends)
  }
}

/** RFC 1928, 6. The bound address is nobody's business: 0.0.0.0:0. */
export function socksReply(code: SocksReply): Buffer {
  return Buffer.of(VERSION, code, 0, AddressType.ipv4, 0, 0, 0, 0, 0, 0)
}

function reply(bytes: Buffer, ends?: string): SocksStep {
  return { kind: 'reply', bytes, ...(ends !== undefined && { ends }) }
}
