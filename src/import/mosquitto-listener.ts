import {
  lost,
  needless,
  noting,
  onOff,
  sameText,
  wholeNumber,
  type Draft,
  type RuleOf,
  type Setting,
} from './draft.ts'
import { protocolVersionsOf, readTlsVersion, type ListenerFacts } from './listener-draft.ts'

const nowhere: Setting = { key: 'listener', value: '', file: 'mosquitto.conf', line: 0 }

/** What mosquitto 2 opens when no listener is named: on loopback, and on every address beside others. */
export function defaultListener(): ListenerFacts {
  return { opened: nowhere, isWebSocket: false, host: '127.0.0.1', port: 1_883 }
}

/** `listener port [address]`, or `listener 0 /path/of/socket`. */
export function openListener(setting: Setting, draft: Draft): ListenerFacts | undefined {
  const [port = '', place] = setting.value.split(/\s+/)
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535) {
    draft.note('lost', setting, 'does not begin with a port')
    return undefined
  }
  draft.carried(
    setting,
    place === undefined
      ? 'listeners, at 0.0.0.0: all IPv4 addresses; `host: "::"` has IPv6 as well'
      : 'listeners',
  )
  const facts = { opened: setting, isWebSocket: false, port: Number(port), host: place ?? '0.0.0.0' }
  return port === '0' && place !== undefined ? { ...facts, socket: place } : facts
}

export interface ListenerContext {
  /** Where settings of all listeners go. */
  readonly shared: ListenerFacts
  /** The listener that was named last. */
  readonly current: ListenerFacts | undefined
  readonly perListener: boolean
  readonly listeners: ListenerFacts[]
}

type ListenerRule = RuleOf<ListenerFacts>

const identity =
  (by: 'nameBy' | 'subjectBy'): ListenerRule =>
  (setting, facts, draft) => {
    if (onOff(setting, draft) === true) facts.certificates = { ...facts.certificates, [by]: setting }
    else draft.note('needless', setting, 'has no effect')
  }

/** Those of security belong to all listeners, unless per_listener_settings is true. */
const security: Readonly<Record<string, ListenerRule>> = {
  password_file: sameText('handlers: password-file', (facts, value) => (facts.passwordFile = value)),
  acl_file: sameText('handlers: acl-file', (facts, value) => (facts.aclFile = value)),
  allow_anonymous: (setting, facts, draft) => {
    if (facts.anonymousBy !== undefined)
      draft.note('needless', facts.anonymousBy, `line ${setting.line} says it again`)
    facts.allowAnonymous = onOff(setting, draft) ?? false
    // What it means depends on the password file, which may come later: `noteAnonymous`.
    facts.anonymousBy = setting
  },
}

/** Of one listener there, of all of them here: the largest. */
const topicAliases =
  (where: 'maxIncomingTopicAliases' | 'maxOutgoingTopicAliases'): ListenerRule =>
  (setting, _facts, draft) => {
    const count = wholeNumber(setting, draft)
    if (count === undefined) return
    const known = draft.config.mqtt5?.[where] ?? 0
    draft.config.mqtt5 = { ...draft.config.mqtt5, [where]: Math.max(known, Math.min(count, 65_535)) }
    draft.carried(setting, `mqtt5.${where}`)
  }

