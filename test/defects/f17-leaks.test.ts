import { describe, expect, it } from 'vitest'
import { BareAedes } from '../support/bare-aedes.ts'
import { BrakedBroker, onBothStores } from './ours.ts'
import { type BrokerUnderTest, defect, play, type Stage } from './stage.ts'

async function retainedQos2(stage: Stage<BrokerUnderTest>): Promise<void> {
  const publisher = await stage.connect()
  await publisher.publish({ topic: 'r/x', payload: 'kept', qos: 2, retain: true })
  const keeper = await stage.connect({ clientId: 'keeper', clean: false })
  await keeper.subscribe(['r/#', 2])
  const [message] = await keeper.nextMessages(1)
  expect(message).toMatchObject({ topic: 'r/x', qos: 2, retain: true })
  await keeper.acknowledge(message!)
  await keeper.ping()
}

const MESSAGES = 50

async function nothingIsLeft(stage: Stage<BrakedBroker>): Promise<void> {
  const keeper = await stage.connect({ clientId: 'keeper', clean: false })
  await keeper.subscribe(['q/#', 2])
  const publisher = await stage.connect({ clientId: 'publisher', clean: false })
  const exchange = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++) await publisher.publish({ topic: 'q/x', qos: 2 })
  }
  // Half of them while it is connected, half while it is not.
  const online = keeper.takeUntil('q/end')
  await exchange(MESSAGES)
  await publisher.publish({ topic: 'q/end', qos: 2 })
  expect(await online).toHaveLength(MESSAGES + 1)
  await keeper.disconnect()
  await exchange(MESSAGES)
  await publisher.publish({ topic: 'q/end', qos: 2 })
  // It is seen when something is there.
  expect(stage.broker.store.stats().queuedMessages).toBe(MESSAGES + 1)
  const awake = await stage.connect({ clientId: 'keeper', clean: false })
  expect(await awake.takeUntil('q/end')).toHaveLength(MESSAGES + 1)
  await awake.ping()
  await awake.disconnect()
  await publisher.disconnect()

  // What the disk has, not only what memory says.
  await stage.broker.restart()
  const { store } = stage.broker
  expect(store.stats()).toMatchObject({ queuedMessages: 0, queuedBytes: 0, pendingWrites: 0 })
  for (const session of store.sessions.values()) {
    expect([...session.incomingIds], `identifiers of ${session.id}`).toEqual([])
    expect(await store.readQueue(session, 0, 10, 10_000), `queue of ${session.id}`).toEqual([])
  }
}

describe('F17: what QoS 2 leaves behind', () => {
  it('leaves nothing in the store of messages that were delivered: ours, embedded store', async () => {
    await play(() => BrakedBroker.start(), nothingIsLeft)
  })

  defect('brings a retained message at QoS 2 to a persistent subscriber', {
    scenario: retainedQos2,
    ours: onBothStores(),
    bare: () => BareAedes.start(),
    fails: /no PUBREL/,
  })
})
