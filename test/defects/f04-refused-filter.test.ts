import { describe, expect } from 'vitest'
import type { Handler } from '../../src/hooks/types.ts'
import { BareAedes } from '../support/bare-aedes.ts'
import { onBothStores } from './ours.ts'
import { type BrokerUnderTest, defect, type Stage } from './stage.ts'

const SECRET = 'secret/#'

async function refusedBesideAllowed(stage: Stage<BrokerUnderTest>): Promise<void> {
  const reader = await stage.connect({ clientId: 'reader', clean: false })
  expect(await reader.subscribe(['open/#', 1], [SECRET, 1])).toEqual([1, 0x80])
  const publisher = await stage.connect()
  await publisher.publish({ topic: 'secret/plan', qos: 1 })
  await publisher.publish({ topic: 'open/end', qos: 1 })
  const online = (await reader.takeUntil('open/end')).map(({ topic }) => topic)
  expect(online, 'delivered while connected').toEqual(['open/end'])
  await reader.disconnect()

  await publisher.publish({ topic: 'secret/plan', qos: 1 })
  await publisher.publish({ topic: 'open/end', qos: 1 })
  const again = await stage.connect({ clientId: 'reader', clean: false })
  const offline = (await again.takeUntil('open/end')).map(({ topic }) => topic)
  expect(offline, 'delivered after the reconnect').toEqual(['open/end'])
}

describe('F4: a refused filter beside an allowed one', () => {
  const handler: Handler = {
    authConnect: () => {},
    authPublish: () => {},
    authSubscribe(_session, subscriptions) {
      for (const subscription of subscriptions) subscription.refused = subscription.topic === SECRET
    },
  }

  defect('stores nothing for a refused filter, and delivers nothing of it after a reconnect', {
    scenario: refusedBesideAllowed,
    ours: onBothStores({ handlers: [handler] }),
    bare: () =>
      BareAedes.start({
        authorizeSubscribe: (_client, subscription, done) =>
          done(null, subscription.topic === SECRET ? null : subscription),
      }),
    fails: /delivered (after the reconnect|while connected)/,
  })
})
