import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import mqtt, { type MqttClient } from 'mqtt'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runCli, startCli, type RunningCli } from '../../support/run-cli.ts'

let folder = ''
const running: RunningCli[] = []
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tmq-broker-'))
})
afterEach(async () => {
  for (const cli of running.splice(0)) {
    cli.process.kill('SIGKILL')
    await cli.ended
  }
  await rm(folder, { recursive: true })
})

const anyPorts = ['listeners.0.port=0', 'listeners.1.port=0', 'admin.port=0'].flatMap((word) => [
  '--set',
  word,
])

function startBroker(...args: string[]): RunningCli {
  const cli = startCli(['broker', ...anyPorts, ...args], { cwd: folder })
  running.push(cli)
  return cli
}

function nextPayload(client: MqttClient): Promise<Buffer> {
  return new Promise((resolve) => client.once('message', (_topic, payload) => resolve(payload)))
}

describe('tunnelmq broker', () => {
  it('runs without a configuration, says where and what to try, serves a client, and drains on SIGTERM', async () => {
    const cli = startBroker()
    const [, url = ''] = await cli.output(/(mqtt:\/\/127\.0\.0\.1:\d+)/)
    const [, adminUrl = ''] = await cli.output(/(http:\/\/127\.0\.0\.1:\d+) /)
    await cli.output(/mosquitto_pub -h 127\.0\.0\.1 -p \d+ -t hello\/world -m 'it works'/)
    expect((await fetch(`${adminUrl}/ready`)).status).toBe(200)

    const client = await mqtt.connectAsync(url, { reconnectPeriod: 0 })
    await client.subscribeAsync('hello/#', { qos: 1 })
    const payload = nextPayload(client)
    await client.publishAsync('hello/world', 'it works', { qos: 1 })
    expect(String(await payload)).toBe('it works')

    const closed = new Promise<void>((resolve) => client.once('close', resolve))
    cli.process.kill('SIGTERM')
    await closed
    const { code, stdout } = await cli.ended
    expect(code).toBe(0)
    const events = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { msg: string })
    expect(events.map(({ msg }) => msg)).toContain('ready')
  })

  it('reloads on SIGHUP and goes on', async () => {
    const cli = startBroker()
    await cli.output(/"ready"/)
    cli.process.kill('SIGHUP')
    await cli.output(/"reloaded"/)
    cli.process.kill('SIGINT')
    expect((await cli.ended).code).toBe(0)
  })

  it('writes plain text alone when the log is pretty', async () => {
    const cli = startBroker('--set', 'log.format=pretty')
    await cli.output(/is ready/)
    cli.process.kill('SIGTERM')
    const { stdout, stderr } = await cli.ended
    expect(stdout).toContain('Try it in another terminal:')
    expect(stderr).toBe('')
  })

  it('survives a rejection that a handler has forgotten, and stops in order on an exception', async () => {
    await writeFile(
      join(folder, 'handler.js'),
      `export default {
        connect: () => void Promise.reject(new Error('forgotten')),
        publish: () => void setImmediate(() => { throw new Error('thrown late') }),
        authConnect() {}, authPublish() {}, authSubscribe() {},
      }`,
    )
    const cli = startBroker('--set', `handlers=[{ type: module, file: ${join(folder, 'handler.js')} }]`)
    const [, url = ''] = await cli.output(/(mqtt:\/\/127\.0\.0\.1:\d+)/)
    const client = await mqtt.connectAsync(url, { reconnectPeriod: 0 })
    client.on('error', () => undefined)
    await cli.output(/"unhandled rejection"/)
    client.publish('a', 'b')
    await cli.output(/"uncaught exception"/)
    const { code, stdout } = await cli.ended
    expect(code).toBe(1)
    expect(stdout).toContain('broker stopped')
  })

  it('names the address that it cannot listen on', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as AddressInfo
    const args = ['broker', ...anyPorts, '--set', `listeners.0.port=${port}`]
    const { code, stderr } = await runCli(args, { cwd: folder })
    other.close()
    expect(code).toBe(1)
    expect(stderr).toMatch(new RegExp(`^tunnelmq: .*127\\.0\\.0\\.1:${port}`))
  })
})
