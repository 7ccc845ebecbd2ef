import { checksRevocation, type CertificateHandlerConfig } from '../../config/certificate-schema.ts'
import type { RevocationCounters } from '../../counters.ts'
import type { HandlerLog } from '../log.ts'
import { openRightsFile, type RightsFileOptions } from '../rights-file.ts'
import type { Peer, PeerCertificate } from '../../peer.ts'
import {
  AuthError,
  noOpinion,
  RefuseReason,
  type ManagedHandler,
  type Session,
  type Verdict,
} from '../types.ts'
import { parseFingerprints } from './fingerprints.ts'
import { createIdentityReader, plainFingerprint } from './identity.ts'
import type { Revocation, RevocationVerdict } from './revocation.ts'

export interface CertificateHandlerOptions {
  readonly config: CertificateHandlerConfig
  /** `tls.clientCa` of the listener; undefined: no certificate can come. */
  readonly listenerCa: string | undefined
  readonly counters: RevocationCounters
  readonly log: HandlerLog
  readonly name?: string
  readonly watch?: RightsFileOptions<unknown>['watch']
}

/** What a client shows, judged without asking anybody. */
type Shown =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'refused'; readonly reason: string; readonly refuse: RefuseReason }
  | { readonly kind: 'good'; readonly identity: string | undefined; readonly by: string }

/**
 * Who a client is, by its TLS certificate. Decides on connect only.
 * @throws {TunnelMQError} TMQ_FILE when a file is not usable.
 */
