import { describe, expect } from 'vitest'
import type { Handler } from '../../src/hooks/types.ts'
import { BareAedes } from '../support/bare-aedes.ts'
import { onBothStores } from './ours.ts'
import { type BrokerUnderTest, defect, type Stage } from './stage.ts'

/** One code for each filter, in their order [MQTT-3.9.3-1], and a delivery at the last QoS asked for. */
async function sameFilterTwice(stage: Stage<BrokerUnderTest>, clean: boolean): Promise<void> {
  const client = await stage.connect({ clean })
  const codes = await client.subscribe(['a', 1], ['b', 2], ['a', 0])
  expect(codes, 'codes of the SUBACK').toEqual([1, 2, 0])
  await client.publish({ topic: 'a', payload: 'end', qos: 1 })
  const messages = await client.takeUntil('a')
  expect(messages).toMatchObject([{ topic: 'a', qos: 0 }])
}

async function loweredQos(stage: Stage<BrokerUnderTest>): Promise<void> {
  const client = await stage.connect()
  const codes = await client.subscribe(['cheap/#', 2], ['dear/#', 2])
  expect(codes, 'codes of the SUBACK').toEqual([0, 2])
  const publisher = await stage.connect()
  await publisher.publish({ topic: 'cheap/x', qos: 2 })
  await publisher.publish({ topic: 'dear/x', qos: 2 })
  const got = (await client.takeUntil('dear/x')).map(({ topic, qos }) => `${topic} ${qos}`)
  expect(got).toEqual(['cheap/x 0', 'dear/x 2'])
}

const MESSAGES = 20

async function sharedLive(stage: Stage<BrokerUnderTest>): Promise<void> {
  const members = [await stage.connect(), await stage.connect()]
  for (const member of members) expect(await member.subscribe(['$share/group/job/+', 1])).toEqual([1])
  const alone = await stage.connect()
  await alone.subscribe(['job/#', 1])
  const publisher = await stage.connect()
  for (let i = 0; i < MESSAGES; i++) await publisher.publish({ topic: 'job/x', payload: String(i), qos: 1 })
  await publisher.publish({ topic: 'job', qos: 1 })
  expect(await alone.takeUntil('job')).toHaveLength(MESSAGES + 1)

  const shares: number[] = []
  const payloads: number[] = []
  for (const member of members) {
    await member.ping()
    const messages = member.waitingMessages
    shares.push(messages.length)
    for (const message of messages) payloads.push(Number(String(message.payload)))
  }
  expect(shares, 'messages of each member').toEqual([MESSAGES / 2, MESSAGES / 2])
  expect(payloads.sort((a, b) => a - b)).toEqual(Array.from({ length: MESSAGES }, (_, i) => i))
}

async function sharedOffline(stage: Stage<BrokerUnderTest>): Promise<void> {
  const member = await stage.connect({ clientId: 'member', clean: false })
  await member.subscribe(['$share/group/job/+', 1])
  await member.disconnect()
  const publisher = await stage.connect()
  for (let i = 0; i < MESSAGES; i++) await publisher.publish({ topic: 'job/x', payload: String(i), qos: 1 })
  await publisher.publish({ topic: 'job/end', qos: 1 })

  const other = await stage.connect()
  await other.subscribe(['$share/group/job/+', 1])
  const got = (await other.takeUntil('job/end')).map(({ payload }) => String(payload))
  expect(got).toEqual([...Array.from({ length: MESSAGES }, (_, i) => String(i)), ''])
}

describe('subscribing', () => {
  for (const clean of [true, false]) {
    defect(`answers each filter of a SUBSCRIBE, also one that comes twice, clean session ${Number(clean)}`, {
      scenario: (stage) => sameFilterTwice(stage, clean),
      ours: onBothStores(),
      bare: () => BareAedes.start(),
      fails: /codes of the SUBACK/,
    })
  }

  const handler: Handler = {
    authConnect: () => {},
    authPublish: () => {},
    authSubscribe(_session, subscriptions) {
      for (const one of subscriptions) if (one.topic === 'cheap/#') one.qos = 0
    },
  }
  defect('says in the SUBACK to which QoS a handler has lowered a subscription', {
    scenario: loweredQos,
    ours: onBothStores({ handlers: [handler] }),
    bare: () =>
      BareAedes.start({
        authorizeSubscribe: (_client, subscription, done) =>
          done(null, subscription.topic === 'cheap/#' ? { ...subscription, qos: 0 } : subscription),
      }),
    fails: /codes of the SUBACK/,
  })

  defect('shares messages of $share/<group>/<filter> among the connected members', {
    scenario: sharedLive,
    ours: onBothStores(),
    bare: () => BareAedes.start(),
    fails: /messages of each member/,
  })

  defect('keeps messages of a shared subscription while no member is connected', {
    scenario: sharedOffline,
    ours: onBothStores(),
    bare: () => BareAedes.start(),
    fails: /no PUBLISH to job\/end/,
  })
})
