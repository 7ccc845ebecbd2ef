import { compilePattern } from './certificate-pattern.ts'
import { checksRevocation, type CertificateHandlerConfig } from './certificate-schema.ts'
import type { ConfigPath, Mistake } from './mistake.ts'
import type { Config, HandlerConfig } from './schema.ts'

/** What the schema of the certificate handler cannot say. */
export function checkCertificateHandlers(config: Config): Mistake[] {
  return chainsOf(config).flatMap(({ path, chain }) =>
    chain.flatMap((handler, index) =>
      handler.type === 'certificate' ? checkHandler(handler, [...path, index]) : [],
    ),
  )
}

function checkHandler(handler: CertificateHandlerConfig, path: ConfigPath): Mistake[] {
  const mistakes: Mistake[] = []
  const { identity, username, decides, proxyCertificateName, revocation } = handler
  const pattern = identity.pattern === undefined ? undefined : compilePattern(identity.pattern)
  if (typeof pattern === 'string') mistakes.push({ path: [...path, 'identity', 'pattern'], message: pattern })
  if (username === 'ignore' && decides) {
    const message = `"ignore" lets every certificate take any username: use "set" or "equal", or decides: false with another handler after it`
    mistakes.push({ path: [...path, 'username'], message })
  }
  if (proxyCertificateName && identity.from !== 'cn')
    mistakes.push({
      path: [...path, 'proxyCertificateName'],
      message: `needs identity.from: cn, as a proxy tells nothing else`,
    })
  const { allowedHosts, crl, ocsp } = revocation
  const needsHosts = 'needs revocation.allowedHosts: which hosts the URLs of certificates may lead to'
  if (crl.distributionPoints && allowedHosts.length === 0)
    mistakes.push({ path: [...path, 'revocation', 'crl', 'distributionPoints'], message: needsHosts })
  if (ocsp.mode !== 'off' && ocsp.responder === undefined && allowedHosts.length === 0) {
    const message = `needs ocsp.responder, or revocation.allowedHosts for those that certificates name`
    mistakes.push({ path: [...path, 'revocation', 'ocsp', 'mode'], message })
  }
  return mistakes
}

export function warnOfCertificateHandlers(config: Config): Mistake[] {
  return chainsOf(config).flatMap(({ path, chain, takesCertificates }) => {
    const warnings: Mistake[] = []
    const open = chain.findIndex((handler) => handler.type === 'anonymous' && handler.allow)
    for (const [index, handler] of chain.entries()) {
      if (handler.type !== 'certificate') continue
      if (open !== -1 && open < index)
        warnings.push({
          path: [...path, index],
          message:
            'stands after "anonymous", which lets clients without a username in first, with or without a certificate: put it before',
        })
      if (!takesCertificates && !handler.proxyCertificateName)
        warnings.push({
          path: [...path, index],
          message: 'never sees a certificate: no listener of this chain has tls.clientCa',
        })
      if (checksRevocation(handler.revocation) && handler.revocation.timeoutMs >= config.auth.timeoutMs)
        warnings.push({
          path: [...path, index, 'revocation', 'timeoutMs'],
          message: `is not less than auth.timeoutMs (${config.auth.timeoutMs}): connections are refused before onMissing and ocsp.mode decide`,
        })
    }
    return warnings
  })
}

interface ChainOf {
  readonly path: ConfigPath
  readonly chain: readonly HandlerConfig[]
  readonly takesCertificates: boolean
}

/** The chain of all listeners, and those of some. */
function chainsOf({ listeners, handlers }: Config): ChainOf[] {
  const takes = (listener: Config['listeners'][number]): boolean =>
    'tls' in listener && listener.tls?.clientCa !== undefined
  return [
    {
      path: ['handlers'],
      chain: handlers,
      takesCertificates: listeners.some((listener) => listener.handlers === undefined && takes(listener)),
    },
    ...listeners.flatMap((listener, index) =>
      listener.handlers === undefined
        ? []
        : [
            {
              path: ['listeners', index, 'handlers'],
              chain: listener.handlers,
              takesCertificates: takes(listener),
            },
          ],
    ),
  ]
}