export async function createCertificateHandler(options: CertificateHandlerOptions): Promise<ManagedHandler> {
  const { config, counters, log, name = 'certificate', watch } = options
  const { username, clientId, decides, required, proxyCertificateName } = config
  const reader = createIdentityReader(config.identity)
  const usesIdentity = username !== 'ignore' || clientId !== 'ignore'
  const listeners: (() => void)[] = []
  const changed = (): void => {
    for (const listener of listeners) listener()
  }
  const allowList =
    config.fingerprints === undefined
      ? undefined
      : await openRightsFile({
          file: config.fingerprints,
          log,
          parse: (text) => parseFingerprints(text, config.fingerprints!),
          ...(watch === undefined ? {} : { watch }),
        })
  allowList?.onChange(changed)
  const revocation = await openIfAsked().catch((error: unknown) => {
    allowList?.close()
    throw error
  })

  async function openIfAsked(): Promise<Revocation | undefined> {
    const ca = config.ca ?? options.listenerCa
    if (!checksRevocation(config.revocation) || ca === undefined) return undefined
    // Only now: who does not ask for it has none of the ASN.1 library in memory.
    const { openRevocation } = await import('./revocation.ts')
    return openRevocation({ config: config.revocation, ca, counters, log, changed, watch })
  }

  /** Of the client itself: where a proxy ends its TLS, that of the connection is the proxy's. */
  function ownCertificate({ addressSource, certificate }: Peer): PeerCertificate | undefined {
    return proxyCertificateName && addressSource !== 'socket' ? undefined : certificate
  }

  function look({ peer }: Session): Shown {
    const certificate = ownCertificate(peer)
    if (certificate === undefined) {
      if (proxyCertificateName && peer.proxyCertificateName !== undefined)
        return shown(
          reader.ofCommonName(peer.proxyCertificateName),
          'the certificate that the proxy has seen',
        )
      return required
        ? { kind: 'refused', reason: 'a client certificate is required', refuse: RefuseReason.notAuthorized }
        : { kind: 'nothing' }
    }
    // A resumed TLS session is not verified again.
    if (!(Date.parse(certificate.validTo) > Date.now())) return refusedFor('the certificate has expired')
    if (allowList !== undefined && !allowList.current.has(plainFingerprint(certificate.fingerprint256)))
      return refusedFor('the fingerprint of the certificate is not on the list')
    return shown(
      usesIdentity ? reader.ofCertificate(certificate) : { identity: undefined },
      certificate.subject,
    )
  }

  function shown(reading: { identity: string | undefined } | { fault: string }, by: string): Shown {
    return 'fault' in reading ? refusedFor(reading.fault) : { kind: 'good', identity: reading.identity, by }
  }

  /** What the client says of itself has to be what its certificate says. */
  function mismatch(session: Session, identity: string | undefined): Shown | undefined {
    if (username === 'equal' && session.username !== identity)
      return refusedFor(`the username is not the ${reader.source} of the certificate`)
    if (clientId === 'equal' && session.id !== identity) {
      const reason = `the client id is not the ${reader.source} of the certificate`
      return { kind: 'refused', reason, refuse: RefuseReason.identifierRejected }
    }
    return undefined
  }

  function admit(session: Session, identity: string | undefined, verdict?: RevocationVerdict): Verdict {
    if (verdict?.allowed === false) throw new AuthError(verdict.reason, refuseReasonOf(verdict))
    if (username === 'set') session.username = identity
    if (clientId === 'set' && identity !== undefined) session.id = identity
    return decides ? undefined : noOpinion
  }

  function check(session: Session): Verdict {
    const seen = look(session)
    if (seen.kind === 'nothing') return noOpinion
    const against = seen.kind === 'refused' ? seen : mismatch(session, seen.identity)
    if (against?.kind === 'refused') throw new AuthError(against.reason, against.refuse)
    const identity = seen.kind === 'good' ? seen.identity : undefined
    const certificate = ownCertificate(session.peer)
    if (certificate === undefined || revocation === undefined) return admit(session, identity)
    const verdict = revocation.check(certificate)
    return verdict instanceof Promise
      ? verdict.then((answer) => admit(session, identity, answer))
      : admit(session, identity, verdict)
  }

  return {
    name,
    recognizes: ({ peer }) =>
      required ||
      ownCertificate(peer) !== undefined ||
      (proxyCertificateName && peer.proxyCertificateName !== undefined),
    authConnect: check,
    // Whatever else a client authenticates with (MQTT 5): what its certificate says against it counts.
    authenticate(session) {
      const verdict = check(session)
      return verdict instanceof Promise ? verdict.then(() => noOpinion) : noOpinion
    },
    stillAllowed(session) {
      const certificate = ownCertificate(session.peer)
      // Who was let in without one was let in by others.
      if (certificate === undefined) return true
      if (look(session).kind === 'refused') return false
      const verdict = revocation?.known(certificate)
      // That nobody can tell just now is no reason to cut those that are here.
      return verdict === undefined || verdict.allowed || verdict.kind === 'unavailable'
    },
    explain(session, { action }) {
      if (action !== 'connect') return undefined
      const seen = look(session)
      const rule = `identity: ${reader.source}`
      if (seen.kind === 'nothing') return { rule, opinion: 'none', reason: 'the client has no certificate' }
      if (seen.kind === 'refused') return { rule, opinion: 'refused', reason: seen.reason }
      const certificate = ownCertificate(session.peer)
      const verdict = certificate && revocation?.known(certificate)
      if (verdict?.allowed === false)
        return { rule, opinion: 'refused', reason: verdict.reason, isCached: true }
      const who = seen.identity === undefined ? seen.by : `${JSON.stringify(seen.identity)} by ${seen.by}`
      if (certificate !== undefined && revocation !== undefined && verdict === undefined)
        return { rule, reason: `${who}; whether it is revoked is asked when it connects` }
      return { rule, opinion: decides ? 'allowed' : 'none', reason: who }
    },
    async reload() {
      await allowList?.reload()
      await revocation?.reload()
    },
    onChange: (listener) => void listeners.push(listener),
    close() {
      allowList?.close()
      revocation?.close()
      return Promise.resolve()
    },
  }
}

function refusedFor(reason: string): Shown {
  return { kind: 'refused', reason, refuse: RefuseReason.notAuthorized }
}

/** Devices come again after `unavailable`, and give up after the others. */
function refuseReasonOf(verdict: RevocationVerdict & { allowed: false }): RefuseReason {
  return verdict.kind === 'unavailable' ? RefuseReason.unavailable : RefuseReason.notAuthorized
}
