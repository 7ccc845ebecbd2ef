import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { startTestBroker, type TestBroker } from '../support/broker.ts'
import { LoadClient } from '../support/load-client.ts'
import { temporaryFolder } from '../support/store-folder.ts'
import { replaceFile } from '../support/replace-file.ts'
import { eventually, missing, report, texts } from './ledger.ts'

const everyone = { name: 'everyone', authConnect: () => undefined }

let broker: TestBroker
let folder: Awaited<ReturnType<typeof temporaryFolder>>
let aclFile: string

beforeEach(async () => {
  folder = await temporaryFolder()
  aclFile = join(folder.path, 'acl')
})

afterEach(async () => {
  await broker.stop()
  await folder.remove()
})

async function start(type: 'memory' | 'embedded', acl: readonly string[]): Promise<void> {
  await writeFile(aclFile, acl.join('\n'))
  broker = await startTestBroker(
    {
      store: { type, path: join(folder.path, 'data') },
      handlers: [{ type: 'acl-file', file: aclFile }],
      sysIntervalMs: 60_000,
    },
    { handlers: [everyone] },
  )
}

async function grant(acl: readonly string[]): Promise<void> {
  await replaceFile(aclFile, acl.join('\n'))
  await broker.reload()
}

async function enter(username: string, options: Partial<LoadClient['options']> = {}): Promise<LoadClient> {
  const client = new LoadClient({
    port: broker.port,
    clientId: `id-${username}`,
    username,
    password: '',
    ...options,
  })
  await client.connect()
  return client
}

const speakerRights = ['user speaker', 'topic readwrite #']

/** One message at each QoS to each topic, in two rounds; the payload begins with the topic. */
async function speak(speaker: LoadClient, round: string, topics: readonly string[]): Promise<void> {
  for (const topic of topics)
    for (const qos of [0, 1, 2] as const)
      await speaker.publish({ topic, payload: `${topic} ${round} ${qos}`, qos })
  await speaker.ping()
}

const said = (round: string, topic: string, ...qos: number[]): string[] =>
  qos.map((one) => `${topic} ${round} ${one}`)

