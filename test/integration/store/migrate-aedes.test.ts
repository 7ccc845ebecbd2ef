import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { type AedesOnRedis, startAedesOnRedis } from '../../support/aedes-on-redis.ts'
import { startTestBroker } from '../../support/broker.ts'
import { RawClient } from '../../support/raw-client.ts'
import { startRedis, type RedisServer } from '../../support/redis-server.ts'
import { askStore, runStore } from '../../support/store-command.ts'
import { temporaryFolder } from '../../support/store-folder.ts'
import { ackPacket, Packet, publishPacket } from '../../support/wire.ts'

let redis: RedisServer
let folder: Awaited<ReturnType<typeof temporaryFolder>>
let aedes: AedesOnRedis

/** Until the will was given: the keys as Aedes leaves them when it is killed. */
const before = { released: 0, inFlight: 0 }

async function client(port: number, clientId: string, more: object = {}): Promise<RawClient> {
  const raw = await RawClient.open({ port })
  onTestFinished(() => raw.destroy())
  await raw.connect({ clientId, clean: false, ...more })
  return raw
}

beforeAll(async () => {
  redis = await startRedis()
  folder = await temporaryFolder()
  aedes = await startAedesOnRedis(redis.port)
})
afterAll(async () => {
  await aedes.stop()
  await redis.remove()
  await folder.remove()
})
afterEach(() => {
  process.exitCode = undefined
})

const from = (): string => `aedes+redis://127.0.0.1:${redis.port}/0`

