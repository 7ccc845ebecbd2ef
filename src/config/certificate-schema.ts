import { z } from 'zod'

const filePath = () => z.string().min(1).meta({ filePath: true })
const durationMs = (defaultMs: number, minMs = 1) => z.int().min(minMs).max(604_800_000).default(defaultMs)
const httpUrl = () => z.url({ protocol: /^http$/, error: 'is not a URL that begins with http://' })

const identitySchema = z
  .strictObject({
    from: z
      .enum(['cn', 'san', 'subject', 'fingerprint'])
      .default('cn')
      .describe(
        'Common name; a subject alternative name; the whole subject as in RFC 2253 (`CN=pi7,O=Home`); or SHA-256 in lower-case hex.',
      ),
    sanType: z
      .enum(['dns', 'email', 'uri', 'ip'])
      .default('dns')
      .describe('With `san`: which kind of names. The first that fits the pattern counts.'),
    pattern: z
      .string()
      .min(1)
      .max(256)
      .optional()
      .describe(
        'Regular expression that the whole name has to fit; its group, if it has one, is the identity. Groups are not repeated: docs/handlers.md.',
      ),
  })
  .describe('What of the certificate is the identity.')

const crlSchema = z
  .strictObject({
    files: z
      .array(filePath())
      .default([])
      .describe('Revocation lists, PEM or DER. Read again when they change.'),
    urls: z
      .array(httpUrl())
      .max(16)
      .default([])
      .describe('Revocation lists that are fetched by HTTP, at the start and before they end.'),
    distributionPoints: z
      .boolean()
      .default(false)
      .describe('Fetch those that the certificates name, from `allowedHosts`.'),
    onStale: z
      .enum(['refuse', 'accept'])
      .default('refuse')
      .describe('When the list for a certificate is past its nextUpdate.'),
    onMissing: z
      .enum(['refuse', 'accept'])
      .default('refuse')
      .describe('When there is no list of its issuer, or it cannot be fetched.'),
    refreshMs: durationMs(3_600_000, 1_000).describe(
      'A fetched list is fetched again after this, or before its nextUpdate, what comes first.',
    ),
    maxBytes: z
      .int()
      .min(1_024)
      .max(268_435_456)
      .default(16_777_216)
      .describe('Largest list that is fetched, in bytes.'),
  })
  .describe('Certificate revocation lists.')

const ocspSchema = z
  .strictObject({
    mode: z
      .enum(['off', 'soft', 'hard'])
      .default('off')
      .describe('Without an answer: `soft` lets in, `hard` refuses. Revoked and unknown are always refused.'),
    responder: httpUrl()
      .optional()
      .describe('Default: that which the certificate names, if it is one of `allowedHosts`.'),
    nonce: z
      .enum(['off', 'optional', 'required'])
      .default('optional')
      .describe('Against replayed answers: `required` takes no answer without it.'),
    toleranceMs: durationMs(300_000, 0).describe('By how much the clock of the responder may differ.'),
    maxCacheMs: durationMs(3_600_000, 0).describe(
      'An answer is kept until its nextUpdate, and no longer than this.',
    ),
    maxCacheEntries: z
      .int()
      .min(1)
      .max(1_000_000)
      .default(10_000)
      .describe('Answers that are kept; about 300 bytes each.'),
  })
  .describe('Online certificate status.')

const revocationSchema = z
  .strictObject({
    depth: z
      .enum(['leaf', 'chain'])
      .default('chain')
      .describe('Look at the certificate of the client only, or also at those of intermediate CAs.'),
    allowedHosts: z
      .array(z.string().regex(/^[A-Za-z0-9._-]+(:\d{1,5})?$|^\[[0-9A-Fa-f:]+\](:\d{1,5})?$/))
      .default([])
      .describe(
        'Hosts (`host` for port 80, or `host:port`) to which URLs of certificates may lead; others are not asked.',
      ),
    timeoutMs: durationMs(3_000).describe('For a whole request; should be less than auth.timeoutMs.'),
    retryMs: durationMs(10_000).describe(
      'After a failure the same is not asked again for so long; a connection that comes in between does not wait.',
    ),
    maxConcurrent: z
      .int()
      .min(1)
      .max(1_000)
      .default(8)
      .describe('Requests at once to each host; others wait.'),
    crl: crlSchema.prefault({}),
    ocsp: ocspSchema.prefault({}),
  })
  .describe('Which certificates no longer count.')

export const certificateHandlerSchema = z
  .strictObject({
    type: z.literal('certificate'),
    identity: identitySchema.prefault({}),
    username: z
      .enum(['set', 'equal', 'ignore'])
      .default('set')
      .describe(
        'The identity becomes the username; or the username that the client gives must be equal to it; or is not looked at.',
      ),
    clientId: z.enum(['set', 'equal', 'ignore']).default('ignore').describe('The same for the client id.'),
    decides: z
      .boolean()
      .default(true)
      .describe(
        'A good certificate lets in; false: it is needed, and the next handler (a password) decides as well.',
      ),
    required: z
      .boolean()
      .default(false)
      .describe('Refuse clients without a certificate; otherwise the next handler decides on them.'),
    fingerprints: filePath()
      .optional()
      .describe(
        'File with the SHA-256 fingerprints of the only certificates that are let in. Read again when it changes.',
      ),
    proxyCertificateName: z
      .boolean()
      .default(false)
      .describe(
        'Take the common name that a trusted proxy puts into its PROXY v2 header; such clients cannot be checked for revocation.',
      ),
    ca: filePath()
      .optional()
      .describe(
        'PEM file of CAs and intermediates that issue certificates and sign lists; default: `tls.clientCa` of the listener.',
      ),
    revocation: revocationSchema.prefault({}),
  })
  .describe('Identity of clients from their TLS certificates; revocation.')

export type CertificateHandlerConfig = z.output<typeof certificateHandlerSchema>
export type IdentityConfig = CertificateHandlerConfig['identity']
export type RevocationConfig = CertificateHandlerConfig['revocation']

/** Something of `revocation` is asked for. */
export function checksRevocation({ crl, ocsp }: RevocationConfig): boolean {
  return crl.files.length > 0 || crl.urls.length > 0 || crl.distributionPoints || ocsp.mode !== 'off'
}
