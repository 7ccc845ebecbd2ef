import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { createSilentLog } from '../../../src/log.ts'
import { createEmbeddedStore } from '../../../src/store/embedded/store.ts'
import { createPod, startPods, startReady } from '../../support/pods.ts'
import { RawClient } from '../../support/raw-client.ts'
import { askStore, runStore } from '../../support/store-command.ts'
import { testLimits } from '../../support/store-fixtures.ts'
import { temporaryFolder } from '../../support/store-folder.ts'
import { ackPacket, Packet } from '../../support/wire.ts'

it('finds a Redis sound that pods use, have left, and were killed on; and moves it into a folder then', async () => {
  const { all, ports, redis } = await startPods(2)
  const [first = 0, second = 0] = ports
  const url = `${redis.url}/0`
  const open = async (port: number, clientId: string, more: object = {}): Promise<RawClient> => {
    const client = await RawClient.open({ port })
    onTestFinished(() => client.destroy())
    await client.connect({ clientId, clean: false, ...more })
    return client
  }
  const check = async (): Promise<string> => runStore('check', '--redis', url)

  const pump = await open(first, 'pump', { will: { topic: 'gone', payload: 'pump', qos: 1 } })
  await pump.subscribe(['a/#', 2], ['$share/workers/jobs/#', 1])
  const away = await open(second, 'away')
  await away.subscribe(['a/#', 1])
  await away.disconnect()
  const publisher = await open(second, 'publisher')
  for (let n = 1; n <= 40; n++) await publisher.publish({ topic: `a/${n % 7}`, payload: `n${n}`, qos: 2 })
  await publisher.publish({ topic: 'jobs/1', payload: 'job', qos: 1 })
  for (let n = 1; n <= 5; n++) {
    await publisher.publish({ topic: `keep/${n % 3}`, payload: 'x'.repeat(n), qos: 1, retain: true })
  }
  // One is acknowledged, one is on its way, the others wait.
  const [one, two] = await pump.nextMessages(2)
  await pump.acknowledge(one!)
  pump.send(ackPacket(Packet.pubrec, two!.messageId))
  await pump.nextAck('pubrel', two!.messageId)

  await expect.poll(check).toMatch(/^0 problems/)
  const sessions = await askStore<{ id: string; connected: boolean }[]>('sessions', '--redis', url)
  expect(sessions.map(({ id, connected }) => `${id} ${connected}`).toSorted()).toEqual([
    'away false',
    'publisher true',
    'pump true',
    'workers/jobs/# false',
  ])
  const stats = await askStore('stats', '--redis', url)
  // The 39th of them is released, and still there.
  expect(stats).toMatchObject({ retainedMessages: 3, wills: 1, queuedMessages: 39 + 40 + 1, problems: 0 })

  await all[1]!.stop()
  await expect.poll(check).toMatch(/^0 problems/)
  await all[0]!.kill()
  // Its lease is over for itself; nobody is left to say so.
  expect(await check()).toMatch(/^0 problems/)
  const folder = await temporaryFolder()
  onTestFinished(() => folder.remove())
  const path = join(folder.path, 'store')
  const move = async (): Promise<string> =>
    runStore('migrate', '--from', url, '--to', path).catch((error: unknown) => String(error))
  await expect.poll(move, { timeout: 15_000, interval: 500 }).toMatch(/^queuedMessages +80$/m)

  const store = createEmbeddedStore({
    path,
    sync: false,
    cacheBytes: 1_000_000,
    limits: testLimits,
    log: createSilentLog(),
  })
  await store.open()
  const moved = store.sessions.get('pump')!
  const [released, next] = await store.readQueue(moved, 0, 2, 1_000)
  expect(released).toMatchObject({ state: 'pubrel' })
  expect((released!.seq % 65_535) + 1).toBe(two!.messageId)
  expect(next?.message?.payload.toString()).toBe('n3')
  expect(moved.sentUpToSeq).toBeGreaterThanOrEqual(next!.seq)
  expect(moved.expiresAtMs).toBeGreaterThan(Date.now())
  expect(store.wills.get('pump')?.message.topic).toBe('gone')
  await store.close()

  // And into another database, where a pod starts on it.
  const other = `${redis.url}/1`
  await runStore('migrate', '--from', path, '--to', other)
  const pod = await createPod(redis, 2, { storeRedis: { url: other } })
  await startReady(pod)
  const back = await RawClient.open({ port: pod.port })
  onTestFinished(() => back.destroy())
  expect(await back.connect({ clientId: 'pump', clean: false })).toMatchObject({ sessionPresent: true })
  await back.nextAck('pubrel', two!.messageId)
  back.send(ackPacket(Packet.pubcomp, two!.messageId))
  const got: string[] = []
  while (got.length < 39) {
    const message = await back.next('publish')
    got.push(message.payload.toString())
    await back.acknowledge(message)
  }
  const exact = Array.from({ length: 38 }, (_, n) => `n${n + 3}`)
  expect(got.filter((payload) => payload !== 'job')).toEqual(exact)
  expect(got).toContain('job')
  await pod.stop()
  expect(await runStore('check', '--redis', other)).toMatch(/^0 problems/)
})
