import { z } from 'zod'
import { clientTls } from './client-tls-schema.ts'
import { spanMs, timerMs } from './duration-schema.ts'

/** The handler `jwt`; see schema.ts for its rules. */

const positive = z.int().min(1)
const filePath = () => z.string().min(1).meta({ filePath: true })

/** RFC 7518 3.1, RFC 8037. `none` is not among them. */
const signatureAlgorithms = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'HS256',
  'HS384',
  'HS512',
] as const

export const jwtSchema = z
  .strictObject({
    type: z.literal('jwt'),
    from: z
      .enum(['password', 'username'])
      .default('password')
      .describe('Field of CONNECT in which clients send the token.'),
    required: z
      .boolean()
      .default(false)
      .describe('Refuse clients without a token; else the next handler is asked about them.'),
    algorithms: z
      .array(z.enum(signatureAlgorithms))
      .min(1)
      .describe(
        'Signature algorithms that are accepted: `HS...` with a secret, the others with public keys.',
      ),
    jwksUrl: z
      .string()
      .regex(/^https?:\/\/[^\s]+$/)
      .meta({ secret: true, secretUrl: true })
      .optional()
      .describe('Key set of the identity provider, for example `https://id.example.com/jwks.json`.'),
    publicKeyFiles: z
      .array(filePath())
      .default([])
      .describe('Public keys: PEM, JWK or JWK Set. Read again when they change.'),
    secret: z
      .string()
      .min(1)
      .meta({ secret: true })
      .optional()
      .describe('Shared secret for `HS...`: at least as many bytes as the hash, 32 for HS256.'),
    secretFile: filePath()
      .optional()
      .describe('File with the secret; a line end at its end does not count. Read again when it changes.'),
    secretEncoding: z
      .enum(['text', 'base64'])
      .default('text')
      .describe('How the secret is written; `base64` takes both alphabets.'),
    issuer: z.array(z.string().min(1)).default([]).describe('Accepted values of `iss`; empty: any.'),
    audience: z
      .array(z.string().min(1))
      .default([])
      .describe('Values of `aud`, one of which the token must have; empty: any.'),
    clockToleranceMs: z
      .int()
      .min(0)
      .max(3_600_000)
      .default(5_000)
      .describe("By how much our clock may differ from the issuer's, in ms: for `exp` and `nbf`."),
    requireExpiry: z.boolean().default(true).describe('Refuse tokens without `exp`.'),
    disconnectAtExpiry: z.boolean().default(true).describe('End the connection when its token expires.'),
    claims: z
      .record(z.string(), z.string())
      .default({})
      .describe(
        'Claims that must have this value (or contain it, when they are lists). `${username}` and `${clientid}` stand for what the client sends, a path such as `realm.roles` for a claim within one.',
      ),
    usernameClaim: z
      .string()
      .min(1)
      .optional()
      .describe('Claim that becomes the user name; with `from: username` it is `sub` unless told otherwise.'),
    clientIdClaim: z.string().min(1).optional().describe('Claim that becomes the client id.'),
    aclClaim: z
      .string()
      .min(1)
      .optional()
      .describe(
        'Claim with rights: an object with the lists `publish`, `subscribe`, `serve` and `open`. Tokens without it: no opinion on topics.',
      ),
    maxTokenBytes: positive.max(65_535).default(8_192).describe('Longer tokens are refused unread.'),
    refreshMs: timerMs().default(600_000).describe('How often the key set is fetched again, in ms.'),
    cooldownMs: timerMs()
      .default(10_000)
      .describe('Least time between two fetches, in ms, also when tokens name keys that are not known.'),
    keepMs: spanMs(1)
      .default(86_400_000)
      .describe('How long fetched keys go on while the provider is away, in ms.'),
    timeoutMs: timerMs().default(3_000).describe('Deadline of a fetch, in ms.'),
    maxResponseBytes: positive.default(262_144).describe('Largest key set, in bytes.'),
    tls: clientTls('the provider').optional().describe('TLS to the provider, for `https://`.'),
  })
  .describe('JSON Web Tokens as password or user name.')

export type JwtConfig = z.output<typeof jwtSchema>
