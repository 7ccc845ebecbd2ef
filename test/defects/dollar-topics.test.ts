import { describe, expect } from 'vitest'
import type { Handler } from '../../src/hooks/types.ts'
import { BareAedes } from '../support/bare-aedes.ts'
import { onBothStores } from './ours.ts'
import { type BrokerUnderTest, defect, type Stage } from './stage.ts'

const DOLLAR_TOPICS = ['$tunnel/site/ssh', '$SYS/broker/uptime', '$other/x']

/** A leading wildcard matches no topic that begins with `$`, connected or away. [MQTT-4.7.2-1] */
async function wildcards(stage: Stage<BrokerUnderTest>): Promise<void> {
  const filters = ['#', '+/site/ssh', '+/x'] as const
  const keeper = await stage.connect({ clientId: 'keeper', clean: false })
  await keeper.subscribe(...filters.map((filter) => [filter, 1] as const))
  const publisher = await stage.connect()
  const publishAll = async (): Promise<void> => {
    for (const topic of DOLLAR_TOPICS) await publisher.publish({ topic, qos: 1 })
    await publisher.publish({ topic: 'end', qos: 1 })
  }
  await publishAll()
  const online = (await keeper.takeUntil('end')).map(({ topic }) => topic)
  expect(online, 'topics delivered while connected').toEqual(['end'])
  await keeper.disconnect()
  await publishAll()
  const again = await stage.connect({ clientId: 'keeper', clean: false })
  const offline = (await again.takeUntil('end')).map(({ topic }) => topic)
  expect(offline, 'topics delivered through the offline queue').toEqual(['end'])
}

/** A message that Aedes itself sends to other brokers: they close the connection of that client. */
async function kick(stage: Stage<BrokerUnderTest>): Promise<void> {
  const victim = await stage.connect({ clientId: 'victim' })
  await victim.subscribe(['after', 0])
  const attacker = await stage.connect()
  await attacker.publish({ topic: '$SYS/another-broker/new/clients', payload: 'victim' })
  await attacker.publish({ topic: 'after' })
  await Promise.race([victim.closed, victim.next('publish').catch(() => {})])
  expect(victim.isClosed, 'the other client was kicked').toBe(false)
}

const allowEverything: Handler = { authConnect: () => {}, authPublish: () => {}, authSubscribe: () => {} }

describe('topics that begin with $', () => {
  const ours = onBothStores({ handlers: [allowEverything] })
  const bare = (): Promise<BareAedes> =>
    BareAedes.start({ authorizePublish: (_client, _packet, done) => done(null) })

  defect('gives nothing of them to a leading wildcard, also not through the offline queue', {
    scenario: wildcards,
    ours,
    bare,
    fails: /topics delivered through the offline queue/,
  })

  defect('lets nobody kick a client by a message to $SYS, whatever a handler allows', {
    scenario: kick,
    ours,
    bare,
    fails: /the other client was kicked/,
  })
})
