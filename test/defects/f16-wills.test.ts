import { describe, expect, it } from 'vitest'
import { BareAedes } from '../support/bare-aedes.ts'
import { BrakedBroker, startOurs } from './ours.ts'
import { defect, play, type RestartableBroker, type Stage } from './stage.ts'

/** Long against the reconnect of one client over loopback. */
const GRACE_MS = 2_000

/** Two clients with wills are connected when the broker stops; one is back when it has started again. */
async function restartWithWills(stage: Stage<RestartableBroker>): Promise<void> {
  const watcher = await stage.connect({ clientId: 'watcher', clean: false })
  await watcher.subscribe(['will/#', 1])
  for (const clientId of ['back', 'gone']) {
    await stage.connect({ clientId, will: { topic: `will/${clientId}`, qos: 1 } })
  }
  await stage.broker.restart()
  const back = await stage.connect({ clientId: 'back', will: { topic: 'will/back', qos: 1 } })
  const again = await stage.connect({ clientId: 'watcher', clean: false })
  const [first] = await again.nextMessages(1)
  expect(first?.topic, 'the will that is published').toBe('will/gone')
  await again.acknowledge(first!)
  await back.disconnect()
  // Wills are published in one go: what came with it has come before this.
  const publisher = await stage.connect()
  await publisher.publish({ topic: 'will/end', qos: 1 })
  const rest = (await again.takeUntil('will/end')).map(({ topic }) => topic)
  expect(rest, 'further wills').toEqual(['will/end'])
}

/** A watcher that comes when the broker has started again. */
async function willsSurviveTheStop(stage: Stage<RestartableBroker>): Promise<void> {
  await stage.connect({ clientId: 'gone', will: { topic: 'will/gone', qos: 1 } })
  await stage.broker.restart()
  const watcher = await stage.connect()
  await watcher.subscribe(['will/#', 1])
  const { topic } = await watcher.next('publish', undefined, 'of a will')
  expect(topic).toBe('will/gone')
}

async function deathWithWills(stage: Stage<BrakedBroker>): Promise<void> {
  for (const clientId of ['back', 'gone']) {
    await stage.connect({ clientId, will: { topic: `will/${clientId}`, qos: 1 } })
  }
  await stage.broker.kill()
  const watcher = await stage.connect()
  await watcher.subscribe(['will/#', 1])
  const back = await stage.connect({ clientId: 'back', will: { topic: 'will/back', qos: 1 } })
  const [first] = await watcher.nextMessages(1)
  expect(first?.topic).toBe('will/gone')
  await watcher.acknowledge(first!)
  await back.disconnect()
  const publisher = await stage.connect()
  await publisher.publish({ topic: 'will/end', qos: 1 })
  expect((await watcher.takeUntil('will/end')).map(({ topic }) => topic)).toEqual(['will/end'])
}

describe('F16: wills and restarts', () => {
  const session = { willGraceMs: GRACE_MS }
  const ours = { 'embedded store': () => startOurs({ store: 'embedded', config: { session } }) }
  const bare = (): Promise<BareAedes> => BareAedes.start({ store: 'level', heartbeatInterval: 100 })

  defect('publishes the will of a client that stays away, and not of one that is back within the grace', {
    scenario: restartWithWills,
    ours,
    bare,
    fails: /the will that is published|further wills/,
  })

  defect('loses no will by an orderly stop', {
    scenario: willsSurviveTheStop,
    ours,
    bare,
    fails: /no PUBLISH of a will, but the deadline/,
  })

  it('publishes the will of who stays away, not of who is back, after a death: ours, embedded store', async () => {
    await play(() => BrakedBroker.start({ session }), deathWithWills)
  })
})
