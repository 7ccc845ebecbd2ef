import type { IdentityConfig } from '../../config/certificate-schema.ts'
import type { PeerCertificate } from '../../peer.ts'
import { compilePattern, matchName } from '../../config/certificate-pattern.ts'

export type IdentityReading = { readonly identity: string } | { readonly fault: string }

export interface IdentityReader {
  ofCertificate(certificate: PeerCertificate): IdentityReading
  /** Of a common name that a proxy has told. */
  ofCommonName(name: string): IdentityReading
  /** For people. */
  readonly source: string
}

const SAN_PREFIX = { dns: 'DNS:', email: 'email:', uri: 'URI:', ip: 'IP Address:' } as const

/** @throws {Error} when the pattern is not one; `config/certificate-meaning.ts` says so before. */
export function createIdentityReader({ from, sanType, pattern }: IdentityConfig): IdentityReader {
  const compiled = regularExpression(pattern)
  const source = from === 'san' ? `san (${sanType})` : from

  function take(names: readonly string[]): IdentityReading {
    if (names.length === 0) return { fault: `the certificate has no ${source}` }
    for (const name of names) {
      const identity = matchName(compiled, name)
      // U+0000 is not allowed in MQTT, and makes two names look alike.
      if (identity !== undefined && !identity.includes('\0')) return { identity }
    }
    return { fault: `no ${source} of the certificate fits` }
  }

  return {
    source,
    ofCertificate(certificate) {
      switch (from) {
        case 'cn':
          return take(certificate.commonName === undefined ? [] : [certificate.commonName])
        case 'san':
          return take(altNames(certificate.altNames, SAN_PREFIX[sanType]))
        case 'subject':
          return take(certificate.subject === '' ? [] : [distinguishedName(certificate.subject)])
        case 'fingerprint':
          return take([plainFingerprint(certificate.fingerprint256)])
        default:
          return from satisfies never
      }
    },
    ofCommonName: (name) =>
      from === 'cn'
        ? take([name])
        : { fault: `a proxy tells the common name only, and the identity is the ${source}` },
  }
}

function regularExpression(pattern: string | undefined): RegExp | undefined {
  const compiled = pattern === undefined ? undefined : compilePattern(pattern)
  if (typeof compiled === 'string') throw new Error(`identity.pattern ${compiled}`)
  return compiled
}

/** Node writes a name with special characters as a string of JSON, so that it cannot look like two. */
function altNames(all: readonly string[], prefix: string): string[] {
  return all
    .filter((name) => name.startsWith(prefix))
    .flatMap((name) => {
      const value = name.slice(prefix.length)
      if (!value.startsWith('"')) return [value]
      try {
        const parsed: unknown = JSON.parse(value)
        return typeof parsed === 'string' ? [parsed] : []
      } catch {
        return []
      }
    })
}

/**
 * As RFC 2253 and mosquitto write it: the last part first, with commas. In a subject of Node's, commas and plus signs of
 * values are escaped, so that those without a backslash separate.
 */
export function distinguishedName(subject: string): string {
  const parts = subject.match(/(?:\\.|[^\\,])+/gs) ?? []
  return parts
    .map((part) => part.replace(/^ /, '').replaceAll(' + ', '+'))
    .reverse()
    .join(',')
}

/** Lower-case hex without colons. */
export function plainFingerprint(fingerprint256: string): string {
  return fingerprint256.replaceAll(':', '').toLowerCase()
}
