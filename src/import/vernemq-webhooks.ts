import type { ConfigInput } from '../config/schema.ts'
import {
  lost,
  lostUnless,
  needless,
  noting,
  sameText,
  wholeNumber,
  type Draft,
  type RuleOf,
  type Setting,
} from './draft.ts'

/** The webhooks of VerneMQ (vmq_webhooks): handlers `http` in its format. */

type HandlerDraft = NonNullable<ConfigInput['handlers']>[number]
type WebhookDraft = Extract<HandlerDraft, { type: 'http' }>
type Hook = NonNullable<WebhookDraft['hooks']>[number]
type HookList = 'hooks' | 'mqtt5Hooks'

/** One `vmq_webhooks.NAME`. */
interface WebhookFacts {
  readonly name: string
  /** To name it by in a note. */
  readonly first: Setting
  hook?: string
  /** The hook is of MQTT 5 (`..._m5`). */
  isM5?: boolean
  endpoint?: string
  payload: 'base64' | 'text' | 'none'
  timeoutMs?: number
}

/** What counts for all of them. */
type SharedFacts = Pick<WebhookDraft, 'maxSockets' | 'keepAliveMs'> & {
  tls: NonNullable<WebhookDraft['tls']>
}

const ourHooks: Readonly<Record<string, Hook>> = {
  auth_on_register: 'authConnect',
  auth_on_publish: 'authPublish',
  auth_on_subscribe: 'authSubscribe',
  on_register: 'connect',
  on_publish: 'publish',
  on_subscribe: 'subscribe',
  on_unsubscribe: 'unsubscribe',
  on_client_gone: 'disconnect',
  on_client_offline: 'disconnect',
}
/** Has no other name for clients of MQTT 5. */
const ofAll = new Set<Hook>(['disconnect'])
const questions = new Set<Hook>(['authConnect', 'authPublish', 'authSubscribe'])
const isOn = (value: string): boolean => value === 'on' || value === 'true'

const webhookRules: Readonly<Record<string, RuleOf<WebhookFacts>>> = {
  hook: (setting, facts, draft) => {
    const name = setting.value.replace(/_m5$/, '')
    facts.hook = name
    facts.isM5 = name !== setting.value
    const where = facts.isM5 ? 'handlers[].mqtt5Hooks' : 'handlers[].hooks'
    if (setting.value === 'on_auth_m5')
      return draft.note(
        'lost',
        setting,
        'methods of authentication are for handlers: scram, or a module (docs/handlers.md)',
      )
    const ours = Object.hasOwn(ourHooks, name) ? ourHooks[name] : undefined
    if (ours === undefined || (facts.isM5 && ofAll.has(ours)))
      return draft.note('lost', setting, 'the service is not told of that')
    if (name === 'on_unsubscribe')
      return draft.note('changed', setting, `${where}: it is told, and cannot change the topics`)
    if (ofAll.has(ours))
      return draft.note(
        'changed',
        setting,
        'handlers[].hooks: disconnect, which is on_client_gone and on_client_offline',
      )
    draft.carried(setting, where)
  },
  endpoint: sameText('handlers[].endpoints', (facts, value) => (facts.endpoint = value)),
  base64encode: (setting, facts, draft) => {
    if (!isOn(setting.value) && facts.payload === 'base64') facts.payload = 'text'
    draft.carried(setting, 'handlers[].payload')
  },
  no_payload: (setting, facts, draft) => {
    if (isOn(setting.value)) facts.payload = 'none'
    draft.carried(setting, 'handlers[].payload')
  },
  response_timeout: (setting, facts, draft) => {
    const value = wholeNumber(setting, draft)
    if (value === undefined || value < 1) return
    facts.timeoutMs = value
    draft.carried(setting, 'handlers[].timeoutMs')
  },
}

const count =
  (where: 'maxSockets' | 'keepAliveMs'): RuleOf<SharedFacts> =>
  (setting, facts, draft) => {
    const value = wholeNumber(setting, draft)
    if (value === undefined || value < 1) return
    facts[where] = value
    draft.carried(setting, `handlers[].${where}`)
  }

const sharedRules: Readonly<Record<string, RuleOf<SharedFacts>>> = {
  pool_max_connections: count('maxSockets'),
  pool_timeout: count('keepAliveMs'),
  cafile: sameText('handlers[].tls.ca', ({ tls }, value) => (tls.ca = value)),
  certfile: sameText('handlers[].tls.cert', ({ tls }, value) => (tls.cert = value)),
  keyfile: sameText('handlers[].tls.key', ({ tls }, value) => (tls.key = value)),
  keyfile_password: sameText('handlers[].tls.passphrase', ({ tls }, value) => (tls.passphrase = value)),
  tls_version: noting(needless('TLS 1.2 or newer is spoken')),
  depth: noting(needless('a chain may have any length')),
  verify_peer: noting(lostUnless(['on', 'true'], 'the certificate of the service is always checked')),
  use_crls: noting(lostUnless(['off', 'false'], 'revocation lists are not looked at for the service')),
}

