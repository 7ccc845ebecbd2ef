import { describe, expect, it } from 'vitest'
import { SysTopics, type SysFigures } from '../../../src/broker/sys-topics.ts'

const zero: SysFigures = {
  clientsConnected: 0,
  clientsStored: 0,
  clientsExpired: 0,
  subscriptions: 0,
  sharedSubscriptions: 0,
  packetsReceived: 0,
  packetsSent: 0,
  publishReceived: 0,
  publishSent: 0,
  publishDropped: 0,
  bytesReceived: 0,
  bytesSent: 0,
  connectionsAccepted: 0,
  storedMessages: 0,
  storedBytes: 0,
  retainedMessages: 0,
  bridges: [],
}

function values(sys: SysTopics): Record<string, string> {
  const entries = sys.retainedMatching('$SYS/#').map(({ topic, payload }) => [topic, payload.toString()])
  return Object.fromEntries(entries) as Record<string, string>
}

/** mosquitto(8), BROKER STATUS; what is about its heap has no meaning here. */
const mosquitto = [
  'bytes/received',
  'bytes/sent',
  'clients/active',
  'clients/connected',
  'clients/disconnected',
  'clients/expired',
  'clients/inactive',
  'clients/maximum',
  'clients/total',
  'messages/received',
  'messages/sent',
  'messages/stored',
  'publish/messages/dropped',
  'publish/messages/received',
  'publish/messages/sent',
  'retained messages/count',
  'shared_subscriptions/count',
  'store/messages/bytes',
  'store/messages/count',
  'subscriptions/count',
  'uptime',
  'version',
]
const loads = [
  'bytes/received',
  'bytes/sent',
  'connections',
  'messages/received',
  'messages/sent',
  'publish/dropped',
  'publish/received',
  'publish/sent',
]

describe('the $SYS topics', () => {
  it('have the names of mosquitto', () => {
    const sys = new SysTopics('1.2.3', 0)
    sys.update(zero, 1_000)
    sys.update(zero, 2_000)
    const expected = [
      ...mosquitto,
      ...loads.flatMap((load) => [1, 5, 15].map((minutes) => `load/${load}/${minutes}min`)),
    ]
    expect(Object.keys(values(sys)).toSorted()).toEqual(
      expected.map((name) => `$SYS/broker/${name}`).toSorted(),
    )
  })

  it('have its values and units', () => {
    const sys = new SysTopics('1.2.3', 1_000)
    sys.update({ ...zero, clientsConnected: 5, clientsStored: 5 }, 2_000)
    sys.update(
      { ...zero, clientsConnected: 2, clientsStored: 7, storedMessages: 3, storedBytes: 90, bytesSent: 8 },
      62_999,
    )
    expect(values(sys)).toMatchObject({
      '$SYS/broker/version': 'tunnelmq version 1.2.3',
      '$SYS/broker/uptime': '61 seconds',
      '$SYS/broker/clients/connected': '2',
      '$SYS/broker/clients/active': '2',
      '$SYS/broker/clients/disconnected': '5',
      '$SYS/broker/clients/inactive': '5',
      '$SYS/broker/clients/total': '7',
      '$SYS/broker/clients/maximum': '5',
      '$SYS/broker/messages/stored': '3',
      '$SYS/broker/store/messages/count': '3',
      '$SYS/broker/store/messages/bytes': '90',
      '$SYS/broker/bytes/sent': '8',
    })
  })

  it('say of each bridge whether it is connected', () => {
    const sys = new SysTopics('1', 0)
    sys.update({ ...zero, bridges: [{ name: 'cloud', isUp: true }] }, 0)
    expect(values(sys)['$SYS/broker/bridge/cloud/state']).toBe('1')
    const [changed] = sys.update({ ...zero, bridges: [{ name: 'cloud', isUp: false }] }, 0)
    expect(`${changed!.topic}=${changed!.payload.toString()}`).toBe('$SYS/broker/bridge/cloud/state=0')
  })

  it('are published when their values change, and not else', () => {
    const sys = new SysTopics('1', 0)
    expect(sys.update(zero, 0)).toHaveLength(mosquitto.length)
    expect(sys.update(zero, 500).map(({ topic }) => topic)).toSatisfy((topics: string[]) =>
      topics.every((topic) => topic.startsWith('$SYS/broker/load/')),
    )
    const changed = sys.update({ ...zero, subscriptions: 1 }, 900)
    expect(changed.map(({ topic, payload }) => `${topic}=${payload.toString()}`)).toEqual([
      '$SYS/broker/subscriptions/count=1',
    ])
    expect(changed[0]).toMatchObject({ qos: 0, retain: false, publisher: '' })
  })

  it('are retained for new subscriptions, but not for a leading wildcard [MQTT-4.7.2-1]', () => {
    const sys = new SysTopics('1', 0)
    sys.update(zero, 0)
    expect(sys.retainedMatching('$SYS/broker/clients/+')).toHaveLength(7)
    expect(sys.retainedMatching('$SYS/broker/uptime')).toMatchObject([{ retain: true, qos: 0 }])
    expect(sys.retainedMatching('#')).toEqual([])
    expect(sys.retainedMatching('+/broker/uptime')).toEqual([])
    expect(sys.retainedMatching('other')).toEqual([])
  })
})

describe('the loads', () => {
  /** Ten bytes a second for a while, asked about every `stepMs`. */
  function load(durationMs: number, stepMs: number): (minutes: number) => number {
    const sys = new SysTopics('1', 0)
    for (let nowMs = 0; nowMs <= durationMs; nowMs += stepMs)
      sys.update({ ...zero, bytesReceived: nowMs / 100 }, nowMs)
    return (minutes) => Number(values(sys)[`$SYS/broker/load/bytes/received/${minutes}min`])
  }

  it('tend to the rate a minute, the shorter the window the sooner', () => {
    const afterOneMinute = load(60_000, 10_000)
    for (const minutes of [1, 5, 15])
      expect(afterOneMinute(minutes)).toBeCloseTo(600 * (1 - Math.exp(-1 / minutes)), 1)
    const afterLong = load(6 * 3_600_000, 10_000)
    for (const minutes of [1, 5, 15]) expect(afterLong(minutes)).toBeCloseTo(600, 1)
  })

  it('do not depend on how often they are asked for', () => {
    expect(load(120_000, 1_000)(5)).toBeCloseTo(load(120_000, 30_000)(5), 1)
  })

  it('are not asked for twice at one moment', () => {
    const sys = new SysTopics('1', 0)
    sys.update(zero, 1_000)
    expect(sys.update({ ...zero, bytesReceived: 5 }, 1_000).map(({ topic }) => topic)).toEqual([
      '$SYS/broker/bytes/received',
    ])
  })

  it('fade when nothing comes any more', () => {
    const sys = new SysTopics('1', 0)
    sys.update(zero, 0)
    sys.update({ ...zero, connectionsAccepted: 100 }, 60_000)
    const before = Number(values(sys)['$SYS/broker/load/connections/1min'])
    sys.update({ ...zero, connectionsAccepted: 100 }, 120_000)
    const after = Number(values(sys)['$SYS/broker/load/connections/1min'])
    expect(after).toBeCloseTo(before / Math.E, 1)
  })
})
