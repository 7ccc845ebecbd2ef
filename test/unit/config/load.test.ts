import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { defaultConfig, loadConfig, parseConfig, type LoadOptions } from '../../../src/config/load.ts'
import { ConfigError } from '../../../src/config/mistake.ts'
import { warnOfCertificates } from '../../../src/config/files.ts'
import { configExample } from '../../../src/config/example.ts'
import { createCa } from '../../integration/listeners/certificates.ts'

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tmq-config-'))
})
afterEach(async () => {
  await rm(folder, { recursive: true })
})

async function write(text: string, name = 'tunnelmq.yaml'): Promise<string> {
  const file = join(folder, name)
  await writeFile(file, text)
  return file
}

/** The mistakes, one a line, with the folder left out. */
async function mistakesOf(options: Partial<LoadOptions>): Promise<string[]> {
  try {
    await loadConfig({ env: {}, ...options })
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    const lines = error.message.split('\n')
    const wanted = lines.length === 1 ? lines : lines.slice(1)
    return wanted.map((line) => line.trim().replaceAll(`${folder}/`, ''))
  }
  return []
}

const tcp = 'listeners: [{ type: tcp, port: 1883, allowAnonymous: true }]\n'

describe('loadConfig without a file', () => {
  it('lets everyone in, on loopback only', async () => {
    const { config, warnings, file } = await loadConfig({ env: {} })
    expect(config.listeners.map((listener) => listener.type)).toEqual(['tcp', 'ws'])
    for (const listener of config.listeners)
      expect(listener).toMatchObject({ host: '127.0.0.1', allowAnonymous: true })
    expect(config).toEqual({
      ...defaultConfig(),
      store: { ...defaultConfig().store, path: join(process.cwd(), 'data') },
      admin: { ...defaultConfig().admin, localKeyFile: join(process.cwd(), 'data/admin.key') },
    })
    expect(warnings).toEqual([])
    expect(file).toBeUndefined()
  })

  it('refuses to open itself to others by a change of host alone', async () => {
    expect(await mistakesOf({ env: { TUNNELMQ_LISTENERS_0_HOST: '0.0.0.0' } })).toEqual([
      'TUNNELMQ_LISTENERS_0_HOST: listeners.0.host: 0.0.0.0 can be reached by others: name handlers, or set listeners.0.allowAnonymous',
    ])
    const flags = ['listeners.1.proxyProtocol=required']
    expect(await mistakesOf({ overrides: flags })).toHaveLength(1)
  })

  it('opens itself when that is asked for, and warns', async () => {
    const env = { TUNNELMQ_LISTENERS_0_HOST: '0.0.0.0', TUNNELMQ_LISTENERS_0_ALLOW_ANONYMOUS: 'true' }
    const { config, warnings } = await loadConfig({ env })
    expect(config.listeners[0]).toMatchObject({ host: '0.0.0.0', allowAnonymous: true })
    expect(warnings.map(({ message }) => message)).toEqual([
      'everyone who reaches 0.0.0.0:1883 may read and write every topic',
    ])
  })

  it('lets nobody in past handlers that the environment names', async () => {
    const file = await write('alice:x\n', 'passwords')
    const { config } = await loadConfig({
      env: { TUNNELMQ_HANDLERS: `[{ type: password-file, file: ${file} }]` },
    })
    expect(config.listeners.map(({ allowAnonymous }) => allowAnonymous)).toEqual([false, false])
  })
})

