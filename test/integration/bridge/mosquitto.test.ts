import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { startTestBroker } from '../../support/broker.ts'
import { bridgeTo, listenAt, openBridged, shown } from '../../support/bridge-world.ts'
import { connectMqtt, eventOf, eventsOf, openBroker, temporaryFolder } from '../../support/broker-world.ts'
import { eventually } from '../../support/eventually.ts'
import { freePort, startMosquitto } from '../../support/mosquitto.ts'

describe.each([
  ['auto', '5'],
  ['3.1.1', '3.1.1+bridge'],
] as const)('a bridge to mosquitto (protocol %s)', (protocol, spoken) => {
  it('carries messages both ways, with prefixes, at every QoS, once, in order, and retained as such', async () => {
    const mosquitto = await startMosquitto()
    const early = await listenAt(mosquitto.port, [])
    await early.publish({ topic: 'there/early', payload: 'from there', qos: 1, retain: true })
    const topics = [
      { filter: '#', direction: 'both', qos: 2, localPrefix: 'here/', remotePrefix: 'there/' },
      { filter: 'in/+', direction: 'in', qos: 1, localPrefix: 'site/' },
      { filter: 'out/+', qos: 1, remotePrefix: 'site/' },
    ] as const
    const broker = await openBridged(
      bridgeTo(mosquitto.port, { protocol, topics: topics.map((topic) => ({ ...topic })) }),
    )
    expect(await eventOf(broker, 'bridge connected')).toMatchObject({ bridge: 'other', protocol: spoken })
    const here = await listenAt(broker.port, ['#'])
    const there = await listenAt(mosquitto.port, ['#'])
    // Retained there before, and brought by the bridge.
    await eventually(() => here.received.length).toBe(1)
    await eventually(() => there.received.length).toBe(1)
    here.received.length = there.received.length = 0

    for (const qos of [0, 1, 2] as const) {
      await here.publish({ topic: 'here/a/b', payload: `out ${qos}`, qos })
      await there.publish({ topic: 'there/a/b', payload: `in ${qos}`, qos })
    }
    await here.publish({ topic: 'out/x', payload: 'lowered', qos: 2 })
    await there.publish({ topic: 'in/x', payload: 'lowered', qos: 2 })
    await here.publish({ topic: 'in/x', payload: 'stays', qos: 1 })
    await there.publish({ topic: 'out/x', payload: 'stays', qos: 1 })
    await here.publish({ topic: 'here/kept', payload: 'k', qos: 1, retain: true })
    await there.publish({ topic: 'there/kept too', payload: 'k', qos: 1, retain: true })
    // At these mosquitto would close the connection.
    const odd = await connectMqtt(`mqtt://127.0.0.1:${broker.port}`, { protocolVersion: 5 })
    await odd.publishAsync('here/\u0001', 'stays', { qos: 0 })
    await odd.publishAsync('here/odd', 'o', {
      properties: { contentType: '\u001b', userProperties: { a: '\u0085', b: 'c' } },
    })
    await here.publish({ topic: 'here/end', payload: '', qos: 1 })
    await there.publish({ topic: 'there/end', payload: '', qos: 1 })
    await eventually(() => here.received.filter(({ topic }) => topic === 'here/end').length).toBe(2)
    await eventually(() => there.received.filter(({ topic }) => topic === 'there/end').length).toBe(2)

    const sorted = (client: typeof here): string[] => client.received.map(shown).toSorted()
    expect(sorted(there)).toEqual(
      [
        ...[0, 1, 2].flatMap((qos) => [`there/a/b=out ${qos} ${qos}`, `there/a/b=in ${qos} ${qos}`]),
        ...['site/out/x=lowered 1', 'in/x=lowered 2', 'out/x=stays 1'],
        ...['there/kept=k 1', 'there/kept too=k 1', 'there/odd=o 0', 'there/end= 1', 'there/end= 1'],
      ].toSorted(),
    )
    expect(sorted(here)).toEqual(
      [
        ...[0, 1, 2].flatMap((qos) => [`here/a/b=out ${qos} ${qos}`, `here/a/b=in ${qos} ${qos}`]),
        ...['site/in/x=lowered 1', 'out/x=lowered 2', 'in/x=stays 1'],
        ...['here/kept=k 1', 'here/kept too=k 1', 'here/odd=o 0', 'here/\u0001=stays 0'],
        ...['here/end= 1', 'here/end= 1'],
      ].toSorted(),
    )
    expect(eventsOf(broker, 'bridge lost')).toEqual([])
    // Who comes later gets what is retained on the other side.
    const lateThere = await listenAt(mosquitto.port, ['there/kept'])
    await eventually(() => lateThere.received.map(shown)).toEqual(['there/kept=k 1 retained'])
    const lateHere = await listenAt(broker.port, ['here/kept too', 'here/early'])
    await eventually(() => lateHere.received.map(shown).toSorted()).toEqual([
      'here/early=from there 1 retained',
      'here/kept too=k 1 retained',
    ])
  })
})

