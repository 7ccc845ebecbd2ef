import { chainWithCertificates } from './certificate-draft.ts'
import {
  changed,
  Draft,
  lost,
  lostUnless,
  needless,
  number,
  onOff,
  sessionExpiry,
  type RightsFile,
  type Rule,
  type Setting,
} from './draft.ts'
import { noteAnonymous, toListener, type ListenerFacts } from './listener-draft.ts'
import { MISSING_INCLUDE } from './settings.ts'
import { applyListenerSetting, defaultListener, openListener } from './mosquitto-listener.ts'
import { MosquittoBridges } from './mosquitto-bridge.ts'

/** mosquitto.conf(5), as of 2.0: what it says, in our words. */

const levels: Readonly<Record<string, 'debug' | 'info' | 'warn' | 'error'>> = {
  debug: 'debug',
  all: 'debug',
  information: 'info',
  notice: 'info',
  warning: 'warn',
  error: 'error',
}

const logType: Rule = (setting, draft) => {
  const level = levels[setting.value]
  if (level === undefined)
    return draft.note('needless', setting, 'the log has levels, and no such kind of line')
  const order = ['debug', 'info', 'warn', 'error']
  const known = draft.config.log?.level
  // Several lines name several kinds; the lowest has the others in it.
  if (known === undefined || order.indexOf(level) < order.indexOf(known))
    draft.config.log = { ...draft.config.log, level }
  draft.carried(setting, 'log.level')
}

const persistence: Rule = (setting, draft) => {
  if (onOff(setting, draft) !== true) {
    draft.config.store = { type: 'memory' }
    return draft.carried(setting, 'store.type: memory')
  }
  draft.config.store = { type: 'embedded' }
  draft.note(
    'changed',
    setting,
    'store.type: embedded. Every acknowledged message is on the disk, not the state of some minutes ago',
  )
}

const onStdout = needless('logs are lines of JSON on standard output, for the journal or a collector')
const always = needless('is always so here')
const perMessage = needless('everything is written before it is acknowledged')

/** Both bounds hold there, whichever comes first. */
function leastPacketBytes({ limits }: Draft['config'], value: number): number {
  return Math.min(value, limits?.maxPacketBytes ?? 268_435_456)
}

const rules: Readonly<Record<string, Rule>> = {
  max_inflight_messages: number(
    'limits.maxInflight',
    (c, value) => (c.limits = { ...c.limits, maxInflight: Math.min(value, 65_535) }),
    {
      unlimited: [0],
      unlimitedMeans: 65_535,
    },
  ),
  max_queued_messages: number(
    'session.queueMaxMessages',
    (c, value) => (c.session = { ...c.session, queueMaxMessages: value }),
    {
      unlimited: [0],
    },
  ),
  max_queued_bytes: number(
    'session.queueMaxBytes',
    (c, value) => (c.session = { ...c.session, queueMaxBytes: value }),
    {
      unlimited: [0],
    },
  ),
  max_packet_size: number(
    'limits.maxPacketBytes',
    (c, value) => (c.limits = { ...c.limits, maxPacketBytes: leastPacketBytes(c, value) }),
    {
      unlimited: [0],
      unlimitedMeans: 268_435_456,
    },
  ),
  // Of the payload alone, there; a topic and its header come on top.
  message_size_limit: number(
    'limits.maxPacketBytes (the packet with its topic)',
    (c, value) => (c.limits = { ...c.limits, maxPacketBytes: leastPacketBytes(c, value + 4_096) }),
    { unlimited: [0], unlimitedMeans: 268_435_456 },
  ),
  max_keepalive: number(
    'limits.maxKeepaliveSeconds',
    (c, value) => (c.limits = { ...c.limits, maxKeepaliveSeconds: value }),
    {
      unlimited: [0, 65_535],
      unlimitedMeans: 0,
    },
  ),
  sys_interval: number('sysIntervalMs', (c, value) => (c.sysIntervalMs = value), { scale: 1_000 }),
  persistent_client_expiration: sessionExpiry,
  persistence,
  log_type: logType,
  persistence_location: changed(
    'store.path is another folder: the data of the two is not the same. What is stored there comes over with a bridge',
  ),
  persistence_file: needless('the store is a folder'),
  autosave_interval: perMessage,
  autosave_on_changes: perMessage,
  log_dest: onStdout,
  log_facility: onStdout,
  log_timestamp: onStdout,
  log_timestamp_format: onStdout,
  connection_messages: onStdout,
  websockets_log_level: onStdout,
  set_tcp_nodelay: always,
  retain_available: lostUnless(
    ['true', '1'],
    'retained messages are always served; deny their topics in the ACL',
  ),
  max_qos: lostUnless(['2'], 'QoS 1 and 2 are always served'),
  queue_qos0_messages: lostUnless(['false', '0'], 'QoS 0 messages are not queued for clients that are away'),
  upgrade_outgoing_qos: lostUnless(['false', '0'], 'messages go out at the QoS of the publisher, at most'),
  allow_duplicate_messages: changed(
    'a client with overlapping subscriptions gets a message once, at the highest QoS',
  ),
  check_retain_source: needless('rights are asked for each delivery'),
  max_inflight_bytes: lostUnless(['0'], 'the window is counted in messages (limits.maxInflight)'),
  memory_limit: lostUnless(
    ['0'],
    'bounds are those of queues, packets and connections; the process is bounded by systemd or the container',
  ),
  [MISSING_INCLUDE]: lost(
    'its folder is not there, and what is in its files is missing: import where the broker runs, or copy the folder',
  ),
  pid_file: needless('the service manager knows the process'),
  user: needless('the service manager sets the user: User= in deploy/systemd'),
  per_listener_settings: (setting, draft) => draft.carried(setting, 'listeners[].handlers'),
  plugin: lost('plugins are not loaded; handlers take their place (docs/handlers.md)'),
  auth_plugin: lost('plugins are not loaded; handlers take their place (docs/handlers.md)'),
  auth_plugin_deny_special_chars: needless('client ids and names with + # / get nothing from patterns'),
  allow_zero_length_clientid: lostUnless(
    ['true', '1'],
    'clients without an id are given one (clean session 1)',
  ),
  auto_id_prefix: lost('ids that the broker gives are random, without a prefix'),
  clientid_prefixes: lost('who may have which client id is for a handler to say (docs/handlers.md)'),
  psk_file: lost('TLS with pre-shared keys is not served: use certificates'),
}

