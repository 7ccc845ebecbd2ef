import { describe, expect, it } from 'vitest'
import { BareAedes } from '../support/bare-aedes.ts'
import type { StoreBrake } from '../support/store-brake.ts'
import { BrakedBroker, onBothStores } from './ours.ts'
import { type BrokerUnderTest, defect, play, type Stage } from './stage.ts'

type Braked = BrokerUnderTest & { readonly brake: StoreBrake }

/** More than the 1,001 that aedes-persistence-redis hands over for one connect. */
const QUEUED = 1_500

async function fillQueue(stage: Stage<BrokerUnderTest>): Promise<void> {
  const sleeper = await stage.connect({ clientId: 'sleeper', clean: false })
  await sleeper.subscribe(['q/#', 1])
  await sleeper.disconnect()
  const publisher = await stage.connect()
  const exchanges: Promise<void>[] = []
  for (let i = 0; i < QUEUED; i++) {
    exchanges.push(publisher.publish({ topic: 'q/x', payload: String(i), qos: 1 }))
  }
  await Promise.all(exchanges)
}

async function drainQueue(stage: Stage<BrokerUnderTest>): Promise<void> {
  await fillQueue(stage)
  const awake = await stage.connect({ clientId: 'sleeper', clean: false })
  const publisher = await stage.connect()
  await publisher.publish({ topic: 'q/end', qos: 1 })
  const got = (await awake.takeUntil('q/end')).map(({ payload }) => String(payload))
  expect(got).toEqual([...Array.from({ length: QUEUED }, (_, i) => String(i)), ''])
}

/**
 * The client acknowledges nothing until everything has come, so that each acknowledgement has to be found among
 * as many as there are. Not the time is looked at but how many records the store reads, writes and compares.
 */
async function countSteps(stage: Stage<Braked>): Promise<void> {
  await fillQueue(stage)
  const { brake } = stage.broker
  const before = brake.stepCount
  const awake = await stage.connect({ clientId: 'sleeper', clean: false })
  const messages = await awake.nextMessages(QUEUED)
  for (const message of messages) await awake.acknowledge(message)
  const publisher = await stage.connect()
  await publisher.publish({ topic: 'q/end', qos: 1 })
  await awake.takeUntil('q/end')
  expect((brake.stepCount - before) / QUEUED, 'steps of the store for each message').toBeLessThan(10)
}

describe('F6: long offline queues', () => {
  for (const [name, start] of Object.entries(onBothStores())) {
    it(`delivers ${QUEUED} queued messages after one reconnect, in order: ours, ${name}`, async () => {
      await play(start, drainQueue)
    })
  }

  defect<Braked>('finds what is acknowledged without a search of the queue', {
    scenario: countSteps,
    ours: { 'embedded store': () => BrakedBroker.start({ limits: { maxInflight: QUEUED } }) },
    bare: () => BareAedes.start(),
    fails: /steps of the store for each message/,
  })
})
