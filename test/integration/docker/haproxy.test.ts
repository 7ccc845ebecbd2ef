import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { connectAsync, MqttClient } from 'mqtt'
import { describe, expect, it, onTestFinished } from 'vitest'
import { freePort } from '../../support/mosquitto.ts'
import { startRedis, type RedisServer } from '../../support/redis-server.ts'
import { type RunningCli, startCli } from '../../support/run-cli.ts'
import { temporaryFolder } from '../../support/store-folder.ts'

const docker = fileURLToPath(new URL('../../../docker/', import.meta.url))

interface Pod {
  readonly cli: RunningCli
  readonly mqttPort: number
  readonly websocketPort: number
  readonly adminUrl: string
  /** Log events so far. */
  readonly events: () => Record<string, unknown>[]
}

/** As compose runs it, but for the addresses. */
async function startPod(redis: RedisServer, name: string): Promise<Pod> {
  const cli = startCli(['broker', '--config', join(docker, 'broker.yaml')], {
    env: {
      TUNNELMQ_CLUSTER_POD_NAME: name,
      TUNNELMQ_STORE_REDIS_URL: `${redis.url}/0`,
      TUNNELMQ_LISTENERS_0_HOST: '127.0.0.1',
      TUNNELMQ_LISTENERS_0_PORT: '0',
      TUNNELMQ_LISTENERS_1_HOST: '127.0.0.1',
      TUNNELMQ_LISTENERS_1_PORT: '0',
      TUNNELMQ_ADMIN_HOST: '127.0.0.1',
      TUNNELMQ_ADMIN_PORT: '0',
      TUNNELMQ_SHUTDOWN_DRAIN_MS: '100',
      // Who connects is said there; who has left, at info.
      TUNNELMQ_LOG_LEVEL: 'debug',
    },
  })
  onTestFinished(async () => {
    cli.process.kill('SIGKILL')
    await cli.ended
  })
  let output = ''
  cli.process.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const [line] = await cli.output(/^\{.*"msg":"ready".*\}$/m)
  const ready = JSON.parse(line) as { listeners: { url: string }[]; adminUrl: string }
  const [mqttPort = 0, websocketPort = 0] = ready.listeners.map(({ url }) => Number(new URL(url).port))
  const events = (): Record<string, unknown>[] =>
    output
      .split('\n')
      .slice(0, -1)
      .map((text) => JSON.parse(text) as Record<string, unknown>)
  return { cli, mqttPort, websocketPort, adminUrl: ready.adminUrl, events }
}

interface Front {
  readonly mqttPort: number
  readonly websocketPort: number
  /** Servers that it takes for well, of both backends. */
  upCount(): Promise<number>
}

