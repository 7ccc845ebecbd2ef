import { X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { rootCertificates } from 'node:tls'

/** What has to be trusted for a certificate: nothing more than the system's CAs, these, or something that is not known here. */
export type TrustNeeded = { readonly kind: 'public' | 'unknown' } | { readonly kind: 'private'; pem: string }

/**
 * The root of a certificate, from its own file and others in which it may stand (`further`, such as the CAs of client
 * certificates: who has a CA for the one often has it for the other). PEM in and out.
 */
export function trustNeeded(chain: string, further = ''): TrustNeeded {
  const [leaf, ...others] = certificatesIn(chain)
  if (leaf === undefined) return { kind: 'unknown' }
  const candidates = [...others, ...certificatesIn(further)]
  const walked = new Set([leaf])
  let top = leaf
  for (;;) {
    const above = candidates.find((one) => !walked.has(one) && isIssuedBy(top, one))
    if (above === undefined) break
    walked.add(above)
    top = above
  }
  if (rootCertificates.some((pem) => isIssuedBy(top, new X509Certificate(pem)))) return { kind: 'public' }
  return isIssuedBy(top, top) ? { kind: 'private', pem: top.toString() } : { kind: 'unknown' }
}

/** The names of the first certificate, those for devices elsewhere first: names before addresses. */
export function namesOf(chain: string): readonly string[] {
  const leaf = certificatesIn(chain)[0]
  const words = leaf?.subjectAltName?.split(', ') ?? []
  const of = (prefix: string): string[] =>
    words.filter((word) => word.startsWith(prefix)).map((word) => word.slice(prefix.length))
  return [...of('DNS:').filter((name) => !name.includes('*')), ...of('IP Address:')]
}

/** Whether clients that come to this host take the certificate for its own. */
export function isForHost(chain: string, host: string): boolean {
  const leaf = certificatesIn(chain)[0]
  return (isIP(host) === 0 ? leaf?.checkHost(host) : leaf?.checkIP(host)) !== undefined
}

function certificatesIn(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  return blocks.map((block) => new X509Certificate(block))
}

function isIssuedBy(one: X509Certificate, issuer: X509Certificate): boolean {
  return one.checkIssued(issuer) && one.verify(issuer.publicKey)
}
