import { describe, expect, it } from 'vitest'
import { connect5, type ConnectInput, type Mqtt5Client } from '../../support/mqtt5-client.ts'
import { brokerOfFile } from '../broker-of-file.ts'
import { publishBytes, subscribeBytes } from './bytes.ts'

const world = brokerOfFile()
const connect = (fields?: ConnectInput): Promise<Mqtt5Client> => connect5(world.port, fields)

/** Refused in the SUBACK, or with the end of the connection. */
async function expectRefused(filter: string | Buffer): Promise<void> {
  const client = await connect()
  client.send(subscribeBytes(filter, 0))
  const suback = client.next('suback').then(({ granted }) => granted[0] as number)
  const code = await suback.catch(() => client.untilClosed())
  expect(code, String(filter)).toBeGreaterThanOrEqual(0x80)
}

describe('topics and filters', () => {
  it('[MQTT-4.7.0-1] wildcards are not for topics', async () => {
    for (const topic of ['topics/+', 'topics/#', '+']) {
      const client = await connect()
      client.send(publishBytes(topic))
      expect([0x81, 0x82, 0x90]).toContain(await client.untilClosed())
    }
  })

  it('[MQTT-4.7.1-1] # is the last level, and alone in it', async () => {
    for (const filter of ['topics/#/a', 'topics#', '#/a', '##', 'topics/#a']) await expectRefused(filter)
    const client = await connect()
    await client.subscribe('topics/all/#')
    for (const topic of ['topics/all', 'topics/all/a/b', 'topics/al']) await client.publish({ topic })
    await client.ping()
    expect(client.waiting('publish').map(({ topic }) => topic)).toEqual(['topics/all', 'topics/all/a/b'])
  })

  it('[MQTT-4.7.1-2] + is a whole level, any of them', async () => {
    for (const filter of ['topics+', 'topics/+a', 'topics/a+/b', '++']) await expectRefused(filter)
    const client = await connect()
    await client.subscribe('+/levels/+')
    for (const topic of ['a/levels/b', '/levels/', 'a/levels', 'a/levels/b/c'])
      await client.publish({ topic })
    await client.ping()
    expect(client.waiting('publish').map(({ topic }) => topic)).toEqual(['a/levels/b', '/levels/'])
  })

  it('[MQTT-4.7.2-1] a filter that begins with a wildcard does not match what begins with $', async () => {
    const [all, level, named] = [await connect(), await connect(), await connect()]
    await all.subscribe('#')
    await level.subscribe('+/dollar')
    await named.subscribe('$mine/#')
    await named.publish({ topic: '$mine/dollar', qos: 1 })
    expect(await named.take()).toMatchObject({ topic: '$mine/dollar' })
    for (const client of [all, level]) {
      await client.ping()
      expect(client.waiting('publish').filter(({ topic }) => topic.startsWith('$'))).toEqual([])
    }
  })

  it('[MQTT-4.7.3-1] topics and filters have at least one character', async () => {
    const client = await connect()
    client.send(publishBytes(''))
    expect(await client.untilClosed()).toBe(0x82)
    await expectRefused('')
  })

  it('[MQTT-4.7.3-2] topics and filters have no U+0000', async () => {
    const client = await connect()
    client.send(publishBytes('topics/\0'))
    expect(await client.untilClosed()).toBe(0x81)
    await expectRefused('topics/\0')
  })

  it('[MQTT-4.7.3-4] nothing is normalized', async () => {
    const client = await connect()
    await client.subscribe('topics/\u00e9')
    const others = [
      'topics/e\u0301',
      'topics/\u00c9',
      'topics//\u00e9',
      'topics/\u00e9/',
      'topics/\ufeff\u00e9',
    ]
    for (const topic of others) await client.publish({ topic })
    await client.publish({ topic: 'topics/\u00e9', payload: 'same' })
    expect((await client.take()).payload.toString()).toBe('same')
  })
})

describe('shared subscriptions', () => {
  it('[MQTT-4.8.2-1] begin with $share/ and a name', async () => {
    for (const filter of ['$share//topics', '$share/', '$share']) await expectRefused(filter)
    const client = await connect()
    expect(await client.subscribe('$share/x/shared/1')).toMatchObject({ granted: [1] })
    await client.publish({ topic: 'shared/1' })
    expect(await client.take()).toMatchObject({ topic: 'shared/1' })
  })

  it('[MQTT-4.8.2-2] the name has no wildcard, and a filter comes after it', async () => {
    for (const filter of ['$share/a+/shared', '$share/#/shared', '$share/name', '$share/name/']) {
      await expectRefused(filter)
    }
  })

  it('[MQTT-4.8.2-3] the granted QoS of each client holds', async () => {
    const client = await connect()
    for (const qos of [0, 1, 2] as const) {
      const { granted } = await client.subscribe({ topic: `$share/qos/shared/qos/${qos}`, qos })
      await client.publish({ topic: `shared/qos/${qos}`, qos: 2 })
      expect(await client.take()).toMatchObject({ qos: granted[0] })
    }
  })

  it('[MQTT-4.8.2-6] what a client refuses goes to no other client', async () => {
    const clients = [await connect(), await connect()]
    for (const client of clients) await client.subscribe('$share/refusing/shared/refused')
    await (await connect()).publish({ topic: 'shared/refused', qos: 1 })
    for (const client of clients) await client.ping()
    const [chosen] = clients.filter((client) => client.waiting('publish').length > 0)
    const { messageId = 0 } = await chosen!.next('publish')
    chosen!.send({ cmd: 'puback', messageId, reasonCode: 0x80 })
    for (const client of [chosen!, ...clients]) {
      await client.ping()
      expect(client.waiting('publish')).toEqual([])
    }
  })
})
