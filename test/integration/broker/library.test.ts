import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, onTestFinished } from 'vitest'
import {
  AuthError,
  startBroker,
  TunnelMQError,
  type BrokerOptions,
  type ConfigInput,
  type Handler,
  type Log,
} from '../../../src/index.ts'
import {
  connectMqtt,
  connectRaw,
  messages,
  refusalCode,
  temporaryFolder,
} from '../../support/broker-world.ts'

const root = fileURLToPath(new URL('../../..', import.meta.url))

describe('examples/embed.mjs', () => {
  it('runs on the built package, serves a client, and stops cleanly', async () => {
    const child = spawn(process.execPath, ['examples/embed.mjs'], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    const lines: string[] = []
    let errors = ''
    child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()))
    createInterface({ input: child.stdout }).on('line', (line) => lines.push(line))
    const exited = once(child, 'exit')
    await expect.poll(() => lines[0] ?? errors).toMatch(/^listening on mqtt:\/\/127\.0\.0\.1:\d+$/)
    const url = lines[0]!.replace('listening on ', '')

    await expect(connectMqtt(url)).rejects.toThrow(/Bad username or password/)
    const device = await connectMqtt(url, { username: 'device-1', password: 'secret' })
    const news = messages(device, 1)
    await device.subscribeAsync('news', { qos: 1 })
    expect(await news).toEqual(['news=the broker is up'])
    await device.publishAsync('device-2/temperature', '99', { qos: 1 })
    await device.publishAsync('device-1/temperature', '21', { qos: 1 })
    const closed = new Promise<void>((resolve) => device.once('close', () => resolve()))
    child.kill('SIGTERM')
    await closed
    // It ends by itself: nothing of the broker keeps the process alive.
    expect(await exited).toEqual([0, null])
    expect(lines.slice(1)).toEqual([
      'undefined has gone: refused',
      'device-1 has come from 127.0.0.1',
      'device-1/temperature: 21',
      'device-1 has gone: shutdown',
      'stopped',
    ])
    expect(errors).toBe('')
  })
})

// What a program may write, checked by the compiler.
const options = (path: string): BrokerOptions => ({
  config: {
    listeners: [{ type: 'tcp', port: 0, name: 'mine', mountpoint: 'm/' }],
    store: { type: 'embedded', path },
    admin: { port: 0, localKey: false },
    limits: { maxInflight: 5 },
  },
})

