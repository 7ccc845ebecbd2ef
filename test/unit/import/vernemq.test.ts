import { describe, expect, it } from 'vitest'
import { importVernemq } from '../../../src/import/vernemq.ts'
import { notesOf, settingsOf } from './settings-of.ts'

const importOf = (text: string) =>
  importVernemq(settingsOf(text, 'vernemq'), '/etc/vernemq/vernemq.conf').draft
const configOf = (text: string) => importOf(text).config

describe('listeners of VerneMQ', () => {
  it('takes the last of two lines, and the nearest of three levels, also where it says off', () => {
    const draft = importOf(`
      listener.tcp.default = 127.0.0.1:1883
      listener.tcp.default = 0.0.0.0:1900
      listener.tcp.proxy_protocol = on
      listener.tcp.default.proxy_protocol = off
      listener.mountpoint = a
      listener.tcp.default.mountpoint = off
      listener.tcp.allow_anonymous_override = on
      listener.tcp.default.allow_anonymous_override = off`)
    expect(draft.config.listeners).toEqual([
      { type: 'tcp', name: 'tcp-default', host: '0.0.0.0', port: 1900 },
    ])
    expect(notesOf(draft, 'needless')).toEqual(['listener.tcp.default'])
  })

  it('is not in the clear for want of a certificate', () => {
    const draft = importOf('listener.ssl.a = 0.0.0.0:8883\nlistener.wss.b = 0.0.0.0:8884')
    expect(draft.config.listeners).toEqual([])
    expect(notesOf(draft, 'lost')).toEqual(['listener.ssl.a', 'listener.wss.b'])
  })

  it('says that an API which others can reach has its keys in the clear', () => {
    expect(notesOf(importOf('listener.http.default = 0.0.0.0:8888'), 'changed')).toEqual([
      'listener.http.default',
    ])
    expect(notesOf(importOf('listener.http.default = 127.0.0.1:8888'), 'changed')).toEqual([])
  })

  it('become ours, with what is said for all, for a kind, and for one', () => {
    const text = `
      listener.max_connections = 10000
      listener.tcp.max_connections = 500
      listener.tcp.local.max_connections = 5
      listener.nr_of_acceptors = 10
      listener.tcp.local = 127.0.0.1:1883
      listener.tcp.lan = 0.0.0.0:1884
      listener.tcp.lan.proxy_protocol = on
      listener.tcp.lan.allowed_protocol_versions = 4
      listener.ssl.certfile = /c.pem
      listener.ssl.keyfile = /k.pem
      listener.ssl.cafile = /ca.pem
      listener.ssl.default = [::]:8883
      listener.ssl.default.require_certificate = on
      listener.ws.default = 10.0.0.1:8080
      listener.ws.default.mountpoint = web
      listener.http.metrics = 127.0.0.1:8888
      listener.vmq.clustering = 0.0.0.0:44053`
    const draft = importOf(text)
    expect(draft.config.listeners).toEqual([
      { type: 'tcp', name: 'tcp-local', host: '127.0.0.1', port: 1883, maxConnections: 5 },
      {
        type: 'tcp',
        name: 'tcp-lan',
        host: '0.0.0.0',
        port: 1884,
        maxConnections: 500,
        proxyProtocol: 'required',
        protocolVersions: ['3.1.1'],
      },
      {
        type: 'tls',
        name: 'ssl-default',
        host: '::',
        port: 8883,
        maxConnections: 10_000,
        tls: { cert: '/c.pem', key: '/k.pem', clientCa: '/ca.pem' },
      },
      {
        type: 'ws',
        name: 'ws-default',
        host: '10.0.0.1',
        port: 8080,
        maxConnections: 10_000,
        mountpoint: 'web/',
      },
    ])
    expect(draft.config.admin).toEqual({ host: '127.0.0.1', port: 8888 })
    expect(notesOf(draft, 'lost')).toEqual([])
    expect(notesOf(draft, 'changed')).toEqual(['listener.ws.default.mountpoint'])
  })

  it('notes a setting once, however many listeners it concerns', () => {
    const draft = importOf(
      'listener.mountpoint = x\nlistener.tcp.a = 127.0.0.1:1\nlistener.tcp.b = 127.0.0.1:2',
    )
    expect(notesOf(draft, 'changed')).toEqual(['listener.mountpoint'])
    expect(draft.config.listeners.map(({ mountpoint }) => mountpoint)).toEqual(['x/', 'x/'])
  })

  it.each(['listener.tcp.a = nonsense', 'listener.quic.a = 1.1.1.1:1', 'listener.tcp.a.b.c = 1'])(
    'reports %s as not carried over',
    (text) => {
      expect(notesOf(importOf(text), 'lost')).toEqual([text.split(' ')[0]])
    },
  )
})