const rules: Readonly<Record<string, ListenerRule>> = {
  port: (setting, facts, draft) => {
    facts.port = wholeNumber(setting, draft) ?? facts.port
    // The old way to name the first listener, open to all unless bind_address says otherwise, before or after.
    facts.host = facts.boundTo ?? '0.0.0.0'
    facts.isNamed = true
    draft.carried(setting, 'listeners[].port')
  },
  bind_address: sameText('listeners[].host', (facts, value) => {
    facts.host = facts.boundTo = value
    facts.isNamed = true
  }),
  protocol: (setting, facts, draft) => {
    facts.isWebSocket = setting.value === 'websockets'
    if (setting.value === 'mqtt' || facts.isWebSocket) draft.carried(setting, 'listeners[].type')
    else draft.note('lost', setting, 'only mqtt and websockets are served')
  },
  max_connections: (setting, facts, draft) => {
    const count = wholeNumber(setting, draft)
    if (count === undefined) return
    if (count > 0) facts.maxConnections = count
    draft.carried(setting, 'listeners[].maxConnections')
  },
  mount_point: sameText('listeners[].mountpoint', (facts, value) => (facts.mountpoint = value)),
  certfile: sameText('listeners[].tls.cert', (facts, value) => (facts.certFile = value)),
  keyfile: sameText('listeners[].tls.key', (facts, value) => (facts.keyFile = value)),
  cafile: sameText(
    'listeners[].tls.clientCa, where client certificates are asked for',
    (facts, value) => (facts.caFile = value),
  ),
  require_certificate: (setting, facts, draft) => {
    // Not understood: the stricter one.
    facts.requireCertificate = onOff(setting, draft) ?? true
    draft.carried(setting, 'listeners[].tls.clientCa')
  },
  ciphers: sameText('listeners[].tls.ciphers', (facts, value) => (facts.ciphers = value)),
  tls_version: (setting, facts, draft) => {
    const version = readTlsVersion(setting, draft)
    if (version !== undefined) facts.minVersion = version
  },
  capath: noting(lost('name one file with all CAs: tls.clientCa')),
  // What becomes of these depends on the rest of the listener: certificate-draft.ts.
  crlfile: (setting, facts) => void (facts.certificates = { ...facts.certificates, crlBy: setting }),
  'ciphers_tls1.3': noting(lost('TLS 1.3 has the cipher suites of Node')),
  dhparamfile: noting(needless('key exchange is by elliptic curves')),
  use_identity_as_username: identity('nameBy'),
  use_subject_as_username: identity('subjectBy'),
  use_username_as_clientid: noting(
    lost(
      'client ids stay as the clients name them: without it two users can take each other’s client id; bind them in a handler',
    ),
  ),
  psk_hint: noting(lost('TLS with pre-shared keys is not served: use certificates')),
  socket_domain: noting(needless('`host` says it: 0.0.0.0 for IPv4, :: for both')),
  bind_interface: noting(lost('give `host` an address of that interface')),
  http_dir: noting(lost('files are not served: use a web server')),
  websockets_headers_size: noting(needless('headers of an upgrade have a bound of their own')),
  websockets_origin: noting(lost('write listeners[].websocket.allowedOrigins')),
  max_topic_alias: topicAliases('maxIncomingTopicAliases'),
  max_topic_alias_broker: topicAliases('maxOutgoingTopicAliases'),
  accept_protocol_versions: (setting, facts, draft) => {
    const named = setting.value.split(/[,\s]+/)
    const versions = protocolVersionsOf(named)
    if (versions.length > 0) facts.protocolVersions = versions
    if (versions.length > 0) draft.carried(setting, 'listeners[].protocolVersions')
    else draft.note('changed', setting, 'names no version of MQTT: 3.1, 3.1.1 and 5 are served')
  },
}

/** False: it is no setting of listeners. */
export function applyListenerSetting(setting: Setting, draft: Draft, context: ListenerContext): boolean {
  const { shared, current, perListener, listeners } = context
  const { key } = setting
  const isSecurity = Object.hasOwn(security, key)
  if (!isSecurity && !Object.hasOwn(rules, key)) return false
  // Before the first `listener`, most of them make one that has no line of its own, also beside those that have.
  const makesOne = isSecurity ? perListener && key !== 'acl_file' : !makesNone.has(key) && !isDefault(setting)
  if (current === undefined && makesOne && !listeners.includes(shared)) listeners.push(shared)
  if (isSecurity) security[key]!(setting, perListener ? (current ?? shared) : shared, draft)
  else rules[key]!(setting, current ?? shared, draft)
  return true
}

/** Says what is so anyway; Home Assistant's begins with `protocol mqtt`. */
function isDefault({ key, value }: Setting): boolean {
  return key === 'protocol' ? value === 'mqtt' : ['false', '0', '-1'].includes(value)
}

const makesNone = new Set([
  'tls_version',
  'bind_interface',
  'http_dir',
  'websockets_headers_size',
  'websockets_origin',
  'max_topic_alias',
  'max_topic_alias_broker',
  'accept_protocol_versions',
])
