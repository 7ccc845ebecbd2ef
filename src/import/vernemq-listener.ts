import { isLoopback } from '../config/network-names.ts'
import type { CertificateFacts } from './certificate-draft.ts'
import {
  Draft,
  lost,
  lostUnless,
  needless,
  noting,
  ourName,
  sameText,
  type RuleOf,
  type Setting,
} from './draft.ts'
import { protocolVersionsOf, readTlsVersion, type ListenerFacts } from './listener-draft.ts'

/** Which of ours a kind of listener becomes; `http` is the admin server, and the others join nodes of a cluster. */
const kinds = {
  tcp: { isWebSocket: false, isTls: false },
  ssl: { isWebSocket: false, isTls: true },
  ws: { isWebSocket: true, isTls: false },
  wss: { isWebSocket: true, isTls: true },
  http: undefined,
  https: undefined,
  vmq: undefined,
  vmqs: undefined,
} as const
type Kind = keyof typeof kinds

type ListenerRule = RuleOf<ListenerFacts>

const isOn = (value: string): boolean => value === 'on' || value === 'true'

/** A later place for the setting (of a listener itself) counts before an earlier one (of all). */
function takeCertificate(
  setting: Setting,
  by: keyof CertificateFacts,
  facts: ListenerFacts,
  draft: Draft,
): void {
  const { [by]: _before, ...others } = facts.certificates ?? {}
  const isIdle = ['', 'off', 'false'].includes(setting.value)
  facts.certificates = isIdle ? others : { ...others, [by]: setting }
  if (isIdle) draft.note('needless', setting, 'has no effect')
}

const rules: Readonly<Record<string, ListenerRule>> = {
  max_connections: (setting, facts) => {
    delete facts.maxConnections
    if (/^\d{1,9}$/.test(setting.value) && Number(setting.value) > 0)
      facts.maxConnections = Number(setting.value)
  },
  mountpoint: (setting, facts, draft) => {
    delete facts.mountpoint
    if (setting.value === 'off' || setting.value === '') return
    // There a name for a space of its own; here a prefix of topics.
    facts.mountpoint = `${setting.value}/`
    draft.note(
      'changed',
      setting,
      `listeners[].mountpoint: topics of these clients begin with "${setting.value}/" for all others`,
    )
  },
  cafile: sameText('listeners', (facts, value) => (facts.caFile = value)),
  certfile: sameText('listeners', (facts, value) => (facts.certFile = value)),
  keyfile: sameText('listeners', (facts, value) => (facts.keyFile = value)),
  ciphers: (setting, facts) => {
    if (setting.value !== '') facts.ciphers = setting.value
  },
  require_certificate: (setting, facts) => void (facts.requireCertificate = isOn(setting.value)),
  tls_version: (setting, facts, draft) => {
    const version = readTlsVersion(setting, draft)
    if (version !== undefined) facts.minVersion = version
  },
  proxy_protocol: (setting, facts) => {
    delete facts.proxyProtocol
    if (isOn(setting.value)) facts.proxyProtocol = 'required'
  },
  allowed_protocol_versions: (setting, facts, draft) => {
    // `3,4,5`; VerneMQ 1.x has documented `[3,4]` as well.
    const named = setting.value.split(/[[\],\s]+/)
    const versions = protocolVersionsOf(named)
    if (versions.length > 0) facts.protocolVersions = versions
    else draft.note('changed', setting, 'names no version of MQTT: 3.1, 3.1.1 and 5 are served')
  },
  allow_anonymous_override: (setting, facts) => {
    facts.allowAnonymous = isOn(setting.value) || facts.allowsAnonymousToAll === true
  },
  // What becomes of these depends on the rest of the listener: certificate-draft.ts.
  crlfile: (setting, facts, draft) => takeCertificate(setting, 'crlBy', facts, draft),
  use_identity_as_username: (setting, facts, draft) => takeCertificate(setting, 'nameBy', facts, draft),
  proxy_protocol_use_cn_as_username: (setting, facts, draft) =>
    takeCertificate(setting, 'proxyNameBy', facts, draft),
  psk_support: noting(lostUnless(['off'], 'TLS with pre-shared keys is not served: use certificates')),
  nr_of_acceptors: noting(needless('one process accepts')),
  depth: noting(needless('chains of certificates have the depth of OpenSSL')),
  eccs: noting(needless('curves are those of Node')),
  buffer_sizes: noting(needless('bounds are limits.maxOutboundBytes')),
  high_watermark: noting(needless('bounds are limits.maxOutboundBytes')),
  low_watermark: noting(needless('bounds are limits.maxOutboundBytes')),
  high_msgq_watermark: noting(needless('bounds are limits.maxOutboundBytes')),
  low_msgq_watermark: noting(needless('bounds are limits.maxOutboundBytes')),
  max_connection_lifetime: noting(lostUnless(['0', 'infinity'], 'connections may live as long as they like')),
  http_modules: noting(needless('/live, /ready, /metrics, /api/v1 and the dashboard are on the admin port')),
  config_mod: noting(needless('belongs to the admin server of VerneMQ')),
  config_fun: noting(needless('belongs to the admin server of VerneMQ')),
}