describe('data of aedes-persistence-redis', () => {
  it('is read as the real one writes it: sessions, queues, handshakes, retained messages, wills', async () => {
    const sleeper = await client(aedes.port, 'sleeper')
    await sleeper.subscribe(['q/#', 2], ['low/+', 1], ['$share/workers/jobs/#', 1])
    await sleeper.disconnect()
    const odd = await client(aedes.port, 'ä b:c/%20#')
    await odd.subscribe(['q/1', 1])
    await odd.disconnect()

    const publisher = await client(aedes.port, 'publisher', { will: { topic: 'gone', payload: 'w', qos: 1 } })
    for (const n of [1, 2, 3]) await publisher.publish({ topic: 'q/2', payload: `exact ${n}`, qos: 2 })
    for (let n = 1; n <= 20; n++) await publisher.publish({ topic: 'q/1', payload: `n${n}`, qos: 1 })
    await publisher.publish({ topic: 'low/x', payload: 'low', qos: 2 })
    await publisher.publish({ topic: 'keep/ü', payload: Buffer.from([0, 1, 255]), qos: 1, retain: true })
    await publisher.publish({ topic: 'keep/2', payload: 'zwei', qos: 0, retain: true })
    await publisher.publish({ topic: 'keep/3', payload: 'x', qos: 1, retain: true })
    await publisher.publish({ topic: 'keep/3', payload: '', qos: 1, retain: true })
    // PUBREC, and no PUBREL: it is published, and the identifier is kept.
    publisher.send(publishPacket({ topic: 'q/2', payload: 'exact 4', qos: 2, messageId: 777 }))
    await publisher.nextAck('pubrec', 777)

    // The first at QoS 2 is received and released, the second only received, the third not even that.
    const awake = await client(aedes.port, 'sleeper')
    const [first, second] = await awake.nextMessages(2)
    before.released = first!.messageId
    before.inFlight = second!.messageId
    awake.send(ackPacket(Packet.pubrec, first!.messageId))
    await awake.nextAck('pubrel', first!.messageId)
    await awake.destroy()

    const counts = await askStore('migrate', '--from', from(), '--to', join(folder.path, 'a'))
    expect(counts).toMatchObject({
      // Sleeper, odd, publisher (for its identifier), and the group.
      sessions: 4,
      subscriptions: 4,
      incomingIds: 1,
      retainedMessages: 2,
      wills: 1,
      unreadable: 0,
      skipped: 0,
    })
    expect(counts['queuedMessages']).toBe(4 + 20 + 1 + 20)
  })

  it('goes on where it was at a broker of ours: nothing lost, nothing twice at QoS 2, in order', async () => {
    const path = join(folder.path, 'a')
    const broker = await startTestBroker({ store: { type: 'embedded', path }, session: { willGraceMs: 0 } })
    onTestFinished(() => broker.stop())
    const sleeper = await RawClient.open({ port: broker.port })
    onTestFinished(() => sleeper.destroy())
    expect(await sleeper.connect({ clientId: 'sleeper', clean: false })).toMatchObject({
      sessionPresent: true,
    })
    // Of the first only the end is left, under the identifier that the client knows.
    await sleeper.nextAck('pubrel', before.released)
    sleeper.send(ackPacket(Packet.pubcomp, before.released))
    const got: string[] = []
    let again: object = {}
    for (let n = 0; n < 24; n++) {
      const message = await sleeper.next('publish')
      got.push(`${message.qos} ${message.payload.toString()}`)
      if (n === 0) again = message
      await sleeper.acknowledge(message)
    }
    expect(again).toMatchObject({ messageId: before.inFlight, dup: true })
    const numbered = Array.from({ length: 20 }, (_, n) => `1 n${n + 1}`)
    expect(got).toEqual(['2 exact 2', '2 exact 3', ...numbered, '1 low', '2 exact 4'])

    const odd = await client(broker.port, 'ä b:c/%20#')
    const messages = await odd.nextMessages(20)
    expect(messages.map(({ payload }) => `1 ${payload.toString()}`)).toEqual(numbered)

    // Sent again by its publisher, it is not delivered again.
    const publisher = await client(broker.port, 'publisher')
    publisher.send(publishPacket({ topic: 'q/2', payload: 'exact 4', qos: 2, messageId: 777, dup: true }))
    await publisher.nextAck('pubrec', 777)
    publisher.send(ackPacket(Packet.pubrel, 777))
    await publisher.nextAck('pubcomp', 777)
    await publisher.publish({ topic: 'q/2', payload: 'end', qos: 1 })
    expect((await sleeper.next('publish')).payload.toString()).toBe('end')

    const reader = await client(broker.port, 'reader')
    await reader.subscribe(['keep/#', 1])
    const kept = await reader.nextMessages(2)
    expect(kept.map(({ topic, payload }) => `${topic} ${payload.toString('hex')}`).toSorted()).toEqual([
      'keep/2 7a776569',
      'keep/ü 0001ff',
    ])
  })

  it('goes into another database of the same Redis, and can be checked there', async () => {
    const to = `redis://127.0.0.1:${redis.port}/1`
    const keys = await redis.command('DBSIZE')
    await runStore('migrate', '--from', from(), '--to', to)
    expect(await runStore('check', '--redis', to)).toBe('0 problems, 0 mended, 4 sessions\n')
    // At the source nothing has changed.
    expect(await redis.command('DBSIZE')).toBe(keys)
    const { expires } = (await askStore<{ id: string; expires: string }[]>('sessions', '--redis', to)).find(
      ({ id }) => id === 'sleeper',
    )!
    expect(Date.parse(expires)).toBeGreaterThan(Date.now())
  })

  it('is said to be missing where there is none, and counted where it cannot be read', async () => {
    const empty = `aedes+redis://127.0.0.1:${redis.port}/7`
    await expect(runStore('migrate', '--from', empty, '--to', join(folder.path, 'b'))).rejects.toThrow(
      'There is nothing of aedes-persistence-redis at redis://127.0.0.1',
    )
    await redis.command('HSET', 'retained', 'bad', 'garbage')
    await redis.command('HSET', 'client:sleeper', 'bad/#', 'garbage')
    const counts = await askStore('migrate', '--from', from(), '--to', join(folder.path, 'c'))
    expect(counts).toMatchObject({ unreadable: 2, retainedMessages: 2, subscriptions: 4 })
  })
})
