import { describe, expect } from 'vitest'
import { AuthError, type Handler } from '../../src/hooks/types.ts'
import { BareAedes } from '../support/bare-aedes.ts'
import { publishPacket } from '../support/wire.ts'
import { onBothStores, startOurs } from './ours.ts'
import { type BrokerUnderTest, defect, type Scenario, type Stage } from './stage.ts'

/** [MQTT-3.2.2-5] */
function refusedWith(code: number): Scenario {
  return async (stage) => {
    const client = await stage.open()
    const connack = await client.connect({ clientId: 'unwanted' })
    expect(connack).toEqual({ type: 'connack', sessionPresent: false, code })
    await client.untilClosed()
  }
}

async function silentOnPublish(stage: Stage<BrokerUnderTest>): Promise<void> {
  const client = await stage.connect()
  client.send(publishPacket({ topic: 'a', qos: 1, messageId: 3 }))
  // Refused, as everything is that nobody allows in time: acknowledged, and not delivered.
  await client.nextAck('puback', 3)
  await client.ping()
}

async function silentOnSubscribe(stage: Stage<BrokerUnderTest>): Promise<void> {
  const client = await stage.connect()
  expect(await client.subscribe(['a', 1])).toEqual([0x80])
  await client.ping()
}

/** A session is what is kept, not only subscriptions. [MQTT-3.2.2-2] */
async function emptySession(stage: Stage<BrokerUnderTest>): Promise<void> {
  const first = await stage.open()
  expect(await first.connect({ clientId: 'keeper', clean: false })).toMatchObject({ sessionPresent: false })
  await first.disconnect()
  const again = await stage.open()
  const { sessionPresent } = await again.connect({ clientId: 'keeper', clean: false })
  expect(sessionPresent, 'session present').toBe(true)
  await again.disconnect()
  const clean = await stage.open()
  expect(await clean.connect({ clientId: 'keeper' })).toMatchObject({ sessionPresent: false })
}

const never = new Promise<never>(() => {})
const yes = (): void => {}
const allow: Handler = { authConnect: yes, authPublish: yes, authSubscribe: yes }

/** A handler that never answers one question, and what is asked of it with a short deadline. */
const silent = (handler: Handler) => ({
  'memory store': () =>
    startOurs({
      store: 'memory',
      handlers: [{ ...allow, ...handler }],
      config: { auth: { timeoutMs: 100 } },
    }),
})

describe('connecting', () => {
  const refusing: Handler = {
    authConnect() {
      throw new AuthError('unwanted')
    },
  }
  defect('closes a connection that is refused, with its CONNACK', {
    scenario: refusedWith(5),
    ours: onBothStores({ handlers: [refusing] }),
    bare: () => BareAedes.start({ preConnect: (_client, _packet, done) => done(null, false) }),
    fails: /no CONNACK, but the deadline; 0 packets came/,
  })

  defect('says that a session without subscriptions is present', {
    scenario: emptySession,
    ours: onBothStores(),
    bare: () => BareAedes.start(),
    fails: /session present/,
  })
})

describe('a handler that never answers', () => {
  defect('hangs no CONNECT', {
    // Not the client's fault: it may come again.
    scenario: refusedWith(3),
    ours: silent({ authConnect: () => never }),
    bare: () => BareAedes.start({ authenticate: () => {} }),
    fails: /no CONNACK, but the deadline; 0 packets came/,
  })

  defect('hangs no PUBLISH, nor what comes after it', {
    scenario: silentOnPublish,
    ours: silent({ authPublish: () => never }),
    bare: () => BareAedes.start({ authorizePublish: () => {} }),
    fails: /no PUBACK 3, but the deadline/,
  })

  defect('hangs no SUBSCRIBE, nor what comes after it', {
    scenario: silentOnSubscribe,
    ours: silent({ authSubscribe: () => never }),
    bare: () => BareAedes.start({ authorizeSubscribe: () => {} }),
    fails: /no SUBACK 1, but the deadline/,
  })
})