/** Their notes come with the chain of the listener. */
const certificateOptions = new Set([
  'crlfile',
  'use_identity_as_username',
  'proxy_protocol_use_cn_as_username',
])
const tlsOptions = new Set(['cafile', 'certfile', 'keyfile', 'ciphers', 'require_certificate', 'tls_version'])

/** `listener.KIND.NAME = ADDRESS`, and settings at three levels: of all, of a kind, of one. */
export class VerneListeners {
  readonly #draft: Draft
  readonly #opened: { kind: Kind; name: string; setting: Setting }[] = []
  /** By `listener`, `listener.KIND`, `listener.KIND.NAME`. */
  readonly #options = new Map<string, Setting[]>()

  constructor(draft: Draft) {
    this.#draft = draft
  }

  /** True: it is about listeners. */
  take(setting: Setting): boolean {
    const [first, ...words] = setting.key.split('.')
    if (first !== 'listener') return false
    const option = words.at(-1) ?? ''
    const [kind = '', name] = words
    const isKind = Object.hasOwn(kinds, kind)
    if (isKind && words.length === 2 && !Object.hasOwn(rules, option)) {
      this.#open(kind as Kind, name ?? '', setting)
      return true
    }
    if (!Object.hasOwn(rules, option) || words.length > 3 || (words.length > 1 && !isKind)) {
      this.#draft.note('lost', setting, 'is not known to us as a setting of VerneMQ')
      return true
    }
    const place = ['listener', ...words.slice(0, -1)].join('.')
    const options = this.#options.get(place) ?? []
    this.#options.set(place, options)
    options.push(setting)
    return true
  }

  #open(kind: Kind, name: string, setting: Setting): void {
    if (kind === 'vmq' || kind === 'vmqs')
      return needless('pods meet in Redis, and have no port of their own')(setting, this.#draft)
    if (kind === 'https') return lost('write admin.tls')(setting, this.#draft)
    if (kind === 'http') return this.#openAdmin(setting)
    this.#opened.push({ kind, name, setting })
  }

  /** The first is where /metrics, API and dashboard are. Beyond loopback the API would go over the wire in the clear. */
  #openAdmin(setting: Setting): void {
    const place = readAddress(setting.value)
    if (place === undefined || 'path' in place)
      return lost('is not an address with a port')(setting, this.#draft)
    if (this.#draft.config.admin !== undefined) return lost('there is one admin server')(setting, this.#draft)
    this.#draft.config.admin = { host: place.host, port: place.port }
    if (isLoopback(place.host)) this.#draft.carried(setting, 'admin.host, admin.port')
    else
      this.#draft.note(
        'changed',
        setting,
        'admin.host, admin.port: the API and the dashboard are there too, and keys for them go over the wire in the clear: set admin.tls, or admin.host to 127.0.0.1',
      )
  }

  /** Call it when every setting was taken. */
  all(allowAnonymous: boolean): ListenerFacts[] {
    const used = new Set<Setting>()
    const facts = this.#opened.flatMap(({ kind, name, setting }) => {
      const place = readAddress(setting.value)
      const { isWebSocket, isTls } = kinds[kind] ?? { isWebSocket: false, isTls: false }
      if (place === undefined) {
        this.#draft.note('lost', setting, 'is not an address with a port')
        return []
      }
      const made: ListenerFacts = {
        opened: setting,
        isWebSocket,
        isTls,
        ...('path' in place ? { host: '', port: 0, socket: place.path } : place),
        name: ourName(`${kind}-${name}`),
        allowAnonymous,
        allowsAnonymousToAll: allowAnonymous,
      }
      this.#draft.carried(setting, 'listeners')
      for (const level of ['listener', `listener.${kind}`, `listener.${kind}.${name}`]) {
        for (const option of this.#options.get(level) ?? []) {
          const word = option.key.split('.').at(-1) ?? ''
          // Certificates that are named for all listeners are for those with TLS.
          if (!isTls && tlsOptions.has(word)) continue
          const rule = rules[word]
          const before = this.#draft.notes.length
          // One note is enough, also where a setting concerns several listeners.
          if (used.has(option)) rule?.(option, made, new Draft())
          else rule?.(option, made, this.#draft)
          if (!used.has(option) && this.#draft.notes.length === before && !certificateOptions.has(word))
            this.#draft.carried(option, 'listeners')
          used.add(option)
        }
      }
      return [made]
    })
    for (const option of [...this.#options.values()].flat())
      if (!used.has(option)) this.#draft.note('needless', option, 'is of listeners that there are none of')
    return facts
  }
}

/** `127.0.0.1:1883`, `[::]:1883`, `local:/path`. */
export function readAddress(text: string): { host: string; port: number } | { path: string } | undefined {
  if (text.startsWith('local:/')) return { path: text.slice('local:'.length) }
  const [, host, port] = /^(\[[0-9a-fA-F:]+\]|[^:\s]+):(\d{1,5})$/.exec(text) ?? []
  if (host === undefined || Number(port) > 65_535) return undefined
  return { host: host.replaceAll(/[[\]]/g, ''), port: Number(port) }
}
