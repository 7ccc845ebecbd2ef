import { finishBridge, openBridge, type BridgeFacts, type BridgeRule } from './bridge-draft.ts'
import { parseBridgeTopic } from './bridge-topic.ts'
import {
  lost,
  lostUnless,
  needless,
  noting,
  sameText,
  wholeNumber,
  type Draft,
  type Setting,
} from './draft.ts'

const seconds =
  (where: string, put: (facts: BridgeFacts, value: number) => void): BridgeRule =>
  (setting, facts, draft) => {
    const value = wholeNumber(setting, draft)
    if (value === undefined || value < 1) return
    put(facts, value)
    draft.carried(setting, `bridges[].${where}`)
  }

const rules: Readonly<Record<string, BridgeRule>> = {
  topic: (setting, facts, draft) => {
    // `#` begins a comment in vernemq.conf, so `*` stands for it.
    const topic = parseBridgeTopic(setting.value.replaceAll('*', '#'))
    if (typeof topic === 'string') return draft.note('lost', setting, `the topic map ${topic}`)
    facts.bridge.topics.push(topic)
    draft.carried(setting, 'bridges[].topics')
  },
  client_id: (setting, facts, draft) => {
    if (setting.value !== 'auto') facts.bridge.clientId = setting.value
    draft.carried(setting, 'bridges[].clientId')
  },
  username: sameText('bridges[].username', (facts, value) => (facts.bridge.username = value)),
  password: (setting, facts, draft) => {
    draft.bridgePasswords.set(facts.name, setting.value)
    draft.carried(setting, 'bridges[].passwordFile')
  },
  cleansession: (setting, facts, draft) => {
    facts.bridge.cleanSession = setting.value === 'on'
    draft.carried(setting, 'bridges[].cleanSession')
  },
  keepalive_interval: seconds('keepaliveSeconds', (facts, value) => (facts.bridge.keepaliveSeconds = value)),
  restart_timeout: seconds('reconnectMinMs', (facts, value) => (facts.bridge.reconnectMinMs = value * 1_000)),
  max_outgoing_buffered_messages: noting(
    needless('what waits is a session of this broker, with session.queueMaxMessages'),
  ),
  try_private: noting(
    lostUnless(['on'], 'the other broker is always asked not to send back what came from here'),
  ),
  cafile: sameText('bridges[].tls.ca', (facts, value) => (facts.tls.ca = value)),
  certfile: sameText('bridges[].tls.cert', (facts, value) => (facts.tls.cert = value)),
  keyfile: sameText('bridges[].tls.key', (facts, value) => (facts.tls.key = value)),
  capath: noting(lost('name one file with all CAs: bridges[].tls.ca')),
  insecure: noting(
    lostUnless(
      ['off'],
      'the name in the certificate is checked: set bridges[].tls.servername to the one it has',
    ),
  ),
  tls_version: noting(needless('TLS 1.2 or newer is spoken')),
  identity: noting(lostUnless([''], 'TLS with pre-shared keys is not spoken: use certificates')),
  psk: noting(lostUnless([''], 'TLS with pre-shared keys is not spoken: use certificates')),
}

const PREFIX = /^(?:vmq_)?bridge\.(tcp|ssl)\.([^.]+)(?:\.(.+))?$/

/** Takes the settings of bridges (`vmq_bridge.tcp.NAME...`, in VerneMQ 1.0 `bridge.tcp.NAME...`); gives the others. */
export function takeBridges(settings: readonly Setting[], draft: Draft): Setting[] {
  const bridges = new Map<string, BridgeFacts>()
  const others: Setting[] = []
  for (const setting of settings) {
    const [, kind, name, option] = PREFIX.exec(setting.key) ?? []
    if (kind === undefined || name === undefined) {
      others.push(setting)
      continue
    }
    const facts = bridges.get(`${kind}.${name}`) ?? openBridge(setting, name, kind === 'ssl')
    bridges.set(`${kind}.${name}`, facts)
    // `topic.1`, `topic.2`: the number is only a name.
    const key = option?.split('.')[0]
    if (key === undefined) {
      facts.address = setting.value
      draft.carried(setting, 'bridges[].url')
    } else if (Object.hasOwn(rules, key)) rules[key]!(setting, facts, draft)
    else draft.note('lost', setting, 'is not known to us as a setting of VerneMQ')
  }
  for (const facts of bridges.values()) finishBridge(facts, draft)
  return others
}
