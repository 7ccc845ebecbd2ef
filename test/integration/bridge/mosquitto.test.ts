import { describe, expect, it } from 'vitest'
import { bridgeTo, listenAt, openBridged, shown } from '../../support/bridge-world.ts'
import { eventOf } from '../../support/broker-world.ts'
import { eventually } from '../../support/eventually.ts'
import { startMosquitto } from '../../support/mosquitto.ts'

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
    await here.publish({ topic: 'here/end', payload: '', qos: 1 })
    await there.publish({ topic: 'there/end', payload: '', qos: 1 })
    await eventually(() => here.received.filter(({ topic }) => topic === 'here/end').length).toBe(2)
    await eventually(() => there.received.filter(({ topic }) => topic === 'there/end').length).toBe(2)

    const sorted = (client: typeof here): string[] => client.received.map(shown).toSorted()
    expect(sorted(there)).toEqual(
      [
        ...[0, 1, 2].flatMap((qos) => [`there/a/b=out ${qos} ${qos}`, `there/a/b=in ${qos} ${qos}`]),
        ...['site/out/x=lowered 1', 'in/x=lowered 2', 'out/x=stays 1'],
        ...['there/kept=k 1', 'there/kept too=k 1', 'there/end= 1', 'there/end= 1'],
      ].toSorted(),
    )
    expect(sorted(here)).toEqual(
      [
        ...[0, 1, 2].flatMap((qos) => [`here/a/b=out ${qos} ${qos}`, `here/a/b=in ${qos} ${qos}`]),
        ...['site/in/x=lowered 1', 'out/x=lowered 2', 'in/x=stays 1'],
        ...['here/kept=k 1', 'here/kept too=k 1', 'here/end= 1', 'here/end= 1'],
      ].toSorted(),
    )
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
