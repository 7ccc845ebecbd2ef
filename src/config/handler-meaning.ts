import { checkHeaders } from './header-meaning.ts'
import type { JwtConfig } from './jwt-schema.ts'
import type { ConfigPath, Mistake } from './mistake.ts'
import { isLoopback } from './network-names.ts'
import type { Config, HandlerConfig } from './schema.ts'
import type { WebhookConfig } from './webhook-schema.ts'

/** What the schema of handlers cannot say. */
export function checkHandlers(config: Config): Mistake[] {
  return forEachHandler(config, (handler, path) => {
    if (handler.type === 'jwt') return checkJwt(handler, path)
    if (handler.type === 'http') return checkWebhook(handler, path)
    return []
  })
}

export function warnOfHandlers(config: Config): Mistake[] {
  return forEachHandler(config, (handler, path, chain) => {
    if (handler.type === 'jwt') return warnOfJwt(handler, path, chain)
    if (handler.type === 'http') return warnOfWebhook(handler, path, config.auth.timeoutMs)
    return []
  })
}

/** Somebody in the chain says who may publish and subscribe to what. */
export function decidesOnTopics(handler: HandlerConfig): boolean {
  switch (handler.type) {
    case 'acl-file':
    case 'module':
      return true
    case 'jwt':
      return handler.aclClaim !== undefined
    case 'http':
      return [handler.hooks, handler.mqtt5Hooks ?? []].some(
        (hooks) => hooks.includes('authPublish') && hooks.includes('authSubscribe'),
      )
    default:
      return false
  }
}

function forEachHandler(
  { handlers, listeners }: Config,
  look: (handler: HandlerConfig, path: ConfigPath, chain: readonly HandlerConfig[]) => Mistake[],
): Mistake[] {
  return [
    ...handlers.flatMap((handler, index) => look(handler, ['handlers', index], handlers)),
    ...listeners.flatMap(({ handlers: chain = [] }, index) =>
      chain.flatMap((handler, entry) => look(handler, ['listeners', index, 'handlers', entry], chain)),
    ),
  ]
}

function checkJwt(jwt: JwtConfig, path: ConfigPath): Mistake[] {
  const mistakes: Mistake[] = []
  const add = (key: string, message: string): void => void mistakes.push({ path: [...path, key], message })
  const hasSecret = jwt.secret !== undefined || jwt.secretFile !== undefined
  const sources = [
    jwt.jwksUrl !== undefined && 'jwksUrl',
    jwt.publicKeyFiles.length > 0 && 'publicKeyFiles',
    jwt.secret !== undefined && 'secret',
    jwt.secretFile !== undefined && 'secretFile',
  ].filter((source) => source !== false)
  if (sources.length !== 1)
    mistakes.push({
      path,
      message: `needs one of jwksUrl, publicKeyFiles, secret and secretFile, and has ${sources.length === 0 ? 'none' : sources.join(' and ')}`,
    })
  // A public key taken for a secret is how tokens are forged: they never stand beside each other.
  const wrong = jwt.algorithms.filter((algorithm) => algorithm.startsWith('HS') !== hasSecret)
  if (sources.length === 1 && wrong.length > 0)
    add(
      'algorithms',
      `${wrong.join(', ')}: ${hasSecret ? 'a secret is for HS256, HS384 and HS512' : 'needs a secret, not public keys'}`,
    )
  if (jwt.jwksUrl !== undefined && !URL.canParse(jwt.jwksUrl))
    add('jwksUrl', 'is not a URL such as https://host/jwks.json')
  if (jwt.tls !== undefined && jwt.jwksUrl?.startsWith('https:') !== true) add('tls', 'is for https:// only')
  return [...mistakes, ...checkTls(jwt.tls, path)]
}

function checkWebhook(webhook: WebhookConfig, path: ConfigPath): Mistake[] {
  const mistakes: Mistake[] = []
  for (const [index, endpoint] of webhook.endpoints.entries())
    if (!URL.canParse(endpoint))
      mistakes.push({
        path: [...path, 'endpoints', index],
        message: 'is not a URL such as http://host:8080/path',
      })
  for (const key of ['hooks', 'mqtt5Hooks'] as const)
    if (webhook.format === 'vernemq' && webhook[key]?.includes('authTunnel') === true)
      mistakes.push({
        path: [...path, key],
        message: 'authTunnel is not in the format vernemq: there tunnels are asked about as topics',
      })
  if (webhook.format !== 'vernemq' && webhook.mqtt5Hooks !== undefined)
    mistakes.push({
      path: [...path, 'mqtt5Hooks'],
      message: 'is for format: vernemq; ours asks the same of all versions, and says protocolVersion',
    })
  if (webhook.hooks.length === 0 && (webhook.mqtt5Hooks ?? []).length === 0)
    mistakes.push({ path: [...path, 'hooks'], message: 'is empty: name what the service is asked or told' })
  mistakes.push(...checkHeaders(webhook.headers, [...path, 'headers']))
  if (webhook.tls !== undefined && !webhook.endpoints.some((endpoint) => endpoint.startsWith('https:')))
    mistakes.push({ path: [...path, 'tls'], message: 'is for https:// only' })
  return [...mistakes, ...checkTls(webhook.tls, path)]
}

function checkTls(tls: JwtConfig['tls'], path: ConfigPath): Mistake[] {
  if ((tls?.cert === undefined) === (tls?.key === undefined)) return []
  return [{ path: [...path, 'tls'], message: 'needs cert and key together' }]
}

function warnOfJwt(jwt: JwtConfig, path: ConfigPath, chain: readonly HandlerConfig[]): Mistake[] {
  const warnings: Mistake[] = []
  const { jwksUrl, from, usernameClaim, claims } = jwt
  if (jwksUrl !== undefined && isInTheClear(jwksUrl)) {
    const message =
      'the keys come in clear text: who can change them on their way can make tokens; use https://'
    warnings.push({ path: [...path, 'jwksUrl'], message })
  }
  const isBound =
    from === 'username' ||
    usernameClaim !== undefined ||
    Object.values(claims).some((value) => value.includes('${username}'))
  const byUsername = chain.find(({ type }) => type === 'acl-file' || type === 'dynamic')
  if (!isBound && byUsername !== undefined) {
    const message = `with any good token a client may take any username, and has the rights that ${byUsername.type} gives to it: set usernameClaim: sub, or claims: { sub: '\${username}' }`
    warnings.push({ path, message })
  }
  return warnings
}

function warnOfWebhook(webhook: WebhookConfig, path: ConfigPath, authTimeoutMs: number): Mistake[] {
  const warnings: Mistake[] = webhook.endpoints.flatMap((endpoint, index) =>
    isInTheClear(endpoint)
      ? [
          {
            path: [...path, 'endpoints', index],
            message: 'passwords and answers cross the network in clear text; use https://',
          },
        ]
      : [],
  )
  if (webhook.timeoutMs >= authTimeoutMs)
    warnings.push({
      path: [...path, 'timeoutMs'],
      message: `is not less than auth.timeoutMs (${authTimeoutMs}), which ends the question first`,
    })
  return warnings
}

function isInTheClear(url: string): boolean {
  if (!URL.canParse(url)) return false
  const { protocol, hostname } = new URL(url)
  return protocol === 'http:' && !isLoopback(hostname.replace(/^\[|\]$/g, ''))
}
