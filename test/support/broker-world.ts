import { mkdtemp, rm } from 'node:fs/promises'
import { connect as openSocket, type NetConnectOpts } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import mqtt, { type IClientOptions, MqttClient } from 'mqtt'
import { expect, onTestFinished } from 'vitest'
import type { ConfigInput } from '../../src/config/schema.ts'
import type { Handler } from '../../src/hooks/types.ts'
import { startTestBroker, type TestBroker } from './broker.ts'
import { RawClient } from './raw-client.ts'
import type { ConnectFields } from './wire.ts'

export type LogEvent = Readonly<Record<string, unknown>>
export type ListenerInput = NonNullable<ConfigInput['listeners']>[number]

/** As {@link startTestBroker}; stopped when the test ends. */
export async function openBroker(
  overrides: Parameters<typeof startTestBroker>[0] = {},
  ...handlers: readonly Handler[]
): Promise<TestBroker> {
  const broker = await startTestBroker(overrides, handlers.length === 0 ? {} : { handlers })
  onTestFinished(() => broker.stop())
  return broker
}

/** Port of a listener by its name. */
export function portOf(broker: Pick<TestBroker, 'listeners'>, name: string): number {
  const listener = broker.listeners.find((candidate) => candidate.name === name)
  if (listener === undefined) throw new Error(`there is no listener ${name}`)
  return Number(new URL(listener.url).port)
}

/** A connection over which nothing has been sent, destroyed when the test ends. */
export async function openRaw(port: number): Promise<RawClient> {
  const client = await RawClient.open({ port })
  onTestFinished(() => client.destroy())
  return client
}

/** A connection with its CONNACK, which must accept. */
export async function connectRaw(port: number, fields: ConnectFields): Promise<RawClient> {
  const client = await openRaw(port)
  expect(await client.connect(fields)).toMatchObject({ code: 0 })
  return client
}

/** The CONNACK code of a connection that is refused; the broker must close it afterwards. */
export async function refusalCode(port: number, fields: ConnectFields): Promise<number> {
  const client = await openRaw(port)
  const { code } = await client.connect(fields)
  await client.untilClosed()
  return code
}

/** MQTT.js without reconnecting, ended when the test ends. */
export async function connectMqtt(url: string, options: IClientOptions = {}): Promise<MqttClient> {
  const client = await mqtt.connectAsync(url, { reconnectPeriod: 0, ...options })
  onTestFinished(() => client.endAsync(true))
  return client
}

/** MQTT.js over a socket of one's own: from another loopback address, or to a unix socket. */
export async function connectMqttOver(
  socket: NetConnectOpts,
  options: IClientOptions = {},
): Promise<MqttClient> {
  const client = new MqttClient(() => openSocket(socket), { reconnectPeriod: 0, ...options })
  onTestFinished(() => client.endAsync(true))
  await new Promise<void>((resolve, reject) => {
    client.once('connect', () => resolve())
    client.once('error', reject)
    client.once('close', () => reject(new Error('closed before CONNACK')))
  })
  return client
}

/** The next `count` messages as `topic=payload`, in order. Ask before they can come. */
export function messages(client: MqttClient, count: number): Promise<string[]> {
  return new Promise((resolve) => {
    const got: string[] = []
    client.on('message', (topic, payload) => {
      got.push(`${topic}=${payload.toString()}`)
      if (got.length === count) resolve(got)
    })
  })
}

/** Log events of this message, which contain these fields. */
export function eventsOf(broker: TestBroker, msg: string, fields: LogEvent = {}): LogEvent[] {
  const wanted = Object.entries(fields)
  return broker.events.filter(
    (event) => event['msg'] === msg && wanted.every(([key, value]) => event[key] === value),
  )
}

/** The first log event of this message with these fields; the test's time-out is its deadline. */
export async function eventOf(broker: TestBroker, msg: string, fields: LogEvent = {}): Promise<LogEvent> {
  await expect
    .poll(() => eventsOf(broker, msg, fields).length, { interval: 5, timeout: 20_000 })
    .toBeGreaterThan(0)
  return eventsOf(broker, msg, fields)[0]!
}

/** Removed when the test ends. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tunnelmq-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}
