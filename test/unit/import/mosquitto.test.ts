import { describe, expect, it } from 'vitest'
import { importMosquitto } from '../../../src/import/mosquitto.ts'
import { notesOf, settingsOf } from './settings-of.ts'

const importOf = (text: string) => importMosquitto(settingsOf(text, 'mosquitto')).draft
const configOf = (text: string) => importOf(text).config

describe('listeners of mosquitto', () => {
  it('is open on loopback only when none is named, as mosquitto 2 is', () => {
    expect(configOf('').listeners).toEqual([
      { type: 'tcp', host: '127.0.0.1', port: 1883, allowAnonymous: true },
    ])
    expect(configOf('allow_anonymous false').listeners).toEqual([
      { type: 'tcp', host: '127.0.0.1', port: 1883 },
    ])
  })

  it('become ours, each of its kind', () => {
    const text = `
      allow_anonymous true
      listener 1883
      max_connections 50
      mount_point site/
      listener 8883 10.0.0.1
      certfile /c.pem
      keyfile /k.pem
      cafile /ca.pem
      require_certificate true
      tls_version tlsv1.3
      listener 8083
      protocol websockets
      listener 0 /run/mqtt.sock`
    expect(configOf(text).listeners).toEqual([
      {
        type: 'tcp',
        host: '0.0.0.0',
        port: 1883,
        maxConnections: 50,
        mountpoint: 'site/',
        allowAnonymous: true,
      },
      {
        type: 'tls',
        host: '10.0.0.1',
        port: 8883,
        tls: { cert: '/c.pem', key: '/k.pem', clientCa: '/ca.pem', minVersion: 'TLSv1.3' },
        allowAnonymous: true,
      },
      { type: 'ws', host: '0.0.0.0', port: 8083, allowAnonymous: true },
      { type: 'unix', path: '/run/mqtt.sock', allowAnonymous: true },
    ])
  })

  it('serve the versions of MQTT that they served, and as many topic aliases', () => {
    const draft = importOf(`
      listener 1883
      accept_protocol_versions 4, 5
      max_topic_alias 20
      listener 1884
      accept_protocol_versions 3
      max_topic_alias 5
      max_topic_alias_broker 7`)
    expect(draft.config.listeners).toMatchObject([
      { port: 1_883, protocolVersions: ['3.1.1', '5'] },
      { port: 1_884, protocolVersions: ['3.1'] },
    ])
    expect(draft.config.mqtt5).toEqual({ maxIncomingTopicAliases: 20, maxOutgoingTopicAliases: 7 })
    expect([...notesOf(draft, 'lost'), ...notesOf(draft, 'needless')]).toEqual([])
    expect(notesOf(importOf('listener 1883\naccept_protocol_versions 6'), 'changed')).toEqual([
      'accept_protocol_versions',
    ])
  })

  it('keeps the address that a port was bound to, in whichever order', () => {
    for (const text of ['bind_address 127.0.0.1\nport 1900', 'port 1900\nbind_address 127.0.0.1'])
      expect(configOf(text).listeners).toEqual([{ type: 'tcp', host: '127.0.0.1', port: 1_900 }])
    expect(configOf('port 1900').listeners[0]).toMatchObject({ host: '0.0.0.0' })
  })

  it('opens port 1883 as well for settings before the first one, as mosquitto does', () => {
    const text = 'per_listener_settings true\npassword_file /p\nlistener 2001\nallow_anonymous true'
    const draft = importOf(text)
    expect(draft.config.listeners).toEqual([
      { type: 'tcp', host: '0.0.0.0', port: 1883, handlers: [{ type: 'password-file', file: '/p' }] },
      { type: 'tcp', host: '0.0.0.0', port: 2001, allowAnonymous: true, handlers: [] },
    ])
    expect(notesOf(draft, 'changed')).toContain('listener')
    const idle = 'protocol mqtt\nmax_connections -1\nrequire_certificate false\nlistener 2001'
    expect(configOf(idle).listeners).toHaveLength(1)
    expect(configOf('max_connections 5\nlistener 2001').listeners).toHaveLength(2)
    // Not for those that are of all listeners.
    expect(configOf('password_file /p\nlistener 2001').listeners).toHaveLength(1)
  })

  it.each([
    ['true', true],
    ['1', true],
    ['false', undefined],
    ['0', undefined],
  ])('takes %s as a yes or no', (word, asks) => {
    const text = `listener 8883\ncertfile /c\nkeyfile /k\ncafile /ca\nrequire_certificate ${word}`
    expect(configOf(text).listeners[0]).toMatchObject({ type: 'tls' })
    expect('clientCa' in (configOf(text).listeners[0] as { tls: object }).tls || undefined).toBe(asks)
  })

  it('says that rules of an ACL have no mount point here', () => {
    const text = 'acl_file /a\nlistener 1883\nmount_point site/\nlistener 1884'
    expect(notesOf(importOf(text), 'lost')).toEqual(['mount_point'])
    const apart = 'per_listener_settings true\nlistener 1883\nmount_point site/\nlistener 1884\nacl_file /a'
    expect(notesOf(importOf(apart), 'lost')).toEqual([])
  })

  it('is not more open for a word that is neither', () => {
    const draft = importOf('listener 1883\nallow_anonymous True')
    expect(draft.config.listeners[0]).not.toHaveProperty('allowAnonymous', true)
    expect(notesOf(draft, 'lost')).toEqual(['allow_anonymous'])
  })

  it.each([
    ['listener 1883\nallow_anonymous true', ['allow_anonymous']],
    ['', ['listener']],
    ['password_file /p', ['listener']],
    ['allow_anonymous true\npassword_file /p\nlistener 1883', []],
  ])('says when others are let in than there: %j', (text, keys) => {
    expect(notesOf(importOf(text), 'changed')).toEqual(keys)
  })

  it('does not ask for client certificates where mosquitto does not', () => {
    const text = 'listener 8883\ncertfile /c.pem\nkeyfile /k.pem\ncafile /ca.pem'
    expect(configOf(text).listeners[0]).toMatchObject({ type: 'tls', tls: { cert: '/c.pem', key: '/k.pem' } })
    expect(configOf(text).listeners[0]).not.toHaveProperty('tls.clientCa')
  })

  it('leaves a listener out that would be without the certificates it asks for', () => {
    const draft = importOf('listener 8883\ncertfile /c.pem\nkeyfile /k.pem\nrequire_certificate true')
    expect(draft.config.listeners).toEqual([])
    expect(notesOf(draft, 'lost')).toEqual(['listener'])
  })

  it('share one chain, or have their own by per_listener_settings', () => {
    const text = (perListener: boolean) => `
      per_listener_settings ${perListener}
      listener 1883
      password_file /p1
      allow_anonymous true
      listener 1884
      password_file /p2
      acl_file /a2`
    const apart = configOf(text(true))
    expect(apart.handlers).toBeUndefined()
    expect(apart.listeners.map(({ handlers, allowAnonymous }) => ({ handlers, allowAnonymous }))).toEqual([
      { handlers: [{ type: 'password-file', file: '/p1' }], allowAnonymous: true },
      {
        handlers: [
          { type: 'password-file', file: '/p2' },
          { type: 'acl-file', file: '/a2' },
        ],
        allowAnonymous: undefined,
      },
    ])
    const together = configOf(text(false))
    expect(together.handlers).toEqual([
      { type: 'password-file', file: '/p2' },
      { type: 'acl-file', file: '/a2' },
    ])
    expect(together.listeners.map(({ allowAnonymous }) => allowAnonymous)).toEqual([true, true])
  })
})

