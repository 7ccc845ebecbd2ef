import { describe, expect } from 'vitest'
import { BareAedes } from '../support/bare-aedes.ts'
import { onBothStores } from './ours.ts'
import { type BrokerUnderTest, defect, type Stage } from './stage.ts'

const WINDOW = 20
const MESSAGES = 50

/** A subscriber that acknowledges nothing at first. */
async function window(stage: Stage<BrokerUnderTest>, clean: boolean): Promise<void> {
  const slow = await stage.connect({ clientId: 'slow', clean })
  await slow.subscribe(['q/#', 1])
  const publisher = await stage.connect()
  for (let i = 0; i < MESSAGES; i++) await publisher.publish({ topic: 'q/x', payload: String(i), qos: 1 })
  // At QoS 0 nothing is waited for: it comes after whatever was sent of the others.
  await publisher.publish({ topic: 'q/fence', qos: 0 })
  await slow.next('publish', ({ topic }) => topic === 'q/fence')
  expect(slow.waitingMessages.length, 'messages sent and not acknowledged').toBeLessThanOrEqual(WINDOW)

  const payloads: string[] = []
  for (let i = 0; i < MESSAGES; i++) {
    const message = await slow.next('publish')
    payloads.push(String(message.payload))
    await slow.acknowledge(message)
  }
  expect(payloads).toEqual(Array.from({ length: MESSAGES }, (_, i) => String(i)))
}

/** What was not acknowledged comes again, with DUP and the same packet identifier. [MQTT-3.3.1-1] [MQTT-4.4.0-1] */
async function redelivery(stage: Stage<BrokerUnderTest>, qos: number): Promise<void> {
  const first = await stage.connect({ clientId: 'keeper', clean: false })
  await first.subscribe(['q/#', qos])
  const publisher = await stage.connect()
  await publisher.publish({ topic: 'q/1', qos })
  const [lost] = await first.nextMessages(1)
  expect(lost!.dup).toBe(false)

  const again = await stage.connect({ clientId: 'keeper', clean: false })
  const [repeated] = await again.nextMessages(1)
  expect(repeated, 'what is sent again').toEqual({ ...lost, dup: true })
  await again.acknowledge(repeated!)
  await publisher.publish({ topic: 'q/2', qos })
  const [fresh] = await again.nextMessages(1)
  expect(fresh, 'what is sent for the first time').toMatchObject({ topic: 'q/2', dup: false })
  await again.acknowledge(fresh!)
}

describe('F25: the in-flight window and redelivery', () => {
  for (const clean of [true, false]) {
    defect(`sends at most ${WINDOW} messages without an acknowledgement, clean session ${Number(clean)}`, {
      scenario: (stage) => window(stage, clean),
      ours: onBothStores({ config: { limits: { maxInflight: WINDOW } } }),
      bare: () => BareAedes.start(),
      fails: /messages sent and not acknowledged/,
    })
  }

  for (const qos of [1, 2]) {
    defect(`sets DUP on a message at QoS ${qos} that is sent again`, {
      scenario: (stage) => redelivery(stage, qos),
      ours: onBothStores(),
      bare: () => BareAedes.start(),
      fails: /what is sent again/,
    })
  }
})
