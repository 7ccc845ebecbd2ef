import { dirname, join } from 'node:path'
import { chainWithCertificates } from './certificate-draft.ts'
import {
  changed,
  Draft,
  lost,
  lostUnless,
  needless,
  number,
  sessionExpiry,
  wholeNumber,
  type RightsFile,
  type Rule,
  type Setting,
} from './draft.ts'
import { toListener } from './listener-draft.ts'
import type { Imported } from './mosquitto.ts'
import { MISSING_INCLUDE } from './settings.ts'
import { VerneListeners } from './vernemq-listener.ts'
import { takeBridges } from './vernemq-bridge.ts'
import { decideOnTopics, takeWebhooks } from './vernemq-webhooks.ts'

/** vernemq.conf, of VerneMQ 1.x and 2.x: what it says, in our words. */

const isOn = (value: string): boolean => value === 'on' || value === 'true'
const unlimitedPacket = { unlimited: [0], unlimitedMeans: 268_435_456 }
const stdout = needless('logs are lines of JSON on standard output, for the journal or a collector')
const byRedis = needless('pods share Redis, and need no names or cookies: store.type redis')
const onErlang = needless('belongs to Erlang')
const handlerOrder = needless('passwords are asked before the ACL, and each decides about its own')
const graphite = lost('figures are served to Prometheus (/metrics), and not pushed')
const netsplit = changed(
  'a pod that has lost Redis refuses new sessions and holds QoS 1 and 2, and forgets nothing',
)

const levels: Readonly<Record<string, 'debug' | 'info' | 'warn' | 'error'>> = {
  debug: 'debug',
  info: 'info',
  notice: 'info',
  warning: 'warn',
  error: 'error',
  critical: 'error',
  alert: 'error',
  emergency: 'error',
}

const packetBytes = (where: string, headBytes: number): Rule =>
  number(
    where,
    (c, value) => (c.limits = { ...c.limits, maxPacketBytes: Math.min(value + headBytes, 268_435_456) }),
    unlimitedPacket,
  )

/** Both VerneMQ's offline and online queue are one queue here. */
const queueMessages: Rule = (setting, draft) => {
  const value = wholeNumber(setting, draft)
  if (value === undefined) return
  const isOffline = setting.key === 'max_offline_messages'
  if (isOffline && value === 0)
    return draft.note(
      'lost',
      setting,
      'messages for clients that are away are always queued; end sessions with session.expiryMs',
    )
  if (value <= 0)
    return draft.note('changed', setting, 'no limit there; here session.queueMaxMessages is one')
  const known = draft.config.session?.queueMaxMessages ?? 0
  draft.config.session = { ...draft.config.session, queueMaxMessages: Math.max(known, value) }
  draft.carried(setting, 'session.queueMaxMessages')
}

/** Two settings, for clients of 3.1.1 and of 5, are one here: the least, whichever comes first. */
function leastInflight({ limits }: Draft['config'], value: number): number {
  return Math.min(value, 65_535, limits?.maxInflight ?? 65_535)
}

