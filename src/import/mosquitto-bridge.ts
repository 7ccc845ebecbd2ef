import { finishBridge, openBridge, type BridgeFacts, type BridgeRule } from './bridge-draft.ts'
import { parseBridgeTopic } from './bridge-topic.ts'
import {
  lost,
  lostUnless,
  needless,
  noting,
  onOff,
  sameText,
  wholeNumber,
  type Draft,
  type Setting,
} from './draft.ts'

const tlsText = (where: string, put: (facts: BridgeFacts, value: string) => void): BridgeRule =>
  sameText(`bridges[].tls.${where}`, (facts, value) => {
    facts.usesTls = true
    put(facts, value)
  })

/** Lost; but what asked for TLS does not send a password in the clear. */
const tlsLost =
  (text: string): BridgeRule =>
  (setting, facts, draft) => {
    facts.usesTls = true
    draft.note('lost', setting, text)
  }

const clientId: BridgeRule = sameText('bridges[].clientId', (facts, value) => (facts.bridge.clientId = value))
const username: BridgeRule = sameText('bridges[].username', (facts, value) => (facts.bridge.username = value))
const password: BridgeRule = (setting, facts, draft) => {
  draft.bridgePasswords.set(facts.name, setting.value)
  draft.carried(setting, 'bridges[].passwordFile')
}
const address: BridgeRule = (setting, facts, draft) => {
  const [first, ...others] = setting.value.split(/\s+/)
  facts.address = first
  if (others.length === 0) draft.carried(setting, 'bridges[].url')
  else draft.note('changed', setting, 'only the first address is taken: give it a name that resolves to all')
}

const rules: Readonly<Record<string, BridgeRule>> = {
  address,
  addresses: address,
  topic: (setting, facts, draft) => {
    const topic = parseBridgeTopic(setting.value)
    if (typeof topic === 'string') return draft.note('lost', setting, `the topic map ${topic}`)
    facts.bridge.topics.push(topic)
    draft.carried(setting, 'bridges[].topics')
  },
  clientid: clientId,
  remote_clientid: clientId,
  username,
  remote_username: username,
  password,
  remote_password: password,
  cleansession: (setting, facts, draft) => {
    facts.bridge.cleanSession = onOff(setting, draft) ?? false
    draft.carried(setting, 'bridges[].cleanSession')
  },
  keepalive_interval: (setting, facts, draft) => {
    const seconds = wholeNumber(setting, draft)
    if (seconds === undefined || seconds < 1) return
    facts.bridge.keepaliveSeconds = seconds
    draft.carried(setting, 'bridges[].keepaliveSeconds')
  },
  restart_timeout: (setting, facts, draft) => {
    const [first, last] = setting.value.split(/\s+/).map(Number)
    if (first === undefined || !Number.isInteger(first) || first < 1)
      return draft.note('lost', setting, 'is not a number of seconds')
    facts.bridge.reconnectMinMs = first * 1_000
    if (last !== undefined && last >= first) facts.bridge.reconnectMaxMs = last * 1_000
    draft.carried(setting, 'bridges[].reconnectMinMs, reconnectMaxMs')
  },
  bridge_protocol_version: (setting, facts, draft) => {
    if (setting.value === 'mqttv50') facts.bridge.protocol = '5'
    else if (setting.value === 'mqttv311') facts.bridge.protocol = '3.1.1'
    else return draft.note('changed', setting, 'MQTT 3.1.1 is spoken to the other broker')
    draft.carried(setting, 'bridges[].protocol')
  },
  bridge_cafile: tlsText('ca', (facts, value) => (facts.tls.ca = value)),
  bridge_certfile: tlsText('cert', (facts, value) => (facts.tls.cert = value)),
  bridge_keyfile: tlsText('key', (facts, value) => (facts.tls.key = value)),
  bridge_insecure: (setting, facts, draft) => {
    if (onOff(setting, draft) !== true) return draft.note('needless', setting, 'has no effect')
    draft.note(
      'lost',
      setting,
      'the name in the certificate is checked: set bridges[].tls.servername to the one it has',
    )
  },
  bridge_tls_version: noting(needless('TLS 1.2 or newer is spoken')),
  bridge_require_ocsp: noting(lostUnless(['false', '0'], 'OCSP is not asked')),
  bridge_capath: tlsLost('name one file with all CAs: bridges[].tls.ca'),
  bridge_alpn: noting(lost('no protocol name is sent in the TLS handshake')),
  bridge_identity: tlsLost('TLS with pre-shared keys is not spoken: use certificates'),
  bridge_psk: tlsLost('TLS with pre-shared keys is not spoken: use certificates'),
  bridge_tls_use_os_certs: (setting, facts, draft) => {
    if (onOff(setting, draft) === true) facts.usesTls = true
    draft.carried(setting, 'bridges[].url')
  },
  bridge_bind_address: noting(lost('the system chooses the address')),
  bridge_outgoing_retain: noting(lostUnless(['true', '1'], 'retained messages stay retained')),
  bridge_attempt_unsubscribe: noting(
    needless('a stored session at the other broker keeps its subscriptions: delete it there'),
  ),
  bridge_max_packet_size: noting(lostUnless(['0'], 'the bound is limits.maxPacketBytes')),
  bridge_receive_maximum: (setting, facts, draft) => {
    const count = wholeNumber(setting, draft)
    if (count === undefined || count < 1) return
    facts.bridge.maxInflight = count
    draft.carried(setting, 'bridges[].maxInflight')
  },
  bridge_session_expiry_interval: noting(
    lost('the session at the other broker ends after session.expiryMs, without cleanSession'),
  ),
  bridge_max_topic_alias: noting(needless('topic aliases are not used')),
  local_clientid: noting(needless('the session here has the name of the bridge')),
  local_username: noting(needless('a bridge has the rights of its maps')),
  local_password: noting(needless('a bridge has the rights of its maps')),
  notifications: noting(needless('the state is in the metrics and the log')),
  notifications_local_only: noting(needless('the state is in the metrics and the log')),
  notification_topic: noting(lost('the state is in the metrics and the log')),
  idle_timeout: noting(needless('a bridge stays connected')),
  round_robin: noting(lostUnless(['false', '0'], 'a bridge has one address')),
  start_type: noting(lostUnless(['automatic'], 'a bridge is always connected')),
  threshold: noting(needless('a bridge stays connected')),
  try_private: noting(
    lostUnless(['true', '1'], 'the other broker is always asked not to send back what came from here'),
  ),
}

/** The sections `connection NAME`. Between them and the next `listener` all settings are the bridge's. */
export class MosquittoBridges {
  readonly #draft: Draft
  #current: BridgeFacts | undefined

  constructor(draft: Draft) {
    this.#draft = draft
  }

  /** True: it was one of ours. */
  take(setting: Setting): boolean {
    if (setting.key === 'connection') {
      this.end()
      this.#current = openBridge(setting, setting.value || 'bridge')
      this.#draft.carried(setting, 'bridges[].name')
      return true
    }
    const rule = Object.hasOwn(rules, setting.key) ? rules[setting.key] : undefined
    if (rule === undefined) return false
    if (this.#current === undefined) this.#draft.note('lost', setting, 'stands before any `connection`')
    else rule(setting, this.#current, this.#draft)
    return true
  }

  /** No more settings of the section. */
  end(): void {
    const facts = this.#current
    this.#current = undefined
    if (facts !== undefined) finishBridge(facts, this.#draft)
  }
}