const PREFIX = /^vmq_webhooks\.([^.]+)(?:\.(.+))?$/
const unknown = noting(lost('is not known to us as a setting of VerneMQ'))

/** Takes the settings of webhooks; gives the others, and the handlers that they are. */
export function takeWebhooks(
  settings: readonly Setting[],
  draft: Draft,
): { readonly others: Setting[]; readonly handlers: HandlerDraft[] } {
  const isEnabled = isOn(settings.find(({ key }) => key === 'plugins.vmq_webhooks')?.value ?? 'off')
  const webhooks = new Map<string, WebhookFacts>()
  const shared: SharedFacts = { tls: {} }
  const others: Setting[] = []
  for (const setting of settings) {
    const [, name, option] = PREFIX.exec(setting.key) ?? []
    if (name === undefined) others.push(setting)
    else if (!isEnabled) draft.note('needless', setting, 'plugins.vmq_webhooks is off')
    else if (option === undefined) (ruleIn(sharedRules, name) ?? unknown)(setting, shared, draft)
    else {
      const facts = webhooks.get(name) ?? { name, first: setting, payload: 'base64' }
      webhooks.set(name, facts)
      ;(ruleIn(webhookRules, option) ?? unknown)(setting, facts, draft)
    }
  }
  // VerneMQ asks them in the order of their names.
  const inOrder = [...webhooks.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1))
  // There, clients of MQTT 5 have their own hooks alone. Where nobody has any, these clients are asked about like others.
  const knowsM5 = inOrder.some(({ isM5 = false }) => isM5)
  const handlers = inOrder.reduce<WebhookDraft[]>(
    (made, facts) => addHook(made, facts, { ...shared, knowsM5 }, draft),
    [],
  )
  allowTime(handlers, draft)
  return { others, handlers }
}

function ruleIn<Facts>(
  rules: Readonly<Record<string, RuleOf<Facts>>>,
  key: string,
): RuleOf<Facts> | undefined {
  return Object.hasOwn(rules, key) ? rules[key] : undefined
}

/** One service for many hooks becomes one handler; several for one hook are a chain, as there. */
function addHook(
  made: WebhookDraft[],
  { first, hook, isM5 = false, endpoint, payload, timeoutMs }: WebhookFacts,
  { tls, knowsM5, ...pool }: SharedFacts & { readonly knowsM5: boolean },
  draft: Draft,
): WebhookDraft[] {
  const missing = hook === undefined ? 'hook' : endpoint === undefined ? 'endpoint' : undefined
  if (missing !== undefined) draft.note('lost', first, `the webhook has no ${missing}`)
  const ours = hook === undefined || !Object.hasOwn(ourHooks, hook) ? undefined : ourHooks[hook]
  if (ours === undefined || endpoint === undefined || (isM5 && ofAll.has(ours))) return made
  const lists: readonly HookList[] = [
    ...(isM5 ? [] : ['hooks' as const]),
    ...(isM5 || (knowsM5 && ofAll.has(ours)) ? ['mqtt5Hooks' as const] : []),
  ]
  const isSame = (other: WebhookDraft): boolean =>
    other.endpoints[0] === endpoint && other.payload === payload && other.timeoutMs === timeoutMs
  const known = made.findIndex(isSame)
  // Somebody between the two is asked the same: his turn comes first.
  const isAsked = (other: WebhookDraft): boolean => lists.some((list) => other[list]?.includes(ours) === true)
  const isOvertaken = questions.has(ours) && made.slice(known + 1).some(isAsked)
  const found = isOvertaken ? undefined : made[known]
  if (found !== undefined) {
    for (const list of lists) found[list] = [...new Set([...(found[list] ?? []), ours])]
    return made
  }
  const hasTls = endpoint.startsWith('https:') && Object.keys(tls).length > 0
  return [
    ...made,
    {
      type: 'http',
      format: 'vernemq',
      endpoints: [endpoint],
      hooks: lists.includes('hooks') ? [ours] : [],
      ...(knowsM5 && { mqtt5Hooks: lists.includes('mqtt5Hooks') ? [ours] : [] }),
      payload,
      ...(timeoutMs !== undefined && { timeoutMs }),
      ...pool,
      ...(hasTls && { tls }),
    },
  ]
}

/** A question must not end before its request. */
function allowTime(handlers: readonly WebhookDraft[], draft: Draft): void {
  const longestMs = Math.max(0, ...handlers.map(({ timeoutMs = 0 }) => timeoutMs))
  if (longestMs >= 5_000) draft.config.auth = { ...draft.config.auth, timeoutMs: longestMs + 1_000 }
}

/** Some service is asked about publishing, and some about subscribing. */
export function decideOnTopics(handlers: readonly HandlerDraft[]): boolean {
  const asked = new Set(
    handlers.flatMap((handler) =>
      handler.type === 'http' ? [...(handler.hooks ?? []), ...(handler.mqtt5Hooks ?? [])] : [],
    ),
  )
  return asked.has('authPublish') && asked.has('authSubscribe')
}