it('what is published on either side waits while the other one is away, and comes in order', async () => {
  const folder = await temporaryFolder()
  const port = await freePort()
  const lines = ['allow_anonymous true', 'persistence true', `persistence_location ${folder}/`]
  const mosquitto = await startMosquitto({ port, lines })
  const bridge = bridgeTo(port, { topics: [{ filter: '#', direction: 'both', qos: 1 }] })
  const store = { type: 'embedded' as const, path: join(folder, 'store') }
  const first = await startTestBroker({ bridges: [bridge], store })
  await eventOf(first, 'bridge connected')
  // Both are away in turn: what each keeps for the other is on its disk.
  await first.stop()
  const there = await listenAt(port, [])
  for (let i = 0; i < 50; i++) await there.publish({ topic: 'in', payload: String(i), qos: 1 })
  await mosquitto.stop()
  const broker = await openBroker({ bridges: [bridge], store })
  const here = await listenAt(broker.port, ['in'])
  for (let i = 0; i < 50; i++) await here.publish({ topic: 'out', payload: String(i), qos: 1, retain: true })
  await startMosquitto({ port, lines })
  const late = await listenAt(port, ['out'])
  const expected = Array.from({ length: 50 }, (_, i) => `in=${i} 1`)
  await eventually(() => here.received.map(shown)).toEqual(expected)
  await eventOf(broker, 'bridge connected')
  // Retained, the last of them is there also for who came late.
  await eventually(() => late.received.at(-1)?.payload.toString()).toBe('49')
  const numbers = late.received.map(({ payload }) => Number(payload))
  expect(numbers).toEqual(numbers.toSorted((a, b) => a - b))
})

it('a mosquitto that bridges to us is not sent back what it brings, and keeps what is retained', async () => {
  const broker = await openBroker()
  const mosquitto = await startMosquitto({
    lines: [
      'allow_anonymous true',
      'connection us',
      `address 127.0.0.1:${broker.port}`,
      'bridge_protocol_version mqttv311',
      'notifications false',
      'topic # both 2',
    ],
  })
  expect(await eventOf(broker, 'client connected')).toBeDefined()
  const [here, there] = [await listenAt(broker.port, ['#']), await listenAt(mosquitto.port, ['#'])]
  await eventually(async () => {
    await here.publish({ topic: 'probe', payload: '', qos: 0 })
    return there.received.length
  }).toBeGreaterThan(0)
  there.received.length = here.received.length = 0
  for (const qos of [0, 1, 2] as const) {
    await there.publish({ topic: 'a', payload: `there ${qos}`, qos })
    await here.publish({ topic: 'a', payload: `here ${qos}`, qos, retain: qos === 1 })
  }
  await there.publish({ topic: 'end', payload: 'there', qos: 1 })
  await here.publish({ topic: 'end', payload: 'here', qos: 1 })
  const expected = [0, 1, 2].flatMap((qos) => [`a=here ${qos} ${qos}`, `a=there ${qos} ${qos}`])
  expected.push('end=here 1', 'end=there 1')
  for (const client of [here, there]) {
    const came = (): string[] => client.received.filter(({ topic }) => topic !== 'probe').map(shown)
    await eventually(() => came().toSorted()).toEqual(expected.toSorted())
  }
  const late = await listenAt(mosquitto.port, ['a'])
  await eventually(() => late.received.map(shown)).toEqual(['a=here 1 1 retained'])
})