/** docker/haproxy.cfg with the addresses of these pods, in the Debian package's HAProxy. */
async function startFront(pods: readonly [Pod, Pod]): Promise<Front> {
  const folder = await temporaryFolder()
  const [mqttPort, websocketPort] = [await freePort(), await freePort()]
  const socket = join(folder.path, 'stats')
  let text = readFileSync(join(docker, 'haproxy.cfg'), 'utf8')
    .replace('global\n', `global\n  stats socket ${socket} level admin\n`)
    .replace('bind :1883', `bind 127.0.0.1:${mqttPort}`)
    .replace('bind :8083', `bind 127.0.0.1:${websocketPort}`)
  for (const [index, pod] of pods.entries()) {
    const adminPort = new URL(pod.adminUrl).port
    text = text
      .replace(
        `broker-${index + 1}:1883 check port 8080`,
        `127.0.0.1:${pod.mqttPort} check port ${adminPort}`,
      )
      .replace(
        `broker-${index + 1}:8083 check port 8080`,
        `127.0.0.1:${pod.websocketPort} check port ${adminPort}`,
      )
  }
  const file = join(folder.path, 'haproxy.cfg')
  await writeFile(file, text)
  const haproxy = spawn('/usr/sbin/haproxy', ['-db', '-f', file], { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [haproxy.stdout, haproxy.stderr]) {
    stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
  }
  const exited = once(haproxy, 'exit')
  onTestFinished(async () => {
    haproxy.kill('SIGKILL')
    await exited
    await folder.remove()
  })
  const upCount = async (): Promise<number> => {
    if (haproxy.exitCode !== null) throw new Error(`haproxy ended: ${output}`)
    const status = await ask(socket, 'show stat\n').catch(() => '')
    return status.split('\n').filter((row) => /^brokers[a-z-]*,broker-\d,/.test(row) && row.includes(',UP,'))
      .length
  }
  await expect.poll(upCount).toBe(4)
  return { mqttPort, websocketPort, upCount }
}

async function ask(path: string, question: string): Promise<string> {
  const socket = connect(path)
  let answer = ''
  socket.on('data', (chunk: Buffer) => (answer += chunk.toString()))
  // Not `end`: HAProxy would stop in the middle of its answer.
  socket.write(question)
  await once(socket, 'close')
  return answer
}

/** Over TCP, from an address of its own. */
async function openClient(port: number, clientId: string, localAddress: string): Promise<MqttClient> {
  const open = (): Socket => connect({ port, host: '127.0.0.1', localAddress })
  const client = new MqttClient(open, { clientId, clean: false, protocolVersion: 4, reconnectPeriod: 50 })
  client.on('error', () => undefined)
  onTestFinished(() => client.endAsync(true))
  await new Promise((resolve) => client.once('connect', resolve))
  return client
}

describe('docker/haproxy.cfg before two brokers on Redis', () => {
  it('spreads clients, tells who they are, and takes a broker out before it stops; nothing is lost', async () => {
    const redis = await startRedis()
    onTestFinished(() => redis.remove())
    const pods = [await startPod(redis, 'broker-1'), await startPod(redis, 'broker-2')] as const
    const front = await startFront(pods)

    // Connections that end are not counted: four stay, two at each.
    const addresses = ['127.0.0.11', '127.0.0.12', '127.0.0.13', '127.0.0.14']
    const clients: MqttClient[] = []
    for (const [index, address] of addresses.entries()) {
      clients.push(await openClient(front.mqttPort, `client-${index}`, address))
    }
    const logged = (pod: Pod) =>
      pod
        .events()
        .filter(({ msg }) => msg === 'client connected')
        .map(({ client, address }) => `${String(client)} ${String(address)}`)
    await expect.poll(() => pods.flatMap(logged)).toHaveLength(4)
    expect(pods.flatMap(logged).toSorted()).toEqual(
      addresses.map((address, index) => `client-${index} ${address}`),
    )
    for (const pod of pods) expect(logged(pod)).toHaveLength(2)

    // Across the brokers, and from a browser's door.
    const received: string[] = []
    for (const client of clients) {
      client.on('message', (_topic, payload) => void received.push(payload.toString()))
      await client.subscribeAsync('news/#', { qos: 1 })
    }
    const websocket = await connectAsync(`ws://127.0.0.1:${front.websocketPort}/mqtt`, { reconnectPeriod: 0 })
    onTestFinished(() => websocket.endAsync(true))
    await websocket.publishAsync('news/1', 'one', { qos: 1 })
    await expect.poll(() => received.length).toBe(4)

    // One stops: its clients come back at the other, with their sessions.
    pods[0].cli.process.kill('SIGTERM')
    const { code } = await pods[0].cli.ended
    expect(code).toBe(0)
    await expect.poll(() => front.upCount()).toBe(2)
    await expect.poll(() => logged(pods[1]).length).toBeGreaterThanOrEqual(4)
    await expect.poll(() => clients.every(({ connected }) => connected)).toBe(true)
    const publisher = await openClient(front.mqttPort, 'publisher', '127.0.0.1')
    await publisher.publishAsync('news/2', 'two', { qos: 1 })
    await expect.poll(() => received.filter((text) => text === 'two').length).toBe(4)

    // Redis away: not ready, but connections stay.
    redis.freeze()
    await expect.poll(() => front.upCount()).toBe(0)
    expect(clients.every(({ connected }) => connected)).toBe(true)
    redis.thaw()
    await expect.poll(() => front.upCount()).toBe(2)
    await publisher.publishAsync('news/3', 'three', { qos: 1 })
    await expect.poll(() => received.filter((text) => text === 'three').length).toBe(4)
  })
})