describe('handlers of VerneMQ', () => {
  it('are its password file and access list, which are on unless they are turned off', () => {
    expect(configOf('').handlers).toEqual([
      { type: 'password-file', file: '/etc/vernemq/vmq.passwd' },
      { type: 'acl-file', file: '/etc/vernemq/vmq.acl', dialect: 'vernemq' },
    ])
    const text = 'plugins.vmq_passwd = off\nvmq_acl.acl_file = /my.acl'
    expect(configOf(text).handlers).toEqual([{ type: 'acl-file', file: '/my.acl', dialect: 'vernemq' }])
  })

  it('let clients without a user name in where everybody is let in, and says how that differs', () => {
    const draft = importOf('allow_anonymous = on\nlistener.tcp.a = 127.0.0.1:1883')
    expect(draft.config.listeners[0]).toMatchObject({ allowAnonymous: true })
    expect(notesOf(draft, 'changed')).toEqual(['allow_anonymous'])
    expect(
      configOf('allow_anonymous = off\nlistener.tcp.a = 127.0.0.1:1883').listeners[0],
    ).not.toHaveProperty('allowAnonymous')
  })
})

describe('settings of VerneMQ', () => {
  it('of MQTT 5 are carried over', () => {
    const draft = importOf(`
      listener.tcp.default = 127.0.0.1:1883
      listener.tcp.allowed_protocol_versions = 3,4,5,131
      max_inflight_messages = 20
      receive_max_client = 10
      receive_max_broker = 30
      topic_alias_max_client = 5
      topic_alias_max_broker = 6
      max_last_will_delay = 60`)
    expect(draft.config).toMatchObject({
      listeners: [{ protocolVersions: ['3.1', '3.1.1', '5'] }],
      limits: { maxInflight: 10, maxInflightIncoming: 30 },
      mqtt5: { maxIncomingTopicAliases: 5, maxOutgoingTopicAliases: 6 },
    })
    expect(notesOf(draft, 'changed')).toEqual(['max_last_will_delay'])
  })

  it('of MQTT 5 count whatever their order, and with brackets as VerneMQ 1 has written them', () => {
    const draft = importOf(`
      listener.tcp.default = 127.0.0.1:1883
      listener.tcp.allowed_protocol_versions = [3,4]
      receive_max_client = 10
      max_inflight_messages = 20`)
    expect(draft.config).toMatchObject({
      listeners: [{ protocolVersions: ['3.1', '3.1.1'] }],
      limits: { maxInflight: 10 },
    })
  })

  it.each([
    ['max_client_id_size = 100', { limits: { maxClientIdBytes: 100 } }],
    ['max_inflight_messages = 0', { limits: { maxInflight: 65_535 } }],
    ['max_offline_messages = 300\nmax_online_messages = 200', { session: { queueMaxMessages: 300 } }],
    ['max_message_rate = 9', { limits: { messagesPerSecond: 9 } }],
    ['max_message_size = 0', { limits: { maxPacketBytes: 268_435_456 } }],
    ['systree_interval = 20000', { sysIntervalMs: 20_000 }],
    ['systree_enabled = off', { sysIntervalMs: 0 }],
    ['persistent_client_expiration = 1w', { session: { expiryMs: 604_800_000 } }],
    ['log.console.level = notice', { log: { level: 'info' } }],
    ['leveldb.maximum_memory.percent = 70\nerlang.async_threads = 64\nnodename = a@b', {}],
  ])('%s', (text, expected) => {
    const draft = importOf(text)
    expect(draft.config).toMatchObject(expected)
    expect(notesOf(draft, 'lost')).toEqual([])
  })

  it.each([
    'allow_multiple_sessions = on',
    'max_offline_messages = 0',
    'plugins.my_plugin = on',
    'vmq_diversity.postgres.host = x',
    'graphite_host = x',
    'upgrade_outgoing_qos = on',
    'constructor = x',
    'unheard_of = 1',
  ])('reports %s as not carried over', (text) => {
    expect(notesOf(importOf(text), 'lost')).toEqual([text.split(' ')[0]])
  })

  it('never repeats a value that may be a secret', () => {
    const text =
      'distributed_cookie = c00kie\nvmq_bridge.tcp.a = h:1\nvmq_bridge.tcp.a.password = pa55\nodd = pa55'
    expect(JSON.stringify(importOf(text).notes)).not.toMatch(/c00kie|pa55/)
  })
})

