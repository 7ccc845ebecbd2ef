import { describe, expect } from 'vitest'
import { BareAedes } from '../support/bare-aedes.ts'
import { onBothStores } from './ours.ts'
import { type BrokerUnderTest, defect, type Stage } from './stage.ts'

/** A QoS of its own for each subscription, of one message at QoS 2. [MQTT-3.8.4-6] */
async function ownQos(stage: Stage<BrokerUnderTest>, filter: string): Promise<void> {
  const sleepers = ['sleeper-1', 'sleeper-2']
  for (const [index, clientId] of sleepers.entries()) {
    const client = await stage.connect({ clientId, clean: false })
    await client.subscribe([filter, index + 1])
    await client.disconnect()
  }
  const online = await stage.connect()
  await online.subscribe([filter, 1])
  const publisher = await stage.connect()
  await publisher.publish({ topic: 'q/x', payload: 'end', qos: 2 })

  const [message] = await online.nextMessages(1)
  expect(message!.qos, 'QoS for the connected subscriber at QoS 1').toBe(1)
  await online.acknowledge(message!)
  for (const [index, clientId] of sleepers.entries()) {
    const awake = await stage.connect({ clientId, clean: false })
    const [later] = await awake.nextMessages(1)
    expect(later!.qos, `QoS for the subscriber at QoS ${index + 1} that was away`).toBe(index + 1)
    await awake.acknowledge(later!)
  }
}

describe('F19: the QoS of another subscriber', () => {
  defect('delivers at the QoS of each subscription, connected or away', {
    scenario: (stage) => ownQos(stage, 'q/x'),
    ours: onBothStores(),
    bare: () => BareAedes.start(),
    fails: /QoS for the subscriber at QoS 1 that was away/,
  })

  defect('lowers the QoS to that of a subscription with a wildcard', {
    scenario: (stage) => ownQos(stage, 'q/+'),
    ours: onBothStores(),
    bare: () => BareAedes.start(),
    fails: /QoS for the connected subscriber at QoS 1/,
  })
})