const rules: Readonly<Record<string, Rule>> = {
  max_client_id_size: number(
    'limits.maxClientIdBytes',
    (c, value) => (c.limits = { ...c.limits, maxClientIdBytes: value }),
  ),
  persistent_client_expiration: sessionExpiry,
  max_inflight_messages: number(
    'limits.maxInflight',
    (c, value) => (c.limits = { ...c.limits, maxInflight: leastInflight(c, value) }),
    {
      unlimited: [0],
      unlimitedMeans: 65_535,
    },
  ),
  max_offline_messages: queueMessages,
  max_online_messages: queueMessages,
  max_message_rate: number(
    'limits.messagesPerSecond',
    (c, value) => (c.limits = { ...c.limits, messagesPerSecond: value }),
  ),
  message_size_limit: packetBytes('limits.maxPacketBytes (the packet with its topic)', 4_096),
  max_message_size: packetBytes('limits.maxPacketBytes (the packet with its topic)', 4_096),
  m5_max_packet_size: packetBytes('limits.maxPacketBytes', 0),
  sys_interval: number('sysIntervalMs', (c, value) => (c.sysIntervalMs = value), { scale: 1_000 }),
  systree_interval: number('sysIntervalMs', (c, value) => (c.sysIntervalMs = value)),
  systree_enabled: (setting, draft) => draft.carried(setting, 'sysIntervalMs'),
  'log.console.level': (setting, draft) => {
    draft.config.log = { ...draft.config.log, level: levels[setting.value] ?? 'info' }
    draft.carried(setting, 'log.level')
  },
  allow_multiple_sessions: lostUnless(['off'], 'a client id has one connection [MQTT-3.1.4-2]'),
  upgrade_outgoing_qos: lostUnless(['off'], 'messages go out at the QoS of the publisher, at most'),
  suppress_lwt_on_session_takeover: lostUnless(
    ['off'],
    'the will of a connection that is taken over is published [MQTT-3.1.2-8]',
  ),
  topic_max_depth: number(
    'limits.maxTopicLevels',
    (c, value) => (c.limits = { ...c.limits, maxTopicLevels: value }),
  ),
  max_msgs_per_drain_step: needless('what fits into the window goes out'),
  max_drain_time: needless('sessions do not move between pods: they are in Redis'),
  retry_interval: needless('messages are sent again at a reconnect, and not while connected [MQTT-4.4.0-1]'),
  queue_deliver_mode: lostUnless(['fanout'], 'a client id has one connection'),
  queue_type: lostUnless(['fifo'], 'queues are first in, first out'),
  max_last_will_delay: changed(
    'a will waits as long as its client has asked, and no longer than its session',
  ),
  receive_max_client: number(
    'limits.maxInflight',
    (c, value) => (c.limits = { ...c.limits, maxInflight: leastInflight(c, value) }),
  ),
  receive_max_broker: number(
    'limits.maxInflightIncoming',
    (c, value) => (c.limits = { ...c.limits, maxInflightIncoming: value }),
  ),
  topic_alias_max_client: number(
    'mqtt5.maxIncomingTopicAliases',
    (c, value) => (c.mqtt5 = { ...c.mqtt5, maxIncomingTopicAliases: Math.min(value, 65_535) }),
  ),
  topic_alias_max_broker: number(
    'mqtt5.maxOutgoingTopicAliases',
    (c, value) => (c.mqtt5 = { ...c.mqtt5, maxOutgoingTopicAliases: Math.min(value, 65_535) }),
  ),
  shared_subscription_policy: changed('members get messages in turn, those of this pod first'),
  remote_enqueue_timeout: needless('one write to Redis, under store.redis.holdMs'),
  coordinate_registrations: needless('a client id is claimed in Redis'),
  trade_consistency: netsplit,
  allow_register_during_netsplit: netsplit,
  allow_publish_during_netsplit: netsplit,
  allow_subscribe_during_netsplit: netsplit,
  allow_unsubscribe_during_netsplit: netsplit,
  nodename: byRedis,
  distributed_cookie: byRedis,
  outgoing_clustering_buffer_size: byRedis,
  outgoing_connect_timeout: byRedis,
  reg_views: needless('there is one, a trie with remembered results'),
  metadata_plugin: byRedis,
  message_store: needless('the store is store.type'),
  [MISSING_INCLUDE]: lost(
    'its folder is not there, and what is in its files is missing: import where the broker runs, or copy the folder',
  ),
  accept_eula: needless('Apache-2.0: there is nothing to accept'),
  http_modules: needless('/live, /ready, /metrics, /api/v1 and the dashboard are on the admin port'),
  'plugins.vmq_bridge': needless('bridges are in the configuration'),
  'plugins.vmq_diversity': lostUnless(
    ['off'],
    'Lua scripts are not run: a module handler takes their place (docs/handlers.md)',
  ),
  'plugins.vmq_webhooks': (setting, draft) => {
    if (isOn(setting.value)) draft.carried(setting, 'handlers: http')
    else draft.note('needless', setting, 'has no effect')
  },
  'plugins.vmq_passwd': (setting, draft) => draft.carried(setting, 'handlers: password-file'),
  'plugins.vmq_acl': (setting, draft) => {
    if (isOn(setting.value)) draft.carried(setting, 'handlers: acl-file')
  },
  'plugins.vmq_acl.priority': handlerOrder,
  'plugins.vmq_passwd.priority': handlerOrder,
  'vmq_acl.acl_reload_interval': needless('the file is read again when it changes'),
  'vmq_passwd.password_reload_interval': needless('the file is read again when it changes'),
  acl_reload_interval: needless('the file is read again when it changes'),
  password_reload_interval: needless('the file is read again when it changes'),
}

/** Whole families of settings, by how they begin. */
const families: readonly (readonly [prefix: string, rule: Rule])[] = [
  ['log.', stdout],
  ['leveldb.', needless('the store has no knobs but store.cacheBytes')],
  ['erlang.', onErlang],
  ['tcp_listen_options', needless('sockets are opened with fitting options')],
  ['graphite_', graphite],
  ['graphite.', graphite],
  [
    'vmq_diversity.',
    lost('scripts and their databases are not run: a module handler takes their place (docs/handlers.md)'),
  ],
  [
    'plugins.',
    lost('plugins of others are not loaded: a module handler takes their place (docs/handlers.md)'),
  ],
  [
    'DOCKER_VERNEMQ_',
    lost(
      'is a variable of the Docker image, which writes vernemq.conf by it: import /vernemq/etc/vernemq.conf of the container',
    ),
  ],
  ['metadata', byRedis],
  ['vmq_swc.', byRedis],
  ['vmq_plumtree.', byRedis],
]