describe('webhooks of VerneMQ', () => {
  const on = 'plugins.vmq_webhooks = on\nplugins.vmq_passwd = off\nplugins.vmq_acl = off\n'
  const webhook = (name: string, hook: string, endpoint: string, more = '') =>
    `vmq_webhooks.${name}.hook = ${hook}\nvmq_webhooks.${name}.endpoint = ${endpoint}\n${more}`

  it('become one handler for each service, before the access list', () => {
    const text =
      'plugins.vmq_webhooks = on\n' +
      webhook('a', 'auth_on_register', 'http://auth:1/x', 'vmq_webhooks.a.response_timeout = 5000\n') +
      webhook('b', 'auth_on_publish', 'http://auth:1/x', 'vmq_webhooks.b.response_timeout = 5000\n') +
      webhook('c', 'on_publish', 'https://log/', 'vmq_webhooks.c.base64encode = off\n') +
      'vmq_webhooks.pool_max_connections = 50\nvmq_webhooks.cafile = /ca.pem\nvmq_webhooks.tls_version = tlsv1.2'
    const draft = importOf(text)
    const http = { type: 'http', format: 'vernemq', maxSockets: 50 }
    expect(draft.config.handlers).toEqual([
      { type: 'password-file', file: '/etc/vernemq/vmq.passwd' },
      {
        ...http,
        endpoints: ['http://auth:1/x'],
        hooks: ['authConnect', 'authPublish'],
        payload: 'base64',
        timeoutMs: 5_000,
      },
      { ...http, endpoints: ['https://log/'], hooks: ['publish'], payload: 'text', tls: { ca: '/ca.pem' } },
      { type: 'acl-file', file: '/etc/vernemq/vmq.acl', dialect: 'vernemq' },
    ])
    expect(draft.config.auth).toEqual({ timeoutMs: 6_000 })
    expect(notesOf(draft, 'lost')).toEqual([])
  })

  it('are asked in the order of their names, also when services take turns', () => {
    const text =
      on +
      webhook('3', 'auth_on_publish', 'http://b') +
      webhook('1', 'auth_on_register', 'http://a') +
      webhook('2', 'auth_on_register', 'http://b') +
      webhook('4', 'auth_on_publish', 'http://a')
    expect(configOf(text).handlers).toMatchObject([
      { endpoints: ['http://a'], hooks: ['authConnect'] },
      { endpoints: ['http://b'], hooks: ['authConnect', 'authPublish'] },
      { endpoints: ['http://a'], hooks: ['authPublish'] },
    ])
  })

  it('have nothing open behind them when they decide on topics, and the report says so otherwise', () => {
    const register = on + webhook('a', 'auth_on_register', 'http://a')
    expect(notesOf(importOf(register), 'lost')).toEqual(['plugins.vmq_acl'])
    const all =
      register + webhook('b', 'auth_on_publish', 'http://a') + webhook('c', 'auth_on_subscribe', 'http://a')
    expect(notesOf(importOf(all), 'lost')).toEqual([])
  })

  it('of MQTT 5 are for its clients alone, and the others then for the others', () => {
    const text =
      on +
      webhook('1', 'auth_on_register', 'http://a') +
      webhook('2', 'auth_on_register_m5', 'http://a') +
      webhook('3', 'auth_on_publish_m5', 'http://b') +
      webhook('4', 'auth_on_subscribe_m5', 'http://b') +
      webhook('5', 'on_client_gone', 'http://c') +
      webhook('6', 'on_unsubscribe_m5', 'http://c')
    const draft = importOf(text)
    expect(draft.config.handlers).toMatchObject([
      { endpoints: ['http://a'], hooks: ['authConnect'], mqtt5Hooks: ['authConnect'] },
      { endpoints: ['http://b'], hooks: [], mqtt5Hooks: ['authPublish', 'authSubscribe'] },
      { endpoints: ['http://c'], hooks: ['disconnect'], mqtt5Hooks: ['disconnect', 'unsubscribe'] },
    ])
    expect(notesOf(draft, 'lost')).toEqual([])
    expect(notesOf(draft, 'changed')).toEqual(['vmq_webhooks.5.hook', 'vmq_webhooks.6.hook'])
  })

  it('of both versions at two services are asked each in its turn', () => {
    const text =
      on + webhook('1', 'auth_on_register', 'http://a') + webhook('2', 'auth_on_register_m5', 'http://b')
    expect(configOf(text).handlers).toMatchObject([
      { endpoints: ['http://a'], hooks: ['authConnect'], mqtt5Hooks: [] },
      { endpoints: ['http://b'], hooks: [], mqtt5Hooks: ['authConnect'] },
    ])
  })

  it('say what does not come over, and nothing of what was off', () => {
    const text =
      on +
      webhook('a', 'on_deliver', 'http://a') +
      webhook('b', 'on_auth_m5', 'http://a') +
      'vmq_webhooks.c.hook = on_register\nvmq_webhooks.verify_peer = off\nvmq_webhooks.constructor = 1\nvmq_webhooks.a.toString = 1'
    const draft = importOf(text)
    expect(notesOf(draft, 'lost')).toEqual([
      'vmq_webhooks.a.hook',
      'vmq_webhooks.b.hook',
      'vmq_webhooks.verify_peer',
      'vmq_webhooks.constructor',
      'vmq_webhooks.a.toString',
      'vmq_webhooks.c.hook',
      'plugins.vmq_acl',
    ])
    expect(draft.config.handlers).toEqual([])
    const off = importOf(webhook('a', 'auth_on_register', 'http://a'))
    expect(notesOf(off, 'needless')).toEqual(['vmq_webhooks.a.hook', 'vmq_webhooks.a.endpoint'])
    expect(off.config.handlers).toMatchObject([{ type: 'password-file' }, { type: 'acl-file' }])
  })
})

