import type { ConfigInput } from '../config/schema.ts'
import type { Draft, Effect, Setting } from './draft.ts'

type HandlerDraft = NonNullable<ConfigInput['handlers']>[number]

/** What a listener of the other broker does with certificates of clients: each by the setting that said so. */
export interface CertificateFacts {
  /** The common name is the user name. */
  nameBy?: Setting
  /** The whole subject is. */
  subjectBy?: Setting
  /** A trusted proxy tells the common name. */
  proxyNameBy?: Setting
  /** File of a revocation list. */
  crlBy?: Setting
}

export interface CertificateContext {
  /** The listener has TLS, and asks for certificates. */
  readonly asksForCertificate: boolean
  readonly takesProxyHeader: boolean
  readonly allowAnonymous: boolean
  /** Where a name was taken from a certificate, no password is asked for. */
  readonly nameIsEnough: boolean
}

/** The chain of a listener with the certificate handler in front; undefined: it has no part in it. */
export function chainWithCertificates(
  facts: CertificateFacts,
  chain: readonly HandlerDraft[],
  context: CertificateContext,
  draft: Draft,
): HandlerDraft[] | undefined {
  const { nameBy, subjectBy, proxyNameBy, crlBy } = facts
  const all = [nameBy, subjectBy, proxyNameBy, crlBy].filter((setting) => setting !== undefined)
  if (all.length === 0) return undefined
  const nobody =
    'no client can show a certificate at this listener: it needs TLS, a CA file and require_certificate'
  const isProxied = proxyNameBy !== undefined && context.takesProxyHeader
  if (!context.asksForCertificate && !isProxied) {
    for (const setting of all) noteOnce(draft, 'lost', setting, nobody)
    return undefined
  }
  const takesName = nameBy !== undefined || subjectBy !== undefined || isProxied
  const decides = takesName && (context.nameIsEnough || context.allowAnonymous)
  noteEach(facts, decides, draft)
  const handler: HandlerDraft = {
    type: 'certificate',
    required: true,
    ...(subjectBy !== undefined && nameBy === undefined ? { identity: { from: 'subject' } } : {}),
    ...(takesName ? {} : { username: 'ignore' }),
    ...(decides ? {} : { decides: false }),
    ...(isProxied ? { proxyCertificateName: true } : {}),
    // Both brokers look at the client's own certificate alone.
    ...(crlBy === undefined ? {} : { revocation: { depth: 'leaf', crl: { files: [crlBy.value] } } }),
  }
  const others = decides ? chain.filter(({ type }) => type !== 'password-file') : [...chain]
  // The listener's own `allowAnonymous` is not asked for clients with a certificate.
  const open: HandlerDraft[] = context.allowAnonymous && !decides ? [{ type: 'anonymous', allow: true }] : []
  return [handler, ...open, ...others]
}

function noteEach(
  { nameBy, subjectBy, proxyNameBy, crlBy }: CertificateFacts,
  decides: boolean,
  draft: Draft,
): void {
  const named = [
    [nameBy, 'handlers: certificate'],
    [subjectBy, 'handlers: certificate, identity.from: subject'],
    [proxyNameBy, 'handlers: certificate, proxyCertificateName'],
  ] as const
  for (const [setting, where] of named) {
    if (setting === undefined) continue
    if (decides) noteOnce(draft, 'carried', setting, where)
    else
      noteOnce(
        draft,
        'changed',
        setting,
        `${where}: the handlers after it are asked about that name and the password as well; decides: true lets the certificate be enough`,
      )
  }
  if (crlBy !== undefined)
    noteOnce(
      draft,
      'carried',
      crlBy,
      'handlers: certificate, revocation.crl.files; read again when it changes',
    )
}

/** One setting may be for several listeners. */
function noteOnce(draft: Draft, effect: Effect, setting: Setting, text: string): void {
  const isThere = draft.notes.some(
    ({ key, line, text: said }) => key === setting.key && line === setting.line && said === text,
  )
  if (!isThere) draft.note(effect, setting, text)
}