const fileKeys: Readonly<Record<string, RightsFile['kind']>> = {
  'vmq_acl.acl_file': 'acl',
  acl_file: 'acl',
  'vmq_passwd.password_file': 'passwords',
  password_file: 'passwords',
}

/** Of a setting that is there twice the last one counts, also in an included file. */
function lastOfEach(settings: readonly Setting[], draft: Draft): Setting[] {
  const last = new Map(settings.map((setting) => [setting.key, setting]))
  return settings.filter((setting) => {
    const counts = last.get(setting.key)
    if (counts === setting) return true
    draft.note('needless', setting, `${counts?.file}:${counts?.line} says it again, and that counts`)
    return false
  })
}

/** Turns settings into a configuration. Pure; the files that are named are looked at later. */
export function importVernemq(settings: readonly Setting[], file: string): Imported {
  const draft = new Draft()
  const listeners = new VerneListeners(draft)
  const last = (key: string) => settings.findLast((setting) => setting.key === key)
  const files: Partial<Record<RightsFile['kind'], string>> = {}

  const webhooks = takeWebhooks(takeBridges(lastOfEach(settings, draft), draft), draft)
  for (const setting of webhooks.others) {
    const { key } = setting
    const family = families.find(([prefix]) => key.startsWith(prefix))
    if (listeners.take(setting) || key === 'allow_anonymous') continue
    if (Object.hasOwn(fileKeys, key)) {
      files[fileKeys[key]!] = setting.value
      draft.carried(setting, fileKeys[key] === 'acl' ? 'handlers: acl-file' : 'handlers: password-file')
    } else if (Object.hasOwn(rules, key)) rules[key]!(setting, draft)
    else if (family !== undefined) family[1](setting, draft)
    else draft.note('lost', setting, 'is not known to us as a setting of VerneMQ')
  }

  if (!isOn(last('systree_enabled')?.value ?? 'on')) draft.config.sysIntervalMs = 0

  // Both plugins are on when nothing is said, with files beside the configuration.
  const plugin = (name: string) => isOn(last(`plugins.${name}`)?.value ?? 'on')
  const rightsFiles: RightsFile[] = []
  if (plugin('vmq_passwd'))
    rightsFiles.push({ kind: 'passwords', source: files.passwords ?? join(dirname(file), 'vmq.passwd') })
  const acl = last('plugins.vmq_acl')
  if (acl !== undefined && !plugin('vmq_acl') && !decideOnTopics(webhooks.handlers))
    draft.note(
      'lost',
      acl,
      'without an ACL nobody may publish or subscribe there, but for what a plugin allows; here everyone who is let in may do everything: write an acl-file, or a module handler (docs/handlers.md)',
    )
  if (plugin('vmq_acl'))
    rightsFiles.push({ kind: 'acl', source: files.acl ?? join(dirname(file), 'vmq.acl') })
  const sourceOf = (kind: RightsFile['kind']) => rightsFiles.find((rights) => rights.kind === kind)?.source
  const [passwords, list] = [sourceOf('passwords'), sourceOf('acl')]
  draft.config.handlers = [
    ...(passwords === undefined ? [] : [{ type: 'password-file' as const, file: passwords }]),
    ...webhooks.handlers,
    // The last: it leaves nothing to others.
    ...(list === undefined ? [] : [{ type: 'acl-file' as const, file: list, dialect: 'vernemq' as const }]),
  ]

  const anonymous = last('allow_anonymous')
  const allowAnonymous = anonymous !== undefined && isOn(anonymous.value)
  if (anonymous !== undefined && allowAnonymous)
    draft.note(
      'changed',
      anonymous,
      'listeners[].allowAnonymous: there it lets everybody in whatever they send; here clients without user name',
    )
  else if (anonymous !== undefined) draft.carried(anonymous, 'listeners[].allowAnonymous')
  for (const facts of listeners.all(allowAnonymous)) {
    const listener = toListener(facts, draft)
    if (listener === undefined) continue
    const handlers = chainWithCertificates(
      facts.certificates ?? {},
      draft.config.handlers,
      {
        asksForCertificate: 'tls' in listener && listener.tls?.clientCa !== undefined,
        takesProxyHeader: facts.proxyProtocol !== undefined,
        allowAnonymous: facts.allowAnonymous === true,
        nameIsEnough: false,
      },
      draft,
    )
    draft.config.listeners.push(handlers === undefined ? listener : { ...listener, handlers })
  }
  draft.config.session = { expiryMs: 0, ...draft.config.session }
  draft.config.store = { type: 'embedded' }
  return { draft, rightsFiles }
}