describe.each(['memory', 'embedded'] as const)('no byte of a refused topic is delivered (%s)', (type) => {
  it('refuses filters one by one, and stores nothing of what was refused', async () => {
    await start(type, [...speakerRights, 'user listener', 'topic read open/#', 'topic read half/+/open'])
    const speaker = await enter('speaker')
    const listener = await enter('listener', { clean: false })
    const filters = [
      'open/#',
      'secret/#',
      'half/+/open',
      'half/#',
      '#',
      '+/x',
      '$SYS/#',
      'open/a',
      '$share/g/secret/x',
    ]
    const codes = await listener.subscribe(...filters.map((filter) => [filter, 2] as const))
    expect(codes).toEqual([2, 0x80, 2, 0x80, 0x80, 0x80, 0x80, 2, 0x80])
    const topics = ['open/a', 'secret/x', 'half/a/open', 'half/a/shut', 'other', 'b/x']
    await speak(speaker, 'live', topics)
    const due = ['open/a', 'half/a/open'].flatMap((topic) => said('live', topic, 0, 1, 2))
    await eventually(() => listener.received.length >= due.length)
    await listener.vanish()
    await speak(speaker, 'away', topics)
    expect((await listener.connect()).sessionPresent).toBe(true)
    due.push(...['open/a', 'half/a/open'].flatMap((topic) => said('away', topic, 1, 2)))
    await eventually(() => listener.received.length >= due.length)
    await speak(speaker, 'back', topics)
    due.push(...['open/a', 'half/a/open'].flatMap((topic) => said('back', topic, 0, 1, 2)))
    await eventually(() => listener.received.length >= due.length)
    await listener.ping()
    expect(texts(listener.received).sort()).toEqual(due.sort())
    report(
      `20 (${type}, refused filters)`,
      speaker.acknowledged.size,
      `${listener.received.length} of them allowed, and delivered`,
    )
  })

  it('delivers nothing of what was queued when the right was revoked while the client was away', async () => {
    const rights = [...speakerRights, 'user listener', 'topic read a/#']
    await start(type, [...rights, 'topic read b/#'])
    const speaker = await enter('speaker')
    const listener = await enter('listener', { clean: false })
    expect(await listener.subscribe(['a/#', 1], ['b/#', 1])).toEqual([1, 1])
    await listener.vanish()
    await speak(speaker, 'away', ['a/1', 'b/1'])
    await grant(rights)
    await speak(speaker, 'revoked', ['a/1', 'b/1'])
    expect((await listener.connect()).sessionPresent).toBe(true)
    await speak(speaker, 'back', ['a/1', 'b/1'])
    // The right comes back; the subscription does not by itself.
    await grant([...rights, 'topic read b/#'])
    await speak(speaker, 'granted', ['a/1', 'b/1'])
    const due = [...said('away', 'a/1', 1, 2), ...said('revoked', 'a/1', 1, 2)]
    due.push(...said('back', 'a/1', 0, 1, 2), ...said('granted', 'a/1', 0, 1, 2))
    await eventually(() => listener.received.length >= due.length)
    await listener.ping()
    expect(texts(listener.received).sort()).toEqual(due.sort())
    expect(await listener.subscribe(['b/#', 1])).toEqual([1])
    await speak(speaker, 'anew', ['b/1'])
    await eventually(() => missing(said('anew', 'b/1', 0, 1, 2), texts(listener.received)).length === 0)
    report(
      `20 (${type}, revoked while away)`,
      speaker.acknowledged.size,
      `${listener.received.length} delivered, all of them allowed`,
    )
  })

  it('takes a subscription away from a live client, with what waits behind the window', async () => {
    const rights = [...speakerRights, 'user listener', 'topic read a/#']
    await start(type, [...rights, 'topic read b/#'])
    const speaker = await enter('speaker')
    for (const clean of [true, false]) {
      await grant([...rights, 'topic read b/#'])
      const listener = await enter('listener', { clientId: `live-${clean}`, clean, acknowledges: false })
      expect(await listener.subscribe(['a/#', 1], ['b/#', 1])).toEqual([1, 1])
      for (let number = 0; number < 60; number++)
        await speak(speaker, `early ${clean} ${number}`, ['a/1', 'b/1'])
      await listener.ping()
      const before = listener.received.length
      await grant(rights)
      await speak(speaker, `late ${clean}`, ['a/1', 'b/1'])
      listener.settle()
      const due = Array.from({ length: 60 }, (_, number) => said(`early ${clean} ${number}`, 'a/1', 0, 1, 2))
      await eventually(
        () =>
          missing([...due.flat(), ...said(`late ${clean}`, 'a/1', 0, 1, 2)], texts(listener.received))
            .length === 0,
      )
      await listener.ping()
      expect(listener.received.slice(before).filter(({ topic }) => topic !== 'a/1')).toEqual([])
      report(
        `20 (${type}, revoked while live)`,
        speaker.acknowledged.size,
        `${listener.received.length} delivered, those of b before the revocation`,
      )
      await listener.disconnect()
    }
  })

  it('completes the handshake of a QoS 2 message whose right was revoked on the way, and delivers it no more', async () => {
    const rights = [...speakerRights, 'user listener', 'topic read a/#']
    await start(type, [...rights, 'topic read b/#'])
    const speaker = await enter('speaker')
    const listener = await enter('listener', { clean: false, acknowledges: false })
    await listener.subscribe(['a/#', 2], ['b/#', 2])
    await speak(speaker, 'early', ['a/1', 'b/1'])
    await eventually(() => listener.received.length === 6)
    await listener.vanish()
    await grant(rights)
    expect(listener.unreleasedCount).toBe(2)
    expect((await listener.connect()).sessionPresent).toBe(true)
    listener.settle()
    await speak(speaker, 'late', ['a/1', 'b/1'])
    await eventually(() => missing(said('late', 'a/1', 0, 1, 2), texts(listener.received)).length === 0)
    await listener.ping()
    await eventually(() => listener.unreleasedCount === 0)
    const twice = said('early', 'a/1', 1)
    const due = [
      ...['a/1', 'b/1'].flatMap((topic) => said('early', topic, 0, 1, 2)),
      ...twice,
      ...said('late', 'a/1', 0, 1, 2),
    ]
    expect(texts(listener.received).sort()).toEqual(due.sort())
    report(
      `20 (${type}, revoked on the way)`,
      speaker.acknowledged.size,
      `${listener.received.length} delivered, those of b before the revocation`,
    )
  })

  it('publishes nothing that may not be published, also when the right was revoked while live', async () => {
    const rights = ['user listener', 'topic readwrite #', 'user speaker', 'topic write a/#']
    await start(type, [...rights, 'topic write b/#'])
    const listener = await enter('listener', { clean: false })
    await listener.subscribe(['#', 2])
    const speaker = await enter('speaker')
    await speak(speaker, 'granted', ['a/1', 'b/1', 'c/1'])
    await grant(rights)
    await speak(speaker, 'revoked', ['a/1', 'b/1', 'c/1'])
    for (const topic of ['b/1', 'c/1'])
      await speaker.publish({ topic, payload: 'kept', qos: 1, retain: true })
    const due = ['a/1', 'b/1'].flatMap((topic) => said('granted', topic, 0, 1, 2))
    due.push(...said('revoked', 'a/1', 0, 1, 2))
    await eventually(() => listener.received.length >= due.length)
    const late = await enter('listener', { clientId: 'late' })
    await late.subscribe(['#', 1])
    await Promise.all([late.ping(), listener.ping()])
    expect(texts(listener.received).sort()).toEqual(due.sort())
    expect(late.received).toEqual([])
    report(
      `20 (${type}, refused publishes)`,
      due.length - 3,
      `${listener.received.length} delivered, QoS 0 included`,
    )
  })

  it('lets nobody publish to $SYS, $share and $tunnel, and gives nobody what is in $tunnel', async () => {
    await start(type, [
      'user listener',
      'topic readwrite #',
      'topic readwrite $SYS/#',
      ...speakerRights,
      'topic readwrite $SYS/#',
    ])
    const listener = await enter('listener', { clean: false })
    expect(await listener.subscribe(['#', 2], ['+/#', 2], ['$SYS/#', 2], ['$tunnel/#', 2])).toEqual([
      2, 2, 2, 0x80,
    ])
    await eventually(() => listener.received.length > 10)
    const speaker = await enter('speaker')
    const reserved = [
      '$SYS',
      '$SYS/x',
      '$SYS/broker/version',
      '$SYS/x/new/clients',
      '$share/g/a',
      '$tunnel/x',
      '$tunnel',
    ]
    await speak(speaker, 'forged', reserved)
    for (const topic of reserved)
      await speaker.publish({ topic, payload: `${topic} forged`, qos: 1, retain: true })
    await speak(speaker, 'free', ['a', '$other/x'])
    await eventually(() => missing(said('free', 'a', 0, 1, 2), texts(listener.received)).length === 0)
    await listener.ping()
    const late = await enter('listener', { clientId: 'late' })
    await late.subscribe(['$SYS/#', 1])
    await late.ping()
    const came = [...texts(listener.received), ...texts(late.received)]
    expect(came.filter((text) => text.includes('forged'))).toEqual([])
    expect(came.filter((text) => text.includes('free')).sort()).toEqual(said('free', 'a', 0, 1, 2))
    report(`20 (${type}, reserved)`, 3, '3 delivered; all that was forged was acknowledged and dropped')
  })

  it('takes [ ] ? * \\ for what they are, in topics, filters and rights', async () => {
    const strange = ['a/[bc]', 'a/?', 'a/*', 'a\\b', '*', '[a-z]', 'a/b*', '\\n', '^a/.*$', 'a/{b,c}', '%2f']
    const plain = ['a/b', 'a/c', 'a/x', 'ab', 'a', 'z', 'a/bx', '/']
    await start(type, [...speakerRights, 'user listener', ...strange.map((topic) => `topic read ${topic}`)])
    const speaker = await enter('speaker')
    const listener = await enter('listener', { clean: false })
    expect(await listener.subscribe(...strange.map((topic) => [topic, 2] as const))).toEqual(
      strange.map(() => 2),
    )
    expect(await listener.subscribe(...plain.map((topic) => [topic, 2] as const))).toEqual(
      plain.map(() => 0x80),
    )
    await speak(speaker, 'live', [...plain, ...strange])
    const due = strange.flatMap((topic) => said('live', topic, 0, 1, 2))
    await eventually(() => listener.received.length >= due.length)
    await listener.vanish()
    await speak(speaker, 'away', [...plain, ...strange])
    await listener.connect()
    due.push(...strange.flatMap((topic) => said('away', topic, 1, 2)))
    await eventually(() => listener.received.length >= due.length)
    await listener.ping()
    expect(texts(listener.received).sort()).toEqual(due.sort())
    report(
      `20 (${type}, patterns)`,
      speaker.acknowledged.size,
      `${listener.received.length} of them allowed, and delivered`,
    )
  })

  it('gives a user whose name is a wildcard no more than his own', async () => {
    await start(type, [...speakerRights, 'pattern readwrite home/%u/#', 'pattern readwrite by-id/%c'])
    const speaker = await enter('speaker')
    for (const name of ['+', '#', 'x/#', '+/+']) {
      const listener = await enter(name, { clientId: name })
      const filters = [
        'home/+/#',
        'home/#',
        'home/alice/x',
        'by-id/+',
        'by-id/#',
        '#',
        `home/${name.replace('/#', '')}/x`,
      ]
      const legal = filters.filter((filter) => !filter.includes('home/#/'))
      expect(await listener.subscribe(...legal.map((filter) => [filter, 1] as const))).toEqual(
        legal.map(() => 0x80),
      )
      await speak(speaker, name, ['home/alice/x', 'by-id/alice'])
      await listener.ping()
      expect(listener.received).toEqual([])
      await listener.disconnect()
    }
    const alice = await enter('alice', { clientId: 'alice' })
    expect(await alice.subscribe(['home/alice/#', 1], ['by-id/alice', 1])).toEqual([1, 1])
    await speak(speaker, 'alice', ['home/alice/x', 'by-id/alice'])
    await eventually(() => alice.received.length >= 6)
    report(
      `20 (${type}, wildcard names)`,
      4,
      `${alice.received.length} delivered to whom they belong, QoS 0 included`,
    )
  })
})

