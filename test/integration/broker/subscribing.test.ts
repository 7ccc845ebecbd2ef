import { describe, expect, it, onTestFinished } from 'vitest'
import type { Store } from '../../../src/store/contract.ts'
import { createMemoryStore } from '../../../src/store/memory.ts'
import { startBrokerOnStore } from '../../support/broker-on-store.ts'
import { connectRaw } from '../../support/broker-world.ts'
import { testLimits } from '../../support/store-fixtures.ts'
import { subscribePacket, type Filter } from '../../support/wire.ts'

/** A broker whose store has written the first subscriptions, and does not say so before `answer` is called. */
async function brokerOnSlowStore() {
  const memory = createMemoryStore(testLimits)
  await memory.open()
  let reach: () => void = () => {}
  let answer: () => void = () => {}
  const reached = new Promise<void>((resolve) => (reach = resolve))
  const answered = new Promise<void>((resolve) => (answer = resolve))
  let isFirst = true
  const putSubscriptions: Store['putSubscriptions'] = async (...args) => {
    const isHeld = isFirst && args[0].id === 'slow'
    if (isHeld) isFirst = false
    await memory.putSubscriptions(...args)
    if (!isHeld) return
    reach()
    await answered
  }
  const broker = await startBrokerOnStore({ ...memory, putSubscriptions })
  onTestFinished(() => broker.stop())
  const subscribe = async (filter: Filter) => {
    const client = await connectRaw(broker.port, { clientId: 'slow', clean: false })
    client.send(subscribePacket(1, [filter]))
    await reached
    return client
  }
  return { port: broker.port, store: memory, subscribe, answer }
}

describe('a subscription that is being stored', () => {
  it('holds when its connection is lost before the SUBACK', async () => {
    const { port, store, subscribe, answer } = await brokerOnSlowStore()
    const client = await subscribe(['t', 1])
    // Its place is taken, so the broker knows that it is gone.
    const again = await connectRaw(port, { clientId: 'slow', clean: false })
    await client.untilClosed()
    answer()
    const publisher = await connectRaw(port, { clientId: 'publisher' })
    await publisher.publish({ topic: 't', qos: 1, payload: 'x' })
    expect([...store.sessions.get('slow')!.subscriptions.keys()]).toEqual(['t'])
    expect((await again.nextMessages(1))[0]).toMatchObject({ topic: 't', qos: 1 })
  })

  it('of a group has a stored queue, though the last other member has left meanwhile', async () => {
    const { port, store, subscribe, answer } = await brokerOnSlowStore()
    const other = await connectRaw(port, { clientId: 'other', clean: false })
    await other.subscribe(['$share/g/t', 1])
    const client = await subscribe(['$share/g/t', 1])
    await other.unsubscribe('$share/g/t')
    answer()
    await client.next('suback')
    await client.destroy()
    await other.publish({ topic: 't', qos: 1, payload: 'x' })
    expect(store.groups.get('g/t')).toMatchObject({ queuedCount: 1 })
  })
})