describe('startBroker of the package', () => {
  it('takes handlers as objects, tells where it listens, publishes, and hands messages to the program', async () => {
    const seen: string[] = []
    const handler: Handler = {
      authConnect: (session) => {
        if (session.id === 'evil') throw new AuthError()
      },
      authPublish(_session, message) {
        message.payload = Buffer.from(message.payload.toString().toUpperCase())
      },
    }
    const broker = await startBroker({ ...options(await temporaryFolder()), handlers: [handler] })
    onTestFinished(() => broker.stop())
    expect(broker.listeners).toEqual([
      { name: 'mine', url: expect.stringMatching(/^mqtt:\/\/127\.0\.0\.1:\d+$/) as string },
    ])
    expect((await fetch(`${broker.adminUrl}/ready`)).status).toBe(200)
    const stop = broker.subscribe('m/+', (topic, payload) => void seen.push(`${topic}=${payload.toString()}`))
    const port = Number(new URL(broker.listeners[0]!.url).port)
    expect(await refusalCode(port, { clientId: 'evil' })).toBe(5)
    const client = await connectRaw(port, { clientId: 'good' })
    await client.subscribe(['#', 1])
    await client.publish({ topic: 'a', payload: 'client', qos: 1 })
    await broker.publish({ topic: 'm/b', payload: 'program', qos: 1 })
    await broker.publish({ topic: 'm/c', payload: Buffer.from('program') })
    expect(
      (await client.nextMessages(3)).map(({ topic, payload }) => `${topic}=${payload.toString()}`).sort(),
    ).toEqual(['a=CLIENT', 'b=program', 'c=program'])
    expect(seen).toEqual(['m/a=CLIENT', 'm/b=program', 'm/c=program'])
    stop()
    await broker.publish({ topic: 'm/d', payload: 'unheard', qos: 1 })
    expect(seen).toHaveLength(3)
  })

  it('publishes what ends when messages of clients do', async () => {
    const broker = await startBroker({
      config: {
        listeners: [{ type: 'tcp', port: 0, allowAnonymous: true }],
        store: { type: 'memory' },
        admin: { enabled: false },
        session: { messageExpiryMs: 3_600_000 },
      },
    })
    onTestFinished(() => broker.stop())
    const port = Number(new URL(broker.listeners[0]!.url).port)
    const client = await connectRaw(port, { clientId: 'five', version: 5 })
    await client.subscribe(['#', 1])
    await client.publish({ topic: 'by/client', payload: '', qos: 1, properties: {} })
    await broker.publish({ topic: 'by/program', payload: '', qos: 1 })
    for (const { properties } of await client.nextMessages(2)) {
      expect(properties?.messageExpiryInterval).toBeGreaterThan(3_000)
      expect(properties?.messageExpiryInterval).toBeLessThanOrEqual(3_600)
    }
  })

  it.each(['', 'a/+', 'a/#', '$SYS/broker/version', '$share/g/a', 'a\0b'])(
    'does not publish to %j',
    async (topic) => {
      const broker = await startBroker({ config: { ...options('').config, store: { type: 'memory' } } })
      onTestFinished(() => broker.stop())
      await expect(broker.publish({ topic, payload: 'x' })).rejects.toThrow(TunnelMQError)
    },
  )

  it('listens to no illegal filter, and survives a listener that throws', async () => {
    const errors: unknown[] = []
    const log = { ...silent, error: (fields: unknown) => void errors.push(fields) } as unknown as Log
    const broker = await startBroker({ config: { ...options('').config, store: { type: 'memory' } }, log })
    onTestFinished(() => broker.stop())
    expect(() => broker.subscribe('a+', () => {})).toThrow(TunnelMQError)
    broker.subscribe('a', () => {
      throw new Error('listener')
    })
    await broker.publish({ topic: 'a', payload: 'x', qos: 1 })
    expect(errors).toMatchObject([{ filter: 'a' }])
  })

  it('rejects with what is wrong, and leaves nothing behind', async () => {
    const path = await temporaryFolder()
    const first = await startBroker(options(path))
    // The store is locked by the first.
    await expect(startBroker(options(path))).rejects.toMatchObject({
      code: expect.stringMatching(/^TMQ_STORE/) as string,
    })
    await first.stop()
    const port = Number(new URL(first.listeners[0]!.url).port)
    const again = await startBroker({
      config: { ...options(path).config, listeners: [{ type: 'tcp', port, allowAnonymous: true }] },
    })
    onTestFinished(() => again.stop())
    await expect(
      startBroker({
        config: { listeners: [{ type: 'tcp', port }], store: { type: 'memory' }, admin: { enabled: false } },
      }),
    ).rejects.toMatchObject({ code: 'TMQ_LISTEN' })
    await expect(
      startBroker({ config: { listeners: [{ type: 'tcp', port: 0, mountpoint: '#' }] } }),
    ).rejects.toMatchObject({ code: 'TMQ_CONFIG' })
    await connectRaw(port, { clientId: 'c1' })
  })

  it('stops once, however often it is asked to, with its clients sent away and its wills kept', async () => {
    const path = await temporaryFolder()
    const listening: ConfigInput = {
      ...options(path).config,
      listeners: [{ type: 'tcp', port: 0, allowAnonymous: true }],
      session: { willGraceMs: 50 },
    }
    const broker = await startBroker({ config: listening })
    const client = await connectRaw(Number(new URL(broker.listeners[0]!.url).port), {
      clientId: 'c1',
      will: { topic: 'will', payload: 'bye', qos: 1, retain: true },
    })
    await Promise.all([broker.stop(), broker.stop(), broker.closed, client.closed])
    const next = await startBroker({ config: listening })
    onTestFinished(() => next.stop())
    const will = new Promise<string>((resolve) =>
      next.subscribe('will', (_, payload) => resolve(payload.toString())),
    )
    expect(await will).toBe('bye')
  })
})

const nothing = (): void => {}
const silent = {
  level: 'silent',
  isLevelEnabled: () => false,
  trace: nothing,
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: nothing,
  fatal: nothing,
}
