import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { readCredentials } from '../../../src/cli/tunnel-credentials.ts'
import { tunnelOverrides, type AgentFlags, type ClientFlags } from '../../../src/cli/tunnel-flags.ts'
import { loadAgentConfig, loadClientConfig } from '../../../src/config/tunnel-endpoint.ts'

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tmq-endpoint-'))
})
afterEach(async () => {
  await rm(folder, { recursive: true })
})

interface Said {
  readonly yaml?: string
  readonly env?: Record<string, string>
  readonly flags?: AgentFlags & ClientFlags
}

async function sources({ yaml, env = {}, flags = {} }: Said) {
  const file = yaml === undefined ? undefined : join(folder, 'endpoint.yaml')
  if (file !== undefined) await writeFile(file, yaml ?? '')
  return { file, env, flags: tunnelOverrides(flags) }
}

async function agent(said: Said) {
  return loadAgentConfig({ ...(await sources(said)), proxyProtocol: said.flags?.proxyProtocol ?? [] })
}

async function client(said: Said) {
  return loadClientConfig(await sources(said))
}

const pi7: AgentFlags = { id: 'pi7', service: ['ssh=127.0.0.1:22'] }

async function messageOf(promise: Promise<unknown>): Promise<string> {
  const outcome = await promise.then(
    () => 'no mistake',
    (error: unknown) => error,
  )
  return outcome instanceof Error ? outcome.message.replaceAll(folder, '') : String(outcome)
}

