import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import mqtt, { type MqttClient } from 'mqtt'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { createCa, type CertificateFiles, type TestCa } from '../listeners/certificates.ts'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'
import {
  connectMqtt,
  connectMqttOver,
  eventOf,
  messages,
  openBroker,
  portOf,
  temporaryFolder,
} from '../../support/broker-world.ts'

let folder: string
let ca: TestCa
let server: CertificateFiles
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tunnelmq-mqttjs-'))
  ca = await createCa(folder)
  server = await ca.issue('server')
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const versions = {
  '3.1': { protocolId: 'MQIsdp', protocolVersion: 3 },
  '3.1.1': { protocolId: 'MQTT', protocolVersion: 4 },
} as const

async function openAll(): Promise<{ broker: TestBroker; path: string }> {
  const path = join(await temporaryFolder(), 'mqtt.sock')
  const common = { port: 0, allowAnonymous: true }
  const tls = { cert: server.cert, key: server.key }
  const broker = await openBroker({
    listeners: [
      { ...common, type: 'tcp', name: 'mqtt' },
      { ...common, type: 'ws', name: 'ws' },
      { ...common, type: 'tls', name: 'mqtts', tls },
      { ...common, type: 'wss', name: 'wss', tls },
      { type: 'unix', name: 'unix', path, allowAnonymous: true },
    ],
  })
  return { broker, path }
}

describe.each(Object.entries(versions))('MQTT.js with MQTT %s', (_name, version) => {
  it.each(['mqtt', 'ws', 'mqtts', 'wss', 'unix'])(
    'publishes and subscribes over %s at every QoS, with small and large messages',
    async (scheme) => {
      const { broker, path } = await openAll()
      const connect = async (): Promise<MqttClient> => {
        if (scheme === 'unix') return connectMqttOver({ path }, version)
        const url = `${scheme}://localhost:${portOf(broker, scheme)}/mqtt`
        return connectMqtt(url, { ...version, ca: await readFile(ca.cert) })
      }
      const [subscriber, publisher] = [await connect(), await connect()]
      expect(await subscriber.subscribeAsync(['0', '1', '2'].map((qos) => `q/${qos}`))).toHaveLength(3)
      await subscriber.subscribeAsync({ 'q/1': { qos: 1 }, 'q/2': { qos: 2 } })
      const large = 'x'.repeat(500_000)
      const got = messages(subscriber, 6)
      for (const payload of ['small', large])
        for (const qos of [0, 1, 2] as const) await publisher.publishAsync(`q/${qos}`, payload, { qos })
      expect((await got).sort()).toEqual(
        ['small', large].flatMap((payload) => [0, 1, 2].map((qos) => `q/${qos}=${payload}`)).sort(),
      )
      await subscriber.unsubscribeAsync(['q/0', 'q/1', 'q/2'])
      await publisher.publishAsync('q/1', 'unheard', { qos: 1 })
      await subscriber.endAsync()
    },
  )

  it('keeps a session at QoS 2 while it is away', async () => {
    const broker = await openBroker()
    const session = { ...version, clientId: 'sleeper', clean: false }
    const first = await connectMqtt(broker.url, session)
    await first.subscribeAsync('q/#', { qos: 2 })
    await first.endAsync()
    for (let i = 0; i < 100; i++) await broker.publish({ topic: 'q', payload: String(i), qos: 2 })
    const again = mqtt.connect(broker.url, { ...session, reconnectPeriod: 0 })
    onTestFinished(() => again.endAsync(true))
    expect(await messages(again, 100)).toEqual(Array.from({ length: 100 }, (_, i) => `q=${i}`))
  })
})

describe('MQTT.js', () => {
  it('that speaks MQTT 5 is refused where that is not served, and the log says why', async () => {
    const broker = await openBroker({
      listeners: [{ type: 'tcp', port: 0, allowAnonymous: true, protocolVersions: ['3.1', '3.1.1'] }],
    })
    await expect(connectMqtt(broker.url, { protocolVersion: 5 })).rejects.toThrow(/protocol version/i)
    expect(await eventOf(broker, 'connection refused')).toMatchObject({ reason: 'protocol-version' })
  })

  it('comes back by itself after a restart of the broker, with its session and all that was acknowledged', async () => {
    const store = { type: 'embedded', path: await temporaryFolder() } as const
    const first = await startTestBroker({ store })
    const { port } = first
    const client = mqtt.connect(first.url, { clientId: 'steady', clean: false, reconnectPeriod: 50 })
    onTestFinished(() => client.endAsync(true))
    await client.subscribeAsync('a', { qos: 2 })
    const got = messages(client, 3)
    await client.publishAsync('a', 'before', { qos: 2 })
    const closed = new Promise<void>((resolve) => client.once('close', () => resolve()))
    await first.stop()
    await closed
    const back = new Promise<{ sessionPresent: boolean }>((resolve) => client.once('connect', resolve))
    const broker = await openBroker({ store, listeners: [{ type: 'tcp', port, allowAnonymous: true }] })
    await broker.publish({ topic: 'a', payload: 'between', qos: 2 })
    expect(await back).toMatchObject({ sessionPresent: true })
    await client.publishAsync('a', 'after', { qos: 2 })
    expect(await got).toEqual(['a=before', 'a=between', 'a=after'])
  })
})