describe('settings of mosquitto', () => {
  it.each([
    ['max_inflight_messages 7', { limits: { maxInflight: 7 } }],
    ['max_inflight_messages 0', { limits: { maxInflight: 65_535 } }],
    ['max_queued_messages 5', { session: { expiryMs: 0, queueMaxMessages: 5 } }],
    ['max_packet_size 2000', { limits: { maxPacketBytes: 2_000 } }],
    ['message_size_limit 1000', { limits: { maxPacketBytes: 5_096 } }],
    ['max_packet_size 2000\nmessage_size_limit 1000', { limits: { maxPacketBytes: 2_000 } }],
    ['max_keepalive 65535', { limits: { maxKeepaliveSeconds: 0 } }],
    ['sys_interval 30', { sysIntervalMs: 30_000 }],
    ['persistent_client_expiration 2w', { session: { expiryMs: 1_209_600_000 } }],
    ['persistent_client_expiration 1y', { session: { expiryMs: 31_536_000_000 } }],
    ['persistence true', { store: { type: 'embedded' } }],
    ['', { store: { type: 'memory' }, session: { expiryMs: 0 } }],
    ['log_type error\nlog_type warning', { log: { level: 'warn' } }],
  ])('%s', (text, expected) => {
    const draft = importOf(text)
    expect(draft.config).toMatchObject(expected)
    expect(notesOf(draft, 'lost')).toEqual([])
  })

  it.each([
    'max_queued_messages many',
    'persistent_client_expiration 3x',
    'use_identity_as_username true',
    'clientid_prefixes secure-',
    'retain_available false',
    'max_qos 1',
    'plugin /usr/lib/x.so',
    'plugin_opt_x 1',
    'psk_file /psk',
    'constructor x',
    '__proto__ x',
    'no_such_setting',
    'certfile',
  ])('reports %s as not carried over', (text) => {
    expect(notesOf(importOf(text), 'lost')).toEqual([text.split(' ')[0]])
  })

  it('has a note for each setting, with its file and line', () => {
    const draft = importOf('\nmax_qos 2\n\nsys_interval 1')
    expect(draft.notes.map(({ file, line, key }) => `${file}:${line} ${key}`)).toEqual([
      'test.conf:2 max_qos',
      'test.conf:4 sys_interval',
      'test.conf:0 listener',
    ])
  })
})