export interface Imported {
  readonly draft: Draft
  readonly rightsFiles: readonly RightsFile[]
}

/** Turns settings into a configuration. Pure; the files that are named are looked at later. */
export function importMosquitto(settings: readonly Setting[]): Imported {
  const draft = new Draft()
  const perListener = settings.some(
    ({ key, value }) => key === 'per_listener_settings' && (value === 'true' || value === '1'),
  )
  const bridges = new MosquittoBridges(draft)
  const listeners: ListenerFacts[] = []
  /** Of all listeners, unless per_listener_settings is true. */
  const shared: ListenerFacts = defaultListener()
  let current: ListenerFacts | undefined

  for (const setting of settings) {
    const { key } = setting
    if (setting.value === '') draft.note('lost', setting, 'has no value')
    else if (key === 'listener') {
      current = openListener(setting, draft)
      if (current !== undefined) listeners.push(current)
    } else if (bridges.take(setting)) continue
    else if (Object.hasOwn(rules, key)) rules[key]!(setting, draft)
    else if (/^(auth|plugin)_opt_/.test(key)) draft.note('lost', setting, 'belongs to a plugin')
    else if (!applyListenerSetting(setting, draft, { shared, current, perListener, listeners }))
      draft.note('lost', setting, 'is not known to us as a setting of mosquitto')
  }
  bridges.end()

  const file = settings[0]?.file ?? 'mosquitto.conf'
  noteUnnamed(draft, listeners, shared, file)
  const rightsFiles = finish(draft, listeners, shared, perListener)
  draft.config.session = { expiryMs: 0, ...draft.config.session }
  draft.config.store ??= { type: 'memory' }
  return { draft, rightsFiles }
}

/** mosquitto 2 without any listener: loopback only, for everybody. With others, on every address. */
function noteUnnamed(draft: Draft, listeners: ListenerFacts[], shared: ListenerFacts, file: string): void {
  const whole = { key: 'listener', file, line: 0 }
  if (!listeners.some((facts) => facts !== shared)) {
    if (shared.isNamed === true) return
    if (listeners.length === 0) listeners.push(shared)
    if (shared.allowAnonymous === undefined && shared.passwordFile === undefined) {
      shared.allowAnonymous = true
      shared.anonymousBy = { ...whole, value: '' }
    } else if (shared.allowAnonymous !== true)
      draft.note('changed', whole, 'none: on loopback alone, and there also for clients without user name')
  } else if (listeners.includes(shared) && shared.isNamed !== true) {
    shared.host = '0.0.0.0'
    draft.note(
      'changed',
      whole,
      `what stands before the first \`listener\` opens port ${shared.port} as well, as there: is that meant?`,
    )
  }
}

function finish(
  draft: Draft,
  listeners: readonly ListenerFacts[],
  shared: ListenerFacts,
  perListener: boolean,
): RightsFile[] {
  const rightsFiles = new Map<string, RightsFile>()
  const chainOf = ({ passwordFile, aclFile }: ListenerFacts) => {
    if (passwordFile !== undefined) rightsFiles.set(passwordFile, { kind: 'passwords', source: passwordFile })
    if (aclFile !== undefined) rightsFiles.set(aclFile, { kind: 'acl', source: aclFile })
    return [
      ...(passwordFile === undefined ? [] : [{ type: 'password-file' as const, file: passwordFile }]),
      ...(aclFile === undefined ? [] : [{ type: 'acl-file' as const, file: aclFile }]),
    ]
  }
  if (!perListener) draft.config.handlers = chainOf(shared)
  for (const { anonymousBy, allowAnonymous, passwordFile } of new Set([shared, ...listeners]))
    if (anonymousBy !== undefined)
      noteAnonymous(anonymousBy, allowAnonymous === true, passwordFile !== undefined, draft)
  for (const facts of listeners) {
    const allowAnonymous = perListener ? facts.allowAnonymous : shared.allowAnonymous
    const listener = toListener(
      { ...facts, ...(allowAnonymous === undefined ? {} : { allowAnonymous }) },
      draft,
    )
    // A denial that names another topic denies nothing.
    if (facts.mountpoint !== undefined && (perListener ? facts : shared).aclFile !== undefined)
      draft.note(
        'lost',
        { ...facts.opened, key: 'mount_point' },
        'rules of the ACL are of topics with the mount point there, and without it here: write them so, or give other listeners another ACL (listeners[].handlers)',
      )
    if (listener === undefined) continue
    const own = chainWithCertificates(
      facts.certificates ?? {},
      chainOf(perListener ? facts : shared),
      {
        asksForCertificate: 'tls' in listener && listener.tls?.clientCa !== undefined,
        takesProxyHeader: false,
        allowAnonymous: allowAnonymous === true,
        nameIsEnough: true,
      },
      draft,
    )
    const handlers = own ?? (perListener ? chainOf(facts) : undefined)
    draft.config.listeners.push(handlers === undefined ? listener : { ...listener, handlers })
  }
  return [...rightsFiles.values()]
}
