import { describe, expect } from 'vitest'
import { BareAedes } from '../support/bare-aedes.ts'
import { startOurs } from './ours.ts'
import { defect, type RestartableBroker, type Stage } from './stage.ts'

const EACH_RUN = 30

async function publishMany(stage: Stage<RestartableBroker>, run: string): Promise<void> {
  const publisher = await stage.connect()
  for (let i = 0; i < EACH_RUN; i++) {
    await publisher.publish({ topic: 'q/x', payload: `${run} ${i}`, qos: 1 })
  }
}

async function twoRuns(stage: Stage<RestartableBroker>): Promise<void> {
  const sleeper = await stage.connect({ clientId: 'sleeper', clean: false })
  await sleeper.subscribe(['q/#', 1])
  await sleeper.disconnect()
  await publishMany(stage, 'first')
  await stage.broker.restart()
  await publishMany(stage, 'second')
  const publisher = await stage.connect()
  await publisher.publish({ topic: 'q/end', qos: 1 })

  const awake = await stage.connect({ clientId: 'sleeper', clean: false })
  const got = (await awake.takeUntil('q/end')).map(({ payload }) => String(payload))
  const sent = ['first', 'second'].flatMap((run) => Array.from({ length: EACH_RUN }, (_, i) => `${run} ${i}`))
  expect(got, 'messages of both runs').toEqual([...sent, ''])
}

describe('F11: messages of two runs of the broker', () => {
  defect('keeps what an earlier run has queued, and its order', {
    scenario: twoRuns,
    ours: { 'embedded store': () => startOurs({ store: 'embedded' }) },
    // A name that stays, as of a pod of a StatefulSet.
    bare: () => BareAedes.start({ store: 'level', id: 'broker-0' }),
    fails: /messages of both runs/,
  })
})