describe('bridges of mosquitto', () => {
  const text = `
    connection cloud.example
    address mq.example:8883
    topic sensors/# out 1 home/ site7/
    topic cmd/# in 2 "" site7/
    topic plain
    remote_username site7
    remote_password s3cret
    remote_clientid site7-bridge
    cleansession true
    keepalive_interval 30
    restart_timeout 5 30
    bridge_protocol_version mqttv50
    bridge_receive_maximum 40
    bridge_cafile /ca.pem
    listener 1883`

  it('become ours, with the password apart', () => {
    const draft = importOf(text)
    expect(draft.config.bridges).toEqual([
      {
        name: 'cloud.example',
        url: 'mqtts://mq.example:8883',
        username: 'site7',
        clientId: 'site7-bridge',
        cleanSession: true,
        keepaliveSeconds: 30,
        reconnectMinMs: 5_000,
        reconnectMaxMs: 30_000,
        protocol: '5',
        maxInflight: 40,
        tls: { ca: '/ca.pem' },
        topics: [
          { filter: 'sensors/#', direction: 'out', qos: 1, localPrefix: 'home/', remotePrefix: 'site7/' },
          { filter: 'cmd/#', direction: 'in', qos: 2, remotePrefix: 'site7/' },
          { filter: 'plain', direction: 'out', qos: 0 },
        ],
      },
    ])
    expect(draft.bridgePasswords).toEqual(new Map([['cloud.example', 's3cret']]))
    expect(JSON.stringify(draft.notes)).not.toContain('s3cret')
    expect(notesOf(draft, 'lost')).toEqual([])
  })

  it('do not send a password in the clear for TLS that cannot be carried over', () => {
    for (const line of ['bridge_capath /etc/ssl/certs', 'bridge_psk 00', 'bridge_tls_use_os_certs true'])
      expect(configOf(`connection a\naddress h\ntopic x\n${line}`).bridges[0]?.url).toBe('mqtts://h')
  })

  it.each([
    ['connection a\naddress h\ntopic x sideways', ['topic', 'connection']],
    ['connection a\ntopic x', ['connection']],
    ['connection a\naddress h\ntopic "" in 0 l/x r/x', ['topic', 'connection']],
    ['address h', ['address']],
  ])('reports what makes no bridge: %j', (lines, keys) => {
    const draft = importOf(lines)
    expect(draft.config.bridges).toEqual([])
    expect(notesOf(draft, 'lost')).toEqual(keys)
  })
})
