import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { LoadClient } from '../support/load-client.ts'
import { type Pods, startPods } from '../support/pods.ts'
import { temporaryFolder } from '../support/store-folder.ts'
import { replaceFile } from '../support/replace-file.ts'
import { eventually, report, texts } from './ledger.ts'

const everyone = "export default { name: 'everyone', authConnect: () => undefined }\n"
const speakerRights = ['user speaker', 'topic readwrite #']

interface World {
  readonly pods: Pods
  enter(username: string, pod: number, options?: Partial<LoadClient['options']>): Promise<LoadClient>
  /** Resolves when every pod has read it. */
  grant(acl: readonly string[]): Promise<void>
}

async function startWithRights(acl: readonly string[]): Promise<World> {
  const folder = await temporaryFolder()
  onTestFinished(() => folder.remove())
  const [rights, module] = [join(folder.path, 'acl'), join(folder.path, 'everyone.mjs')]
  await writeFile(rights, acl.join('\n'))
  await writeFile(module, everyone)
  const pods = await startPods(2, {
    listener: { allowAnonymous: false },
    config: {
      handlers: [
        { type: 'module', file: module },
        { type: 'acl-file', file: rights },
      ],
      sysIntervalMs: 60_000,
    },
  })
  return {
    pods,
    async enter(username, pod, options = {}) {
      const port = pods.ports[pod]!
      const client = new LoadClient({ port, clientId: `id-${username}`, username, password: '', ...options })
      expect((await client.connect()).code).toBe(0)
      return client
    },
    async grant(more) {
      const reads = (): number[] =>
        pods.all.map(({ events }) => events.filter(({ msg }) => msg === 'reloaded').length)
      const before = reads()
      await replaceFile(rights, more.join('\n'))
      for (const { pid } of pods.all) process.kill(pid, 'SIGHUP')
      await eventually(() => reads().every((count, pod) => count > before[pod]!))
    },
  }
}

/** One message at each QoS to each topic; the payload begins with the topic. */
async function speak(speaker: LoadClient, round: string, topics: readonly string[]): Promise<void> {
  for (const topic of topics)
    for (const qos of [0, 1, 2] as const)
      await speaker.publish({ topic, payload: `${topic} ${round} ${qos}`, qos })
  await speaker.ping()
}

const said = (round: string, topic: string, ...qos: number[]): string[] =>
  qos.map((one) => `${topic} ${round} ${one}`)

it('refuses filters one by one, and delivers nothing of what was refused, live, away, and back at another pod', async () => {
  const world = await startWithRights([
    ...speakerRights,
    'user listener',
    'topic read open/#',
    'topic read half/+/open',
  ])
  const speaker = await world.enter('speaker', 0)
  const listener = await world.enter('listener', 1, { clean: false })
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
  const allowed = ['open/a', 'half/a/open']
  await speak(speaker, 'live', topics)
  const due = allowed.flatMap((topic) => said('live', topic, 0, 1, 2))
  await eventually(() => listener.received.length >= due.length)
  await listener.vanish()
  await speak(speaker, 'away', topics)
  expect((await listener.connect(world.pods.ports[0])).sessionPresent).toBe(true)
  due.push(...allowed.flatMap((topic) => said('away', topic, 1, 2)))
  await eventually(() => listener.received.length >= due.length)
  await speak(speaker, 'back', topics)
  due.push(...allowed.flatMap((topic) => said('back', topic, 0, 1, 2)))
  await eventually(() => listener.received.length >= due.length)
  await listener.ping()
  expect(texts(listener.received).sort()).toEqual(due.sort())
  report(
    '20 (pods, refused filters)',
    speaker.acknowledged.size,
    `${listener.received.length} of them allowed, and delivered`,
  )
})