it('delivers nothing of what had been revoked with a backlog before the broker started anew', async () => {
  const rights = [...speakerRights, 'user listener', 'topic read a/#']
  await start('embedded', [...rights, 'topic read b/#'])
  let speaker = await enter('speaker')
  const listener = await enter('listener', { clean: false, acknowledges: false })
  await listener.subscribe(['a/#', 1], ['b/#', 1])
  for (let number = 0; number < 30; number++) await speak(speaker, `early ${number}`, ['b/1', 'a/1'])
  await listener.ping()
  const sentBefore = new Set(texts(listener.received))
  await grant(rights)
  await listener.vanish()
  const acknowledgedCount = speaker.acknowledged.size
  await broker.stop()
  await start('embedded', rights)
  expect((await listener.connect(broker.port)).sessionPresent).toBe(true)
  listener.settle()
  const due = Array.from({ length: 30 }, (_, number) => said(`early ${number}`, 'a/1', 1, 2)).flat()
  await eventually(() => missing(due, texts(listener.received)).length === 0)
  speaker = await enter('speaker')
  await speak(speaker, 'late', ['a/1', 'b/1'])
  await eventually(() => missing(said('late', 'a/1', 0, 1, 2), texts(listener.received)).length === 0)
  await listener.ping()
  const unsaid = listener.received.filter(
    ({ topic, payload }) => topic !== 'a/1' && !sentBefore.has(payload.toString()),
  )
  expect(unsaid).toEqual([])
  report('20 (revoked, then restarted)', acknowledgedCount, `${due.length} of them allowed, and delivered`)
})