describe('the configuration of an agent', () => {
  it('comes from options alone, for the broker on this machine', async () => {
    const { config, warnings } = await agent({ flags: pi7 })
    expect(config).toMatchObject({
      id: 'pi7',
      broker: 'mqtt://127.0.0.1:1883',
      topicPrefix: '$tunnel',
      keepAliveSeconds: 30,
      resumeTimeoutSeconds: 120,
      services: { ssh: { target: '127.0.0.1:22', proxyProtocol: 'off' } },
    })
    expect(warnings).toEqual([])
  })

  it('comes from the environment alone', async () => {
    const { config } = await agent({
      env: {
        TUNNEL_ID: 'pi7',
        TUNNEL_BROKER: 'wss://broker.example.com/mqtt',
        TUNNEL_SERVICES: 'ssh=127.0.0.1:22, web=localhost:8080,proxy-protocol=v2 x=unix:/run/x.sock',
        TUNNEL_USERNAME: 'pi7',
        TUNNEL_PASSWORD: 'secret',
        TUNNEL_CA: '/etc/ca.pem',
        TUNNEL_CERT: '/etc/cert.pem',
        TUNNEL_KEY: '/etc/key.pem',
        TUNNEL_TOPIC_PREFIX: 'tunnel',
        TUNNEL_KEEPALIVE: '60',
        TUNNEL_RESUME_TIMEOUT: '15',
        // Not the agent's.
        TUNNEL_CLIENT_ID: 'laptop',
      },
    })
    expect(config).toMatchObject({
      id: 'pi7',
      broker: 'wss://broker.example.com/mqtt',
      services: {
        ssh: { target: '127.0.0.1:22', proxyProtocol: 'off' },
        web: { target: 'localhost:8080', proxyProtocol: 'v2' },
        x: { target: 'unix:/run/x.sock', proxyProtocol: 'off' },
      },
      username: 'pi7',
      password: 'secret',
      tls: { ca: '/etc/ca.pem', cert: '/etc/cert.pem', key: '/etc/key.pem' },
      topicPrefix: 'tunnel',
      keepAliveSeconds: 60,
      resumeTimeoutSeconds: 15,
    })
  })

  it('takes options over the environment, and that over the file, each key as a whole', async () => {
    const { config } = await agent({
      yaml: 'id: file\nbroker: mqtt://file:1\nusername: file\nservices: { ssh: 127.0.0.1:22, db: 127.0.0.1:5432 }\n',
      env: { TUNNEL_BROKER: 'mqtt://environment:2', TUNNEL_USERNAME: 'environment', TUNNEL_ID: '' },
      flags: { username: 'option', service: ['web=localhost:80'] },
    })
    expect(config).toMatchObject({ id: 'file', broker: 'mqtt://environment:2', username: 'option' })
    expect(Object.keys(config.services)).toEqual(['web'])
  })

  it('takes the password of the highest layer that has one', async () => {
    const yaml = 'id: pi7\nusername: pi7\npassword: old\nservices: { ssh: 127.0.0.1:22 }\n'
    const { config } = await agent({ yaml, env: { TUNNEL_PASSWORD_FILE: '/run/secret' } })
    expect(config).toMatchObject({ passwordFile: '/run/secret' })
    expect(config.password).toBeUndefined()
  })

  it('warns of a password in a file that everyone can read, and not of another one', async () => {
    const yaml = 'id: pi7\nusername: pi7\npassword: hunter2\nservices: { ssh: 127.0.0.1:22 }\n'
    const { warnings } = await agent({ yaml })
    expect(warnings).toMatchObject([
      { path: ['password'], message: expect.stringContaining('chmod 600') as string, line: 3 },
    ])
    expect(JSON.stringify(warnings)).not.toContain('hunter2')
    await chmod(join(folder, 'endpoint.yaml'), 0o640)
    expect((await agent({ yaml })).warnings).toEqual([])
  })

  it('takes a CA that stands in the file itself, unless a layer above names a file', async () => {
    const pem = '-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n'
    const yaml = `id: pi7\nbroker: mqtts://b\ntls: { caPem: ${JSON.stringify(pem)} }\nservices: { ssh: 127.0.0.1:22 }\n`
    expect((await agent({ yaml })).config.tls.caPem).toBe(pem)
    expect(String((await readCredentials((await agent({ yaml })).config)).ca)).toBe(pem)
    const { tls } = (await agent({ yaml, env: { TUNNEL_CA: '/ca.pem' } })).config
    expect([tls.ca, tls.caPem]).toEqual(['/ca.pem', undefined])
    expect(await messageOf(agent({ yaml: yaml.replace('{ caPem', '{ ca: x, caPem') }))).toContain(
      'tls.caPem: is set, and so is tls.ca',
    )
  })

  it('starts relative paths where they were written', async () => {
    const yaml =
      'id: pi7\nbroker: mqtts://b\ntls: { ca: ca.pem, cert: c.pem }\nservices: { ssh: 127.0.0.1:22 }\n'
    const { config } = await agent({ yaml, flags: { key: 'key.pem' } })
    expect(config.tls).toMatchObject({
      ca: join(folder, 'ca.pem'),
      cert: join(folder, 'c.pem'),
      key: join(process.cwd(), 'key.pem'),
    })
  })

  it.each([
    { words: ['v2'], expected: { ssh: 'v2', web: 'v2' } },
    { words: ['web=v2'], expected: { ssh: 'off', web: 'v2' } },
    { words: ['v2', 'ssh=off'], expected: { ssh: 'off', web: 'v2' } },
  ])('sets the PROXY protocol with $words', async ({ words, expected }) => {
    const yaml = 'id: pi7\nservices: { ssh: 127.0.0.1:22, web: { target: localhost:80 } }\n'
    const { config } = await agent({ yaml, flags: { proxyProtocol: words } })
    const settings = Object.entries(config.services).map(([name, service]) => [name, service.proxyProtocol])
    expect(Object.fromEntries(settings)).toEqual(expected)
  })

  it.each([
    {
      what: 'unknown keys',
      yaml: 'id: pi7\nbrocker: mqtt://b\nservices:\n  ssh: { target: 127.0.0.1:22, proxyProtcol: v2 }\n',
      expected: [
        '/endpoint.yaml:2:1: brocker: is not known; did you mean broker?',
        '/endpoint.yaml:4:32: services.ssh.proxyProtcol: is not known; did you mean proxyProtocol?',
      ],
    },
    {
      what: 'values',
      yaml: 'id: pi 7\nbroker: broker.example.com:8883\nservices:\n  ssh: 22\n  web: localhost\n',
      expected: ['/endpoint.yaml:4:8: services.ssh: 22 is not a mapping of keys to values'],
    },
    {
      what: 'what they mean',
      yaml: 'id: pi 7\nbroker: broker.example.com:8883\nservices:\n  web: localhost\n',
      expected: [
        '/endpoint.yaml:1:5: id: "pi 7" is not a name: 1 to 64 of the letters A-Z a-z, 0-9, and . _ -',
        '/endpoint.yaml:2:9: broker: "broker.example.com:8883" is not the URL of a broker: mqtt://host:1883',
        '/endpoint.yaml:4:8: services.web.target: "localhost" is not a target: 127.0.0.1:22',
      ],
    },
    { what: 'syntax', yaml: 'id: [', expected: ['/endpoint.yaml:1:'] },
    { what: 'no mapping', yaml: '- pi7', expected: ['is not a mapping of keys to values'] },
  ])('names mistakes of the file: $what', async ({ yaml, expected }) => {
    const message = await messageOf(agent({ yaml }))
    for (const line of expected) expect(message).toContain(line)
  })

  it.each<{ said: Said; expected: string }>([
    { said: {}, expected: "id: is missing: The agent's name" },
    { said: { flags: { id: 'pi7' } }, expected: 'services: is missing' },
    { said: { flags: { id: 'pi7', service: [] } }, expected: '--service: services: has no service' },
    { said: { flags: { ...pi7, service: ['ssh'] } }, expected: '--service: "ssh" is not name=target' },
    { said: { flags: { ...pi7, service: ['a=b:1', 'a=b:2'] } }, expected: '--service: a is there twice' },
    {
      said: { flags: { ...pi7, service: ['ssh=127.0.0.1'] } },
      expected: '--service: services.ssh.target: "127.0.0.1" is not a target',
    },
    {
      said: { flags: { ...pi7, service: ['ssh=127.0.0.1:22,proxy-protocol=v1'] } },
      expected: '"v1" is not one of off, v2',
    },
    {
      said: { flags: { ...pi7, proxyProtocol: ['shh=v2'] } },
      expected: '--proxy-protocol: service shh is not known; did you mean ssh?',
    },
    {
      said: { flags: { ...pi7, proxyProtocol: ['v3'] } },
      expected: '--proxy-protocol: services.ssh.proxyProtocol: "v3" is not one of off, v2',
    },
    {
      said: { flags: { ...pi7, keepalive: 'x' } },
      expected: '--keepalive: keepAliveSeconds: "x" is not a whole number from 5 to 65535',
    },
    {
      said: { flags: { ...pi7, resumeTimeout: '0' } },
      expected: '--resume-timeout: resumeTimeoutSeconds: 0 is not a whole number from 1 to 86400',
    },
    {
      said: { flags: { ...pi7, logLevel: 'debgu' } },
      expected: '--log-level: log.level: "debgu" is not one of trace',
    },
    {
      said: { flags: { ...pi7, broker: 'mqtt://user:hunter2@b' } },
      expected: '--broker: broker: has a user name or password in it',
    },
    { said: { flags: { ...pi7, broker: 'http://b' } }, expected: '"http://b" is not the URL of a broker' },
    { said: { flags: { ...pi7, broker: 'mqtt://b/x' } }, expected: 'has a path, which only ws://' },
    { said: { flags: { ...pi7, broker: 'unix:run/x' } }, expected: 'needs an absolute path' },
    { said: { flags: { ...pi7, topicPrefix: 'a/#' } }, expected: '"a/#" cannot begin a topic' },
    { said: { flags: { ...pi7, cert: 'c' } }, expected: '--cert: tls.cert: needs tls.key' },
    { said: { flags: { ...pi7, key: 'k' } }, expected: '--key: tls.key: needs tls.cert' },
    {
      said: { flags: pi7, env: { TUNNEL_PASSWORD: 'x' } },
      expected: 'TUNNEL_PASSWORD: password: needs a username',
    },
    {
      said: { flags: { ...pi7, username: 'a' }, env: { TUNNEL_PASSWORD: 'x', TUNNEL_PASSWORD_FILE: 'y' } },
      expected: 'TUNNEL_PASSWORD_FILE: passwordFile: is set, and so is password',
    },
    {
      said: { flags: { id: 'pi7' }, env: { TUNNEL_SERVICES: '22' } },
      expected: 'TUNNEL_SERVICES: services: "22" is not name=target',
    },
  ])('refuses with $expected', async ({ said, expected }) => {
    const message = await messageOf(agent(said))
    expect(message).toContain(expected)
    expect(message).not.toContain('hunter2')
  })

  it.each<{ said: Said; expected: string }>([
    {
      said: { flags: { ...pi7, broker: 'mqtts://b', insecure: true } },
      expected: 'any certificate is taken',
    },
    { said: { flags: { ...pi7, ca: 'ca.pem' } }, expected: 'has no effect' },
    {
      said: { flags: { ...pi7, broker: 'mqtt://b', username: 'a', passwordFile: 'p' } },
      expected: 'sends the password unencrypted',
    },
    {
      said: { flags: pi7, env: { TUNNEL_BROCKER: 'mqtt://b' } },
      expected: 'is not known; did you mean TUNNEL_BROKER?',
    },
  ])('warns: $expected', async ({ said, expected }) => {
    const { warnings } = await agent(said)
    expect(warnings.map(({ message }) => message)).toEqual([expect.stringContaining(expected)])
  })

  it('does not mind variables of other programs', async () => {
    const env = {
      TUNNEL_SERVICE_HOST: '10.0.0.1',
      TUNNEL_PORT_80_TCP: 'tcp://10.0.0.1:80',
      TUNNEL_VISION: '1',
    }
    expect((await agent({ flags: pi7, env })).warnings).toEqual([])
  })
})