it('takes a right away from a client that is live at another pod, and from one that is away', async () => {
  const rights = [...speakerRights, 'user live', 'topic read a/#', 'user away', 'topic read a/#']
  const more = ['user live', 'topic read b/#', 'user away', 'topic read b/#']
  const world = await startWithRights([...rights, ...more])
  const speaker = await world.enter('speaker', 0)
  const live = await world.enter('live', 1, { clean: false })
  const away = await world.enter('away', 1, { clean: false })
  for (const listener of [live, away])
    expect(await listener.subscribe(['a/#', 1], ['b/#', 1])).toEqual([1, 1])
  await speak(speaker, 'granted', ['a/1', 'b/1'])
  const granted = ['a/1', 'b/1'].flatMap((topic) => said('granted', topic, 0, 1, 2))
  for (const listener of [live, away]) await eventually(() => listener.received.length >= granted.length)
  await away.vanish()
  await speak(speaker, 'queued', ['a/1', 'b/1'])
  const queuedLive = ['a/1', 'b/1'].flatMap((topic) => said('queued', topic, 0, 1, 2))
  await eventually(() => live.received.length >= granted.length + queuedLive.length)
  await world.grant(rights)
  await speak(speaker, 'revoked', ['a/1', 'b/1'])
  // At the pod where it has never been.
  expect((await away.connect(world.pods.ports[0])).sessionPresent).toBe(true)
  const dueLive = [...granted, ...queuedLive, ...said('revoked', 'a/1', 0, 1, 2)]
  const dueAway = [...granted, ...said('queued', 'a/1', 1, 2), ...said('revoked', 'a/1', 1, 2)]
  await eventually(() => live.received.length >= dueLive.length && away.received.length >= dueAway.length)
  await speak(speaker, 'after', ['a/1', 'b/1'])
  for (const due of [dueLive, dueAway]) due.push(...said('after', 'a/1', 0, 1, 2))
  await eventually(() => live.received.length >= dueLive.length && away.received.length >= dueAway.length)
  await Promise.all([live.ping(), away.ping()])
  expect(texts(live.received).sort()).toEqual(dueLive.sort())
  expect(texts(away.received).sort()).toEqual(dueAway.sort())
  report(
    '20 (pods, revoked)',
    speaker.acknowledged.size,
    `${live.received.length} and ${away.received.length} allowed, and delivered`,
  )
})

it('takes [ ] ? * \\ for what they are, in topics, filters and client ids, between pods', async () => {
  const strange = [
    'a/[bc]',
    'a/?',
    'a/*',
    'a\\b',
    '*',
    '[a-z]',
    'a/b*',
    '\\n',
    '^a/.*$',
    'a/{b,c}',
    '%2f',
    '{tunnelmq}:log',
    '__proto__',
  ]
  const plain = ['a/b', 'a/c', 'a/x', 'ab', 'a', 'z', 'a/bx', '/']
  const listenerRights = strange.map((topic) => `topic read ${topic}`)
  const world = await startWithRights([...speakerRights, 'user listener', ...listenerRights])
  const speaker = await world.enter('speaker', 0)
  let acknowledgedCount = 0
  for (const clientId of ['[a-z]*', 'id\\?', '{tunnelmq}:sessions', 'constructor']) {
    const listener = await world.enter('listener', 1, { clientId, clean: false })
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
    expect((await listener.connect(world.pods.ports[0])).sessionPresent).toBe(true)
    due.push(...strange.flatMap((topic) => said('away', topic, 1, 2)))
    await eventually(() => listener.received.length >= due.length)
    await listener.ping()
    expect(texts(listener.received).sort()).toEqual(due.sort())
    acknowledgedCount += due.length
    await listener.disconnect()
  }
  report(
    '20 (pods, patterns)',
    speaker.acknowledged.size,
    `${acknowledgedCount} due to 4 clients, and delivered, QoS 0 included`,
  )
})

it('lets nobody publish to $SYS and $share from another pod', async () => {
  const world = await startWithRights([
    ...speakerRights,
    'topic readwrite $SYS/#',
    'user listener',
    'topic readwrite #',
    'topic readwrite $SYS/#',
  ])
  const listener = await world.enter('listener', 1, { clean: false })
  expect(await listener.subscribe(['#', 2], ['$SYS/#', 2])).toEqual([2, 2])
  const speaker = await world.enter('speaker', 0)
  const reserved = ['$SYS', '$SYS/x', '$SYS/broker/version', '$share/g/a', '$tunnel/x', '$tunnel']
  await speak(speaker, 'forged', reserved)
  for (const topic of reserved)
    await speaker.publish({ topic, payload: `${topic} forged`, qos: 1, retain: true })
  await speak(speaker, 'free', ['a'])
  await eventually(() => texts(listener.received).filter((text) => text.includes('free')).length >= 3)
  await listener.ping()
  const late = await world.enter('listener', 1, { clientId: 'late' })
  await late.subscribe(['$SYS/#', 1])
  await late.ping()
  const came = [...texts(listener.received), ...texts(late.received)]
  expect(came.filter((text) => text.includes('forged'))).toEqual([])
  expect(came.filter((text) => text.includes('free')).sort()).toEqual(said('free', 'a', 0, 1, 2))
  report('20 (pods, reserved)', 3, '3 delivered; all that was forged was acknowledged and dropped')
})