describe('loadConfig with a file', () => {
  it('lets nobody in unasked', async () => {
    const { config, warnings } = await loadConfig({
      file: await write('listeners: [{ type: tcp, port: 1 }]'),
      env: {},
    })
    expect(config.listeners[0]?.allowAnonymous).toBe(false)
    expect(warnings[0]).toMatchObject({
      line: 1,
      message: 'lets nobody in: no handlers, and allowAnonymous is off',
    })
  })

  it('warns of a certificate that clients will not take, now or yet', async () => {
    const dayMs = 86_400_000
    const { cert, key } = await createCa(folder) // valid for two days from now on
    const { config, warnings } = await loadConfig({
      file: await write(
        `listeners: [{ type: tls, port: 1, allowAnonymous: true, tls: { cert: ${cert}, key: ${key} } }]`,
      ),
      env: {},
    })
    expect(warnings).toEqual([])
    const path = ['listeners', 0, 'tls', 'cert']
    expect(await warnOfCertificates(config, Date.now() + 3 * dayMs)).toEqual([
      { path, message: expect.stringContaining(`${cert} has expired on `) },
    ])
    expect(await warnOfCertificates(config, Date.now() - dayMs)).toEqual([
      { path, message: expect.stringContaining('is the clock right?') },
    ])
  })

  it('takes an empty file, and sections whose keys are all commented out', async () => {
    const { config } = await loadConfig({ file: await write('store:\n  # path: /x\nlimits:\n'), env: {} })
    expect(config.limits).toEqual(defaultConfig().limits)
    await loadConfig({ file: await write(''), env: {} })
  })

  it('takes the generated example as the defaults', async () => {
    const { config } = await loadConfig({ file: await write(configExample()), env: {} })
    expect(config).toEqual((await loadConfig({ env: {} })).config)
  })

  it('starts relative paths of the file at its folder, and all others at the working directory', async () => {
    await write('x', 'acl.txt')
    const file = await write(`${tcp}store: { path: queue }\nhandlers: [{ type: acl-file, file: acl.txt }]`)
    const { config } = await loadConfig({ file, env: {} })
    expect(config.store.path).toBe(join(folder, 'queue'))
    expect(config.handlers[0]).toMatchObject({ file: join(folder, 'acl.txt') })
    const overridden = await loadConfig({ file, env: { TUNNELMQ_STORE_PATH: 'other' } })
    expect(overridden.config.store.path).toBe(join(process.cwd(), 'other'))
  })

  it('cannot be changed afterwards', async () => {
    const { config } = await loadConfig({ file: await write(tcp), env: {} })
    expect(Object.isFrozen(config.listeners[0])).toBe(true)
    expect(Object.isFrozen(config.limits)).toBe(true)
  })

  it('says when the file is not there', async () => {
    const loading = loadConfig({ file: join(folder, 'none.yaml'), env: {} })
    await expect(loading).rejects.toMatchObject({
      code: 'TMQ_CONFIG',
      message: expect.stringContaining('does not exist'),
    })
  })

  it('names every mistake at once, with line, column and key', async () => {
    const file = await write(
      [
        'listeners:',
        '  - type: tpc',
        '  - type: tcp',
        '    port: 188a',
        '    trustedProxies: [10.0.0.0/33]',
        '  - type: tls',
        '    port: 8883',
        '    prot: 5',
        '    tls: { cert: a.pem, key: b.pem }',
        '    protocolVersions: [3.1]',
        'limits:',
        '  maxPaketBytes: 4',
        '  maxConnections: -1',
        'retained: 5',
        'stroe: {}',
      ].join('\n'),
    )
    expect(await mistakesOf({ file })).toEqual([
      'tunnelmq.yaml:2:11: listeners.0.type: "tpc" is not one of tcp, tls, ws, wss, unix, coap, http, https, proxy; did you mean tcp?',
      'tunnelmq.yaml:4:11: listeners.1.port: "188a" is not a whole number from 0 to 65535',
      'tunnelmq.yaml:5:22: listeners.1.trustedProxies.0: "10.0.0.0/33" is not an address or CIDR, such as 10.0.0.0/8 or fd00::/8',
      'tunnelmq.yaml:8:5: listeners.2.prot: is not known; did you mean port?',
      'tunnelmq.yaml:9:18: listeners.2.tls.cert: a.pem does not exist',
      'tunnelmq.yaml:9:30: listeners.2.tls.key: b.pem does not exist',
      'tunnelmq.yaml:10:24: listeners.2.protocolVersions.0: 3.1 is not one of 3.1, 3.1.1, 5; put it in quotes',
      'tunnelmq.yaml:12:3: limits.maxPaketBytes: is not known; did you mean maxPacketBytes?',
      'tunnelmq.yaml:13:19: limits.maxConnections: -1 is not a whole number from 1',
      'tunnelmq.yaml:14:11: retained: 5 is not a mapping of keys to values',
      'tunnelmq.yaml:15:1: stroe: is not known; did you mean store?',
    ])
  })

  it('names mistakes of YAML, and files that are no mapping', async () => {
    expect((await mistakesOf({ file: await write('a: [1\nb: 2\n') }))[0]).toMatch(/^tunnelmq\.yaml:2:1: /)
    expect(await mistakesOf({ file: await write('a: 1\na: 2\n') })).toEqual([
      'tunnelmq.yaml:2:1: Map keys must be unique',
    ])
    expect((await mistakesOf({ file: await write('- a') })).join()).toContain('is not a mapping')
    expect((await mistakesOf({ file: await write('listeners: &a [*a]') })).join()).toContain('an alias')
    expect((await mistakesOf({ file: await write(`${tcp}---\n${tcp}`) })).join()).toContain(
      'another document',
    )
  })

  it('is told in the words of the key, where it has some', async () => {
    const text = `${tcp}mqtt5: { responseInformation: 'a/{clientid}', serverReference: "a\\0" }`
    const mistakes = (await mistakesOf({ file: await write(text) })).join('\n')
    expect(mistakes).toContain(
      '"a/{clientid}" is to be the beginning of a topic, with {clientId} and {username}',
    )
    expect(mistakes).toContain(String.raw`"a\u0000" is to be without control characters`)
    const overrides = [`cluster.podName=${'x'.repeat(254)}`, 'store.path=']
    expect(await mistakesOf({ overrides })).toEqual([
      '--set store.path: store.path: "" is empty',
      expect.stringMatching(/cluster\.podName: "x+\.\.\. is longer than 253 characters$/),
    ])
  })

  it('does not show a secret that is of the wrong kind', async () => {
    const text = 'listeners: [{ type: tls, port: 1, tls: { cert: a, key: b, passphrase: 12345 } }]'
    const mistakes = (await mistakesOf({ file: await write(text) })).join('\n')
    expect(mistakes).toContain('passphrase: the value is not a text; put it in quotes')
    expect(mistakes).not.toContain('12345')
  })
})

describe('environment and flags', () => {
  it('win over the file, and flags over the environment', async () => {
    const file = await write(`${tcp}limits: { maxPacketBytes: 1, maxTopicLevels: 2, maxInflight: 3 }`)
    const env = { TUNNELMQ_LIMITS_MAX_TOPIC_LEVELS: '20', TUNNELMQ_LIMITS_MAX_INFLIGHT: '30' }
    const { config } = await loadConfig({ file, env, overrides: ['limits.maxInflight=300'] })
    expect(config.limits).toMatchObject({ maxPacketBytes: 1, maxTopicLevels: 20, maxInflight: 300 })
  })

  it('reach into lists, and append to them', async () => {
    const env = {
      TUNNELMQ_LISTENERS_1_TYPE: 'ws',
      TUNNELMQ_LISTENERS_1_PORT: '9001',
      TUNNELMQ_LISTENERS_1_ALLOW_ANONYMOUS: 'true',
      TUNNELMQ_LISTENERS_1_WEBSOCKET_ALLOWED_ORIGINS: 'https://a.example, https://b.example',
      TUNNELMQ_LISTENERS_0_PORT: '1884',
    }
    const { config } = await loadConfig({ file: await write(tcp), env })
    expect(config.listeners.map((listener) => 'port' in listener && listener.port)).toEqual([1884, 9001])
    expect(config.listeners[1]).toMatchObject({
      websocket: { allowedOrigins: ['https://a.example', 'https://b.example'] },
    })
    expect(await mistakesOf({ env: { TUNNELMQ_LISTENERS_5_PORT: '1' } })).toEqual([
      'TUNNELMQ_LISTENERS_5_PORT: listeners.5.port: listeners has 2 entries; the next one is listeners.2',
    ])
  })

  it('take a value from a file with _FILE', async () => {
    const secret = await write('s3cret\n', 'passphrase')
    await write('x', 'a.pem')
    const file = await write(
      'listeners: [{ type: tls, port: 1, allowAnonymous: true, tls: { cert: a.pem, key: a.pem } }]',
    )
    const name = 'TUNNELMQ_LISTENERS_0_TLS_PASSPHRASE'
    const { config } = await loadConfig({ file, env: { [`${name}_FILE`]: secret } })
    expect(config.listeners[0]).toMatchObject({ tls: { passphrase: 's3cret' } })
    expect(await mistakesOf({ file, env: { [`${name}_FILE`]: secret, [name]: 'x' } })).toEqual([
      `${name}_FILE: listeners.0.tls.passphrase: is set, and so is ${name}`,
    ])
    expect((await mistakesOf({ file, env: { [`${name}_FILE`]: join(folder, 'none') } })).join()).toContain(
      'ENOENT',
    )
  })

  it('name the nearest known name for what is unknown', async () => {
    const env = { TUNNELMQ_STORE_PTH: '/x', TUNNELMQ_LISTENERS_1_PROT: '2', OTHER: 'x' }
    expect(await mistakesOf({ env, overrides: ['log.levl=info', 'store', '__proto__.x=1'] })).toEqual([
      'TUNNELMQ_LISTENERS_1_PROT: is not known; did you mean TUNNELMQ_LISTENERS_1_PORT?',
      'TUNNELMQ_STORE_PTH: is not known; did you mean TUNNELMQ_STORE_PATH?',
      '--set log.levl: is not known; did you mean level?',
      '--set store: has no value; write --set key=value',
      '--set __proto__.x: is not known',
    ])
  })

  it('let the variables be that Kubernetes makes of a service called tunnelmq', async () => {
    const env = {
      TUNNELMQ_SERVICE_HOST: '10.0.0.1',
      TUNNELMQ_SERVICE_PORT: '1883',
      TUNNELMQ_SERVICE_PORT_MQTT: '1883',
      TUNNELMQ_PORT: 'tcp://10.0.0.1:1883',
      TUNNELMQ_PORT_1883_TCP: 'tcp://10.0.0.1:1883',
      TUNNELMQ_PORT_1883_TCP_ADDR: '10.0.0.1',
      TUNNELMQ_ADMIN_PORT: 'tcp://10.0.0.2:8080',
    }
    expect(await mistakesOf({ env })).toEqual([])
  })
})

describe('what a schema cannot say', () => {
  it('is checked: names, ports, hosts, origins, mountpoints, durations, files', async () => {
    const file = await write(
      [
        'listeners:',
        '  - { type: tcp, port: 1883, name: a, host: 0.0.0.0, proxyProtocol: trusted }',
        '  - { type: tcp, port: 1883, name: a, host: "bad host" }',
        '  - { type: ws, port: 8080, mountpoint: "a/+/", websocket: { path: /a?b, allowedOrigins: ["https://x.y/path"] } }',
        '  - { type: unix, path: none/mqtt.sock }',
        '  - { type: tls, port: 8883, tls: { cert: none, key: none, ciphers: none } }',
        'tracing: { endpoint: "http://host:70000", headers: { a b: c } }',
        'shutdown: { drainMs: 5000, timeoutMs: 5000 }',
        'handlers: [{ type: acl-file, file: . }]',
      ].join('\n'),
    )
    const mistakes = await mistakesOf({ file })
    expect(mistakes.map((mistake) => mistake.replace(/^\S+ /, '').split(':')[0])).toEqual(
      expect.arrayContaining([
        'listeners.0.proxyProtocol',
        'listeners.1.port',
        'listeners.1.name',
        'listeners.1.host',
        'listeners.2.mountpoint',
        'listeners.2.websocket.allowedOrigins.0',
        'listeners.2.websocket.path',
        'listeners.4.tls.ciphers',
        'tracing.endpoint',
        'tracing.headers.a b',
        'listeners.3.path',
        'admin.port',
        'shutdown.drainMs',
        'handlers.0.file',
      ]),
    )
  })

  it('is checked: a time that no timer takes, and that would be over at once', async () => {
    const http = { idleTimeoutMs: 2 ** 31, bodyTimeoutMs: Number.NaN }
    const limits = {
      banMs: 1e300,
      banWindowMs: Number.POSITIVE_INFINITY,
      maxConnections: 1e300,
      banFailures: -1e300,
    }
    const config = { listeners: [{ type: 'http', port: 8081, http } as const], limits }
    await expect(parseConfig(config)).rejects.toThrow(
      [
        '6 mistakes in the configuration:',
        'listeners.0.http.bodyTimeoutMs: NaN is not a whole number from 1 to 2073600000',
        'listeners.0.http.idleTimeoutMs: 2147483648 is more than 2073600000 (24 days), the longest that a timer takes',
        'limits.maxConnections: 1e+300 is not a whole number from 1 to 9007199254740991',
        'limits.banFailures: -1e+300 is not a whole number from 0',
        'limits.banWindowMs: Infinity is not a whole number from 1 to 2073600000',
        'limits.banMs: 1e+300 is more than 4294967295000 (136 years)',
      ].join('\n  '),
    )
  })

  it('also holds for a configuration that a program has made', async () => {
    const twice = { type: 'tcp', port: 1883, allowAnonymous: true } as const
    await expect(parseConfig({ listeners: [twice, twice] })).rejects.toThrow(
      'is the port of listeners.0 already',
    )
    expect((await parseConfig({ listeners: [twice] })).config.listeners).toHaveLength(1)
  })
})
