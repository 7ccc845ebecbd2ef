import type { CertificateFacts } from './certificate-draft.ts'
import type { Draft, ListenerDraft, Setting } from './draft.ts'

type ProtocolVersionName = '3.1' | '3.1.1' | '5'

/** Both others name versions by their protocol levels. */
export function protocolVersionsOf(levels: readonly string[]): ProtocolVersionName[] {
  const names: readonly (readonly [level: string, name: ProtocolVersionName])[] = [
    ['3', '3.1'],
    ['4', '3.1.1'],
    ['5', '5'],
  ]
  return names.filter(([level]) => levels.includes(level)).map(([, name]) => name)
}

/** What is known of one listener of the other broker, before it is one of ours. */
export interface ListenerFacts {
  /** The setting that opened it, for notes. */
  readonly opened: Setting
  isWebSocket: boolean
  /** Was named so, and is not without TLS for want of a certificate. */
  readonly isTls?: boolean
  host: string
  port: number
  /** By a setting of its own, apart from the port. */
  boundTo?: string
  /** Port or address were said. */
  isNamed?: boolean
  /** Of a unix socket; host and port are not used then. */
  socket?: string
  name?: string
  certFile?: string
  keyFile?: string
  caFile?: string
  ciphers?: string
  minVersion?: 'TLSv1.2' | 'TLSv1.3'
  requireCertificate?: boolean
  maxConnections?: number
  mountpoint?: string
  protocolVersions?: ProtocolVersionName[]
  proxyProtocol?: 'required'
  allowAnonymous?: boolean
  /** What counts where a listener says nothing. */
  allowsAnonymousToAll?: boolean
  /** The setting that said so. */
  anonymousBy?: Setting
  /** What is done with the certificates of clients. */
  certificates?: CertificateFacts
  passwordFile?: string
  aclFile?: string
  /** A chain of its own, and not the one of all listeners. */
  hasOwnChain?: boolean
}

/** One of our listeners; undefined, with a note, when it would not be one. */
export function toListener(facts: ListenerFacts, draft: Draft): ListenerDraft | undefined {
  const { opened, socket, host, port, certFile, keyFile } = facts
  const common = {
    ...(facts.name === undefined ? {} : { name: facts.name }),
    ...(facts.maxConnections === undefined ? {} : { maxConnections: facts.maxConnections }),
    ...(facts.mountpoint === undefined ? {} : { mountpoint: facts.mountpoint }),
    ...(facts.protocolVersions === undefined ? {} : { protocolVersions: facts.protocolVersions }),
    ...(facts.allowAnonymous === true ? { allowAnonymous: true } : {}),
  }
  if (socket !== undefined) return { type: 'unix', path: socket, ...common }

  const place = {
    host,
    port,
    ...(facts.proxyProtocol === undefined ? {} : { proxyProtocol: facts.proxyProtocol }),
  }
  if (certFile === undefined && keyFile === undefined && facts.isTls !== true) {
    if (facts.caFile !== undefined || facts.requireCertificate === true)
      draft.note(
        'lost',
        opened,
        'asks for client certificates and has no certificate of its own: it is without TLS here',
      )
    return { type: facts.isWebSocket ? 'ws' : 'tcp', ...place, ...common }
  }
  if (certFile === undefined || keyFile === undefined) {
    draft.note(
      'lost',
      opened,
      `the listener has no ${certFile === undefined ? 'certificate' : 'private key'}, and is left out`,
    )
    return undefined
  }
  const asksForCertificate = facts.requireCertificate === true
  if (asksForCertificate && facts.caFile === undefined) {
    draft.note(
      'lost',
      opened,
      'asks for client certificates, and no CA file says which: the listener is left out',
    )
    return undefined
  }
  const tls = {
    cert: certFile,
    key: keyFile,
    // Without `requireCertificate` both brokers do not ask for one, whatever CA they are given.
    ...(asksForCertificate && facts.caFile !== undefined ? { clientCa: facts.caFile } : {}),
    ...(facts.minVersion === undefined ? {} : { minVersion: facts.minVersion }),
    ...(facts.ciphers === undefined ? {} : { ciphers: facts.ciphers }),
  }
  return { type: facts.isWebSocket ? 'wss' : 'tls', ...place, tls, ...common }
}

/** `tlsv1.2`, `tlsv1.3` and older: ours begin at 1.2. */
export function readTlsVersion(setting: Setting, draft: Draft): 'TLSv1.2' | 'TLSv1.3' | undefined {
  const [, minor] = /^tlsv?1(?:\.([0-3]))?$/i.exec(setting.value) ?? []
  if (minor === '3' || minor === '2') {
    draft.carried(setting, 'tls.minVersion')
    return minor === '3' ? 'TLSv1.3' : 'TLSv1.2'
  }
  draft.note('changed', setting, 'TLS before 1.2 is not served: TLSv1.2 is the lowest')
  return 'TLSv1.2'
}

/** A listener that everyone may use, or nobody can, is not left to be found out. */
export function noteAnonymous(setting: Setting, allowed: boolean, hasPasswords: boolean, draft: Draft): void {
  if (allowed && !hasPasswords)
    draft.note(
      'changed',
      setting,
      'clients without user name are let in, as there; clients with one need a password file here, and there any was taken',
    )
  else draft.carried(setting, 'allowAnonymous')
}