describe('the configuration of a client', () => {
  it('needs nothing', async () => {
    const { config } = await client({})
    expect(config).toMatchObject({ broker: 'mqtt://127.0.0.1:1883', forwards: [] })
    expect(config.id).toBeUndefined()
  })

  it("does not take an agent's id from the environment", async () => {
    expect((await client({ env: { TUNNEL_ID: 'pi7' } })).config.id).toBeUndefined()
    expect((await client({ env: { TUNNEL_CLIENT_ID: 'laptop' } })).config.id).toBe('laptop')
  })

  it('has forwards of file and environment', async () => {
    const yaml = "forwards: ['2222=pi7/ssh', '[::1]:80=pi7/web']\n"
    expect((await client({ yaml })).config.forwards).toEqual(['2222=pi7/ssh', '[::1]:80=pi7/web'])
    const env = { TUNNEL_FORWARDS: '2222=pi8/ssh 0=pi8/web' }
    expect((await client({ yaml, env })).config.forwards).toEqual(['2222=pi8/ssh', '0=pi8/web'])
  })

  it('names the forward that is none', async () => {
    const message = await messageOf(client({ yaml: "forwards:\n  - '2222=pi7/ssh'\n  - '2222:pi7/ssh'\n" }))
    expect(message).toContain(
      '/endpoint.yaml:3:5: forwards.1: "2222:pi7/ssh" is not [address:]port=agent/service',
    )
  })
})
