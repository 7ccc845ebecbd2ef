import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadConfig } from '../../src/config/load.ts'
import { hashPassword } from '../../src/hooks/password-hash.ts'
import { createCa } from '../integration/listeners/certificates.ts'
import { layOutPod, type Foreign, type LaidOutPod } from '../support/chart-pod.ts'
import { openChart, valuesFolder, type Rendering, type Values } from '../support/helm-chart.ts'
import type { KubernetesObject } from '../support/kubernetes-schema.ts'
import { freePort } from '../support/mosquitto.ts'
import { startProgram } from '../support/programs.ts'
import { runCli, startCli, type RunningCli } from '../support/run-cli.ts'

/** What the chart renders, given to our own programs: the check of the configuration, the broker, its commands. */

const root = fileURLToPath(new URL('../../', import.meta.url))
const chart = openChart()
const sets = readdirSync(valuesFolder).map((file) => file.replace('.yaml', ''))
let folder: string
let foreign: Foreign

const newFolder = (): string => mkdtempSync(join(folder, 'pod-'))
const brokerOf = (rendering: Rendering): KubernetesObject => {
  const isBroker = ({ kind, metadata }: KubernetesObject): boolean =>
    (kind === 'StatefulSet' || kind === 'Deployment') && !metadata.name.endsWith('-redis')
  return rendering.objects.find(isBroker)!
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tunnelmq-chart-broker-'))
  const ca = await createCa(folder)
  const server = await ca.issue('mq.plant')
  const read = (file: string): string => readFileSync(file, 'utf8')
  const tls = { 'tls.crt': read(server.cert), 'tls.key': read(server.key) }
  const users = `bob:${await hashPassword(Buffer.from('secret'))}\n`
  foreign = {
    'redis-credentials': { username: 'pods', password: 'p@ss' },
    'mqtt-users': { 'users.txt': users, passwd: users },
    'mqtt-tls': tls,
    'mq-tunnelmq-tls': tls, // cert-manager makes it
    'device-ca': { 'ca.crt': read(ca.cert) },
    redis: { url: 'rediss://pods:secret@redis.example.com:6380/0' },
    'redis-ca': { 'ca.crt': read(ca.cert) },
    'admin-keys': { keys: '' },
    scram: { users: '' },
    'bridge-old': { username: 'tunnelmq', password: 'secret' },
    collector: { headers: '{"authorization": "Bearer secret"}' },
    'test-alice': { password: 'secret' },
    'redis-odd': { password: ' p"a\\s#s\'$x ' },
  }
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('`tunnelmq config check` of the rendered configuration', () => {
  it.each(sets)(
    'finds no mistake, and nothing to warn of but that the API and CoAP are in clear text, for %s',
    async (set) => {
      const rendering = await chart.render(set)
      const pod = layOutPod(rendering, brokerOf(rendering), newFolder(), foreign)
      const { config, warnings } = await loadConfig({ file: pod.env['TUNNELMQ_CONFIG']!, env: pod.env })
      // The chart's own TLS is for clients; docs/helm.md says how the API gets it. The trial lets everybody in.
      const known =
        {
          'redis-own': /^(API keys cross|everyone who reaches)/,
          everything: /^(API keys cross|CoAP is not encrypted)/,
        }[set] ?? /^API keys cross/
      expect(warnings.filter(({ message }) => !known.test(message))).toEqual([])
      expect(config.admin.port).toBe(8080)
      expect(config.listeners.length).toBeGreaterThan(0)
    },
  )

  it('has the secrets of the environment', async () => {
    const rendering = await chart.render('everything')
    const pod = layOutPod(rendering, brokerOf(rendering), newFolder(), foreign)
    const { config } = await loadConfig({ file: pod.env['TUNNELMQ_CONFIG']!, env: pod.env })
    expect(config).toMatchObject({
      store: { type: 'redis', redis: { url: 'rediss://pods:secret@redis.example.com:6380/0' } },
      bridges: [{ name: 'old', username: 'tunnelmq', password: 'secret' }],
      tracing: { headers: { authorization: 'Bearer secret' } },
      log: { level: 'debug' },
    })
  })
})

interface RunningPod {
  readonly cli: RunningCli
  readonly env: Readonly<Record<string, string>>
  readonly port: string
}

/** Runs the broker of a laid out pod; ports are free ones of this machine. */
async function startPod(pod: LaidOutPod, more: Readonly<Record<string, string>> = {}): Promise<RunningPod> {
  const here = {
    TUNNELMQ_LISTENERS_0_HOST: '127.0.0.1',
    TUNNELMQ_LISTENERS_0_PORT: '0',
    TUNNELMQ_ADMIN_HOST: '127.0.0.1',
    TUNNELMQ_ADMIN_PORT: String(await freePort()),
  }
  const env = { ...pod.env, ...here, ...more }
  const cli = startCli(['broker'], { cwd: folder, env })
  const ready = await cli.output(/^\{.*"msg":"ready".*$/m)
  const { listeners } = JSON.parse(ready[0]) as { listeners: { url: string }[] }
  return { cli, env, port: new URL(listeners[0]!.url).port }
}

/** The container of `helm test`, as the image would run it. */
async function helmTest(
  rendering: Rendering,
  port: string,
): Promise<{ code: number | null; output: string }> {
  const test = layOutPod(rendering, rendering.find('Pod'), newFolder(), foreign)
  const [program = '', ...args] = test.command
  const env = { ...test.env, MQTT_HOST: '127.0.0.1', MQTT_PORT: port }
  const { code, stdout, stderr } = await startProgram(program, [...args, ...test.args], { cwd: root, env })
    .ended
  return { code, output: stdout + stderr }
}

describe('the broker of the chart', () => {
  it('starts with a disk, lets in who has a password, and refuses who has none', async () => {
    const hash = await hashPassword(Buffer.from('secret'))
    const values: Values[] = ['single-embedded', { users: { hashes: { alice: hash } } }]
    const rendering = await chart.render(...values)
    const pod = layOutPod(rendering, brokerOf(rendering), newFolder(), foreign)
    const { cli, port } = await startPod(pod)
    expect(await helmTest(rendering, port)).toEqual({
      code: 0,
      output: 'published to tunnelmq/helm-test and got it back\n',
    })
    const nobody = await chart.render(...values, { test: { username: '' } })
    expect(await helmTest(nobody, port)).toMatchObject({
      code: 0,
      output: expect.stringContaining('the broker answers, and refuses a client without a user') as string,
    })
    const mallory = await chart.render(...values, { test: { username: 'mallory' } })
    expect(await helmTest(mallory, port)).toMatchObject({ code: 1 })
    cli.process.kill('SIGTERM')
    expect((await cli.ended).code).toBe(0)
    expect(readdirSync(pod.path('/var/lib/tunnelmq/data'))).not.toEqual([])
    // The key of its commands has gone with it.
    expect(readdirSync(pod.path('/run/tunnelmq'))).toEqual([])
  })

  it('is tested over TLS, by MQTT 5 and behind a proxy, where nothing else is open', async () => {
    const rendering = await chart.render({
      service: { mqtt: { enabled: false }, mqtts: { enabled: true } },
      tls: { existingSecret: 'mqtt-tls' },
      listener: { proxyProtocol: 'required', allowAnonymous: true, protocolVersions: ['5'] },
    })
    const { cli, port } = await startPod(layOutPod(rendering, brokerOf(rendering), newFolder(), foreign))
    expect(await helmTest(rendering, port)).toEqual({
      code: 0,
      output: 'published to tunnelmq/helm-test and got it back\n',
    })
    cli.process.kill('SIGTERM')
    expect((await cli.ended).code).toBe(0)
  })

  it('has a Redis that takes any password', async () => {
    const rendering = await chart.render('redis-own', { redis: { own: { existingSecret: 'redis-odd' } } })
    const redis = rendering.find('StatefulSet', 'mq-tunnelmq-redis')
    const pod = layOutPod(rendering, redis, newFolder(), foreign)
    const port = String(await freePort())
    const [shell = '', ...words] = pod.command
    const script = pod.args[0]!.replace('redis-server -', `redis-server - --port ${port}`)
    const server = startProgram(shell, [...words, `cd ${pod.path('/data')}; ${script}`], { env: pod.env })
    await server.said(/Ready to accept connections/)
    const ping = startProgram('redis-cli', ['-p', port, 'ping'], { env: pod.env })
    expect((await ping.ended).stdout).toBe('PONG\n')
    const nobody = startProgram('redis-cli', ['-p', port, 'ping'], { env: { REDISCLI_AUTH: '' } })
    expect((await nobody.ended).stdout).toContain('NOAUTH')
  })

  it('starts with the Redis of the chart, behind a proxy as well, and leaves by its preStop', async () => {
    const proxied = { listener: { proxyProtocol: 'required' } }
    const rendering = await chart.render('redis-own', proxied)
    const redis = rendering.find('StatefulSet', 'mq-tunnelmq-redis')
    const redisPod = layOutPod(rendering, redis, newFolder(), foreign)
    const redisPort = await freePort()
    const [shell = '', ...words] = redisPod.command
    const script = redisPod.args[0]!.replace('redis-server -', `redis-server - --port ${redisPort}`)
    const server = startProgram(shell, [...words, `cd ${redisPod.path('/data')}; ${script}`], {
      env: redisPod.env,
    })
    await server.said(/Ready to accept connections/)

    const broker = brokerOf(rendering)
    const pod = layOutPod(rendering, broker, newFolder(), foreign)
    const { cli, env, port } = await startPod(pod, {
      TUNNELMQ_STORE_REDIS_URL: `redis://127.0.0.1:${redisPort}/0`,
    })
    expect(await helmTest(rendering, port)).toMatchObject({ code: 0 })
    const { containers } = (broker['spec'] as { template: { spec: { containers: object[] } } }).template.spec
    const [{ lifecycle }] = containers as [{ lifecycle: { preStop: { exec: { command: string[] } } } }]
    const [program, ...args] = lifecycle.preStop.exec.command
    expect(program).toBe('tunnelmq')
    expect(await runCli(args, { cwd: folder, env })).toMatchObject({ code: 0 })
    const ready = await fetch(`http://127.0.0.1:${env['TUNNELMQ_ADMIN_PORT']}/ready`)
    expect(ready.status).toBe(503)
    cli.process.kill('SIGTERM')
    expect((await cli.ended).code).toBe(0)
  })
})
