import { describe, expect, it } from 'vitest'
import { BareAedes } from '../support/bare-aedes.ts'
import type { StoreBrake } from '../support/store-brake.ts'
import { publishPacket } from '../support/wire.ts'
import { BrakedBroker } from './ours.ts'
import { type BrokerUnderTest, defect, play, type Stage } from './stage.ts'

type Braked = BrokerUnderTest & { readonly brake: StoreBrake }

/** Somebody for whom messages at QoS 1 have to be stored. */
async function sleeper(stage: Stage<Braked>): Promise<void> {
  const client = await stage.connect({ clientId: 'sleeper', clean: false })
  await client.subscribe(['t/#', 1])
  await client.disconnect()
}

async function storeHangs(stage: Stage<Braked>): Promise<void> {
  await sleeper(stage)
  const publisher = await stage.connect()
  const bystander = await stage.connect()
  const held = stage.broker.brake.hold()
  publisher.send(publishPacket({ topic: 't/x', qos: 1, messageId: 7 }))
  await held.reached
  // What the broker had sent before to others has come by then, too.
  await bystander.ping()
  const acknowledged = publisher.received.filter(({ type }) => type === 'puback')
  expect(acknowledged, 'PUBACK while the message is not stored').toEqual([])
  held.release()
  await publisher.nextAck('puback', 7)
}

async function storeFails(stage: Stage<Braked>): Promise<void> {
  await sleeper(stage)
  const publisher = await stage.connect()
  stage.broker.brake.fail()
  publisher.send(publishPacket({ topic: 't/x', qos: 1, messageId: 7 }))
  // A client that is not thanked and not connected comes again with the message.
  await Promise.race([publisher.untilClosed(), publisher.nextAck('puback', 7).catch(() => {})])
  const acknowledged = publisher.received.filter(({ type }) => type === 'puback')
  expect(acknowledged, 'PUBACK of a message that could not be stored').toEqual([])
}

/** Bare Aedes has stored the identifier of a QoS 2 message before PUBREC, if not the message: F10. */
async function storeHangsAtQos2(stage: Stage<Braked>): Promise<void> {
  await sleeper(stage)
  const publisher = await stage.connect()
  const bystander = await stage.connect()
  const held = stage.broker.brake.hold()
  publisher.send(publishPacket({ topic: 't/x', qos: 2, messageId: 7 }))
  await held.reached
  await bystander.ping()
  expect(publisher.received.filter(({ type }) => type === 'pubrec')).toEqual([])
  held.release()
  await publisher.nextAck('pubrec', 7)
}

async function retainedHangs(stage: Stage<Braked>): Promise<void> {
  const publisher = await stage.connect()
  const bystander = await stage.connect()
  const held = stage.broker.brake.hold()
  publisher.send(publishPacket({ topic: 't/x', payload: 'kept', qos: 1, retain: true, messageId: 7 }))
  await held.reached
  // What the broker had sent before to others has come by then, too.
  await bystander.ping()
  const acknowledged = publisher.received.filter(({ type }) => type === 'puback')
  expect(acknowledged, 'PUBACK while the retained message is not stored').toEqual([])
  held.release()
  await publisher.nextAck('puback', 7)
}

describe('F2: PUBACK before the store', () => {
  const ours = { 'embedded store': () => BrakedBroker.start() }
  const bare = (): Promise<BareAedes> => BareAedes.start()

  defect<Braked>('acknowledges QoS 1 when the message is stored and not before', {
    scenario: storeHangs,
    ours,
    bare,
    fails: /PUBACK while the message is not stored/,
  })

  it('sends PUBREC when the message is stored and not before: ours, embedded store', async () => {
    await play(() => BrakedBroker.start(), storeHangsAtQos2)
  })

  defect<Braked>('does not acknowledge QoS 1 when the store fails', {
    scenario: storeFails,
    ours,
    bare,
    fails: /PUBACK of a message that could not be stored/,
  })

  defect<Braked>('acknowledges a retained message when it is stored and not before', {
    scenario: retainedHangs,
    ours,
    bare,
    fails: /PUBACK while the retained message is not stored/,
  })
})
