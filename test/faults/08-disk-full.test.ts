import { execFile } from 'node:child_process'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { type BrokerProcess, createBrokerProcess } from '../support/broker-process.ts'
import { LoadClient } from '../support/load-client.ts'
import { temporaryFolder } from '../support/store-folder.ts'
import { eventually, missing, outOfOrder, report, texts } from './ledger.ts'

const run = promisify(execFile)
const filler = 'x'.repeat(1_000)

let disk: { readonly path: string; remove(): Promise<void> }
let broker: BrokerProcess

beforeEach(async () => {
  const folder = await temporaryFolder()
  const path = join(folder.path, 'disk')
  await mkdir(path)
  try {
    await run('mount', ['-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', path])
  } catch (error) {
    await folder.remove()
    throw new Error('this test mounts a small tmpfs, and needs the right to (root)', { cause: error })
  }
  disk = {
    path,
    async remove() {
      await run('umount', [path])
      await folder.remove()
    },
  }
  // What stands in the way, and can be moved out of it.
  await writeFile(join(path, 'filler'), Buffer.alloc(4_000_000))
  const store = { path: join(path, 'store') }
  broker = await createBrokerProcess({ config: { store, session: { queueMaxMessages: 1_000_000 } } })
})

afterEach(async () => {
  await broker.remove()
  await disk.remove()
})

async function readiness(): Promise<{ status: number; text: string }> {
  const answer = await fetch(`${broker.adminUrl}/ready`)
  return { status: answer.status, text: await answer.text() }
}

it('acknowledges nothing on a full disk, says why, stays alive, and goes on when there is room', async () => {
  await broker.start()
  const { port } = broker
  const enter = async (clientId: string, clean: boolean): Promise<LoadClient> => {
    const client = new LoadClient({ port, clientId, clean })
    expect((await client.connect()).code).toBe(0)
    return client
  }
  const keeper = await enter('keeper', false)
  await keeper.subscribe(['kept/#', 2])
  await keeper.disconnect()
  const forgotten = await enter('forgotten', false)
  await forgotten.subscribe(['kept/1', 1])
  await forgotten.disconnect()
  const watcher = await enter('watcher', true)
  await watcher.subscribe(['live', 0])
  const live = await enter('live', true)
  const publisher = await enter('publisher', false)
  let published = 0
  const publishOne = (): Promise<void> => {
    const number = published++
    const qos = number % 2 === 0 ? 1 : 2
    return publisher.publish({ topic: `kept/${qos}`, payload: `p ${number} ${filler}`, qos })
  }
  const all = Array.from({ length: 4_000 }, publishOne)

  // The connection is closed: what was not acknowledged is for the publisher to send again.
  await publisher.closed
  const whenFull = publisher.acknowledged.size
  expect(whenFull).toBeGreaterThan(500)
  expect(whenFull).toBeLessThan(published)
  await eventually(async () => (await readiness()).status === 503)
  expect((await readiness()).text).toContain('No space left on device')
  expect(await broker.metric('tunnelmq_store_up')).toBe(0)
  const reasons = broker.events.filter(({ level }) => level === 'error').map((event) => JSON.stringify(event))
  expect(reasons.join()).toContain('No space left on device')

  // What needs no disk goes on; what needs it is refused: CONNACK 3.
  const sent = Array.from({ length: 100 }, (_, number) => `live ${number}`)
  for (const payload of sent) await live.publish({ topic: 'live', payload, qos: 0 })
  await eventually(() => watcher.received.length === sent.length)
  expect(texts(watcher.received)).toEqual(sent)
  expect((await publisher.connect()).code).toBe(3)
  // Refused, so its session is as it was.
  const begin = new LoadClient({ port, clientId: 'forgotten', clean: true })
  expect((await begin.connect()).code).toBe(3)
  expect((await readiness()).status).toBe(503)
  expect(publisher.acknowledged.size).toBe(whenFull)
  expect(broker.isRunning).toBe(true)

  await rm(join(disk.path, 'filler'))
  await eventually(async () => (await readiness()).status === 200)
  expect(await publisher.connect()).toEqual({ code: 0, sessionPresent: true })
  await Promise.all(all)
  await keeper.connect()
  await eventually(() => missing(publisher.acknowledged, texts(keeper.received)).length === 0)
  await keeper.ping()
  expect((await forgotten.connect()).sessionPresent).toBe(true)
  const ownPart = [...publisher.acknowledged].filter((payload) => Number(payload.split(' ')[1]) % 2 === 0)
  await eventually(() => missing(ownPart, texts(forgotten.received)).length === 0)

  expect(publisher.acknowledged.size).toBe(4_000)
  expect(outOfOrder(keeper.received)).toEqual([])
  const exact = texts(keeper.received.filter(({ qos }) => qos === 2))
  expect(new Set(exact).size).toBe(exact.length)
  expect(exact.length).toBe(2_000)
  report(
    '8',
    publisher.acknowledged.size,
    `${new Set(texts(keeper.received)).size} delivered; ${whenFull} before the disk was full`,
  )
})