describe('bridges of VerneMQ', () => {
  it('become ours; * is #', () => {
    const draft = importOf(`
      plugins.vmq_bridge = on
      vmq_bridge.ssl.br0 = mq.example:8883
      vmq_bridge.ssl.br0.username = u
      vmq_bridge.ssl.br0.password = p
      vmq_bridge.ssl.br0.cafile = /ca.pem
      vmq_bridge.ssl.br0.topic.1 = /demo/+ both 1
      vmq_bridge.ssl.br0.topic.2 = sensors/* in remote`)
    expect(draft.config.bridges).toEqual([
      {
        name: 'br0',
        url: 'mqtts://mq.example:8883',
        username: 'u',
        tls: { ca: '/ca.pem' },
        topics: [
          { filter: '/demo/+', direction: 'both', qos: 1 },
          { filter: 'sensors/#', direction: 'in', qos: 0, localPrefix: 'remote' },
        ],
      },
    ])
    expect(draft.bridgePasswords).toEqual(new Map([['br0', 'p']]))
    expect(notesOf(draft, 'lost')).toEqual([])
  })
})

describe('rights of VerneMQ', () => {
  it('are said to be wider here without an ACL', () => {
    expect(notesOf(importOf('plugins.vmq_acl = off'), 'lost')).toEqual(['plugins.vmq_acl'])
    expect(notesOf(importOf('plugins.vmq_acl = on'), 'lost')).toEqual([])
  })

  it('has no $SYS where it is off, in whichever order', () => {
    for (const lines of [
      ['systree_enabled = off', 'systree_interval = 20000'],
      ['systree_interval = 20000', 'systree_enabled = off'],
    ])
      expect(configOf(lines.join('\n')).sysIntervalMs).toBe(0)
  })

  it('sends who gives variables of the Docker image to the file that they make', () => {
    const draft = importOf('DOCKER_VERNEMQ_USER_ALICE = hunter2')
    expect(notesOf(draft, 'lost')).toEqual(['DOCKER_VERNEMQ_USER_ALICE'])
    expect(JSON.stringify(draft.notes)).not.toContain('hunter2')
  })
})
