import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { AuthError, type PublishRequest } from '../../../src/hooks/types.ts'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'
import { eventually } from '../../support/eventually.ts'
import { LoadClient, type LoadClientOptions } from '../../support/load-client.ts'

const NEVER = 0xffff_ffff

/** Handlers are JavaScript. */
const SPOILERS: Readonly<Record<string, (message: PublishRequest) => void>> = {
  'bad properties': (message) => (message.properties = { userProperties: 5 as never }),
  'bad payload': (message) => (message.payload = 'text' as never),
  'bad topic': (message) => (message.topic = 5 as never),
}

let broker: TestBroker
let watcher: LoadClient
let count = 0
const clients: LoadClient[] = []

beforeAll(async () => {
  broker = await startTestBroker(
    { session: { expiryMs: 60_000, willGraceMs: 100 } },
    {
      handlers: [
        {
          authConnect(session) {
            if (session.id.startsWith('rewritten') && session.will !== undefined)
              session.will = { ...session.will, delaySeconds: 0, properties: { contentType: 'by a handler' } }
            if (session.id === 'null will') session.will = null as never
            if (session.id === 'getter')
              session.will = new Proxy(session.will!, {
                get() {
                  throw new Error('not yours')
                },
              })
          },
          authPublish(session, message) {
            if (message.isWill && session.attributes.has('revoked')) throw new AuthError()
            SPOILERS[session.id]?.(message)
          },
          authSubscribe(session) {
            session.attributes.set('revoked', true)
          },
        },
      ],
    },
  )
  watcher = new LoadClient({ port: broker.port, clientId: 'watcher', version: 5, username: 'w' })
  await watcher.connect()
  await watcher.subscribe(['will/#', 1])
})

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.disconnect()))
})

afterAll(() => broker.stop())

function newClient(options: Partial<LoadClientOptions>): LoadClient {
  const clientId = options.clientId ?? `c${++count}`
  const client = new LoadClient({ port: broker.port, version: 5, username: 'u', ...options, clientId })
  clients.push(client)
  return client
}

/** Connected; its will has its id as payload, and is due after the delay. */
async function mortal(clientId: string, options: Partial<LoadClientOptions> & { delay?: number } = {}) {
  const { delay, ...more } = options
  const properties = delay === undefined ? {} : { willDelayInterval: delay }
  const client = newClient({ clientId, will: { topic: 'will/x', payload: clientId, properties }, ...more })
  await client.connect()
  return client
}

const payloads = (): string[] => watcher.received.map(({ payload }) => payload.toString())

const came = (...wills: string[]): Promise<void> =>
  eventually(() => wills.filter((will) => !payloads().includes(will))).toEqual([])

describe('the session expiry interval', () => {
  it('is what the client asks for, or what the configuration allows, and then it is told', async () => {
    const granted = async (seconds: number | undefined): Promise<number | undefined> => {
      const client = newClient(seconds === undefined ? {} : { sessionExpirySeconds: seconds })
      return (await client.connect()).properties!.sessionExpiryInterval
    }
    expect(await Promise.all([undefined, 0, 10, 60, 61, NEVER].map(granted))).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
      60,
      60,
    ])
  })

  it('keeps a session with clean start, and clean start 0 alone does not', async () => {
    const kept = newClient({ sessionExpirySeconds: 30 })
    expect((await kept.connect()).sessionPresent).toBe(false)
    await kept.vanish()
    const { clientId } = kept.options
    const later = newClient({ clientId, clean: false })
    expect((await later.connect()).sessionPresent).toBe(true)
    await later.vanish()
    // It had asked for none beyond its connection.
    expect((await newClient({ clientId, clean: false }).connect()).sessionPresent).toBe(false)
  })

  it('of 0 ends a session that goes on with its connection, with all that waits', async () => {
    const first = newClient({ sessionExpirySeconds: 30 })
    await first.connect()
    const { clientId } = first.options
    await first.subscribe(['ends/a', 1])
    await first.disconnect()
    const last = newClient({ clientId, clean: false })
    expect((await last.connect()).sessionPresent).toBe(true)
    await last.disconnect()
    await watcher.publish({ topic: 'ends/a', payload: 'lost', qos: 1 })
    const next = newClient({ clientId, clean: false, sessionExpirySeconds: 30 })
    expect((await next.connect()).sessionPresent).toBe(false)
    await next.ping()
    expect(next.received).toEqual([])
  })

  it('is changed by DISCONNECT, within its bound', async () => {
    const ended = newClient({ clean: false, sessionExpirySeconds: 30 })
    await ended.connect()
    await ended.disconnect({ reasonCode: 0, properties: { sessionExpiryInterval: 0 } })
    expect((await ended.connect()).sessionPresent).toBe(false)
    await ended.disconnect({ reasonCode: 0, properties: { sessionExpiryInterval: NEVER } })
    expect((await ended.connect()).sessionPresent).toBe(true)
    const none = newClient({})
    await none.connect()
    await none.disconnect({ reasonCode: 0, properties: { sessionExpiryInterval: 5 } })
    expect(none.ended?.reasonCode).toBe(0x82) // [MQTT-3.14.2.2.2]
  })

  it('is that of the next client of this id: one of 3.1.1 has what is configured', async () => {
    const first = newClient({ sessionExpirySeconds: 30 })
    await first.connect()
    await first.vanish()
    const { clientId } = first.options
    const { version: _, ...before } = newClient({ clientId, clean: false }).options
    const old = new LoadClient(before)
    expect((await old.connect()).sessionPresent).toBe(true)
    await old.disconnect()
    expect((await old.connect()).sessionPresent).toBe(true)
    await old.disconnect()
  })
})

it('a connection that is taken over is told so', async () => {
  const first = newClient({})
  await first.connect()
  await newClient({ clientId: first.options.clientId }).connect()
  await first.closed
  expect(first.ended?.reasonCode).toBe(0x8e)
})

describe('a will', () => {
  it('waits for its delay, and not for longer than its session', async () => {
    const delayed = await mortal('delayed', { delay: 2, sessionExpirySeconds: 30 })
    const short = await mortal('short', { delay: 50, sessionExpirySeconds: 1 })
    const sessionless = await mortal('sessionless', { delay: 50 })
    const returning = await mortal('returning', { delay: 2, sessionExpirySeconds: 30, clean: false })
    await Promise.all([delayed, short, returning].map((client) => client.vanish()))
    await returning.connect()
    await sessionless.vanish()
    await came('sessionless')
    await came('delayed', 'short')
    await watcher.ping()
    expect(payloads()).not.toContain('returning')
  })

  it('is not sent when its client is taken over by one that goes on with the session', async () => {
    const options = { delay: 50, sessionExpirySeconds: 30, clean: false }
    const first = await mortal('successor', options)
    const second = await mortal('successor', options)
    await first.closed
    await second.disconnect()
    await watcher.ping()
    expect(payloads()).not.toContain('successor')
  })

  it('that waits is sent when a clean start ends its session', async () => {
    const options = { delay: 50, sessionExpirySeconds: 30 }
    const away = await mortal('cleaned', options)
    await away.vanish()
    await newClient({ clientId: 'cleaned' }).connect()
    await came('cleaned')
    await mortal('cleaned live', options)
    await newClient({ clientId: 'cleaned live' }).connect()
    await came('cleaned live')
  })

  it('is discarded by DISCONNECT with 0 alone [MQTT-3.14.4-3]', async () => {
    const polite = await mortal('polite')
    await polite.disconnect({ reasonCode: 0 })
    for (const reasonCode of [0x04, 0x80, 0x93]) {
      const client = await mortal(`code ${reasonCode}`)
      await client.disconnect({ reasonCode })
      await came(`code ${reasonCode}`)
    }
    // The new interval counts.
    const ended = await mortal('ended', { delay: 50, sessionExpirySeconds: 30 })
    await ended.disconnect({ reasonCode: 0x04, properties: { sessionExpiryInterval: 0 } })
    await came('ended')
    expect(payloads()).not.toContain('polite')
  })

  it('says what its properties say, also after its delay', async () => {
    const properties = {
      contentType: 'text/plain',
      responseTopic: 'answers',
      correlationData: Buffer.of(1, 2),
      payloadFormatIndicator: 1 as const,
      userProperties: [
        ['a', '1'],
        ['a', '2'],
      ] as const,
      messageExpiryInterval: 90,
    }
    for (const [clientId, willDelayInterval] of [
      ['rich now', 0],
      ['rich later', 1],
    ] as const) {
      const client = newClient({
        clientId,
        sessionExpirySeconds: 30,
        will: { topic: 'will/x', payload: clientId, properties: { ...properties, willDelayInterval } },
      })
      await client.connect()
      await client.vanish()
      await came(clientId)
      const shown = watcher.received.at(-1)!.properties!
      expect(shown).toEqual({ ...properties, messageExpiryInterval: shown.messageExpiryInterval })
      const { messageExpiryInterval } = shown
      expect(messageExpiryInterval).toBeGreaterThan(60)
      expect(messageExpiryInterval).toBeLessThanOrEqual(90)
    }
  })

  it('is what handlers have made of it, and refused when its client has lost its rights', async () => {
    const rewritten = await mortal('rewritten', { delay: 50, sessionExpirySeconds: 30 })
    await rewritten.vanish()
    await came('rewritten')
    expect(watcher.received.at(-1)!.properties).toEqual({ contentType: 'by a handler' })
    const revoked = await mortal('revoked', { delay: 1, sessionExpirySeconds: 30 })
    await revoked.subscribe(['x', 0])
    await revoked.vanish()
    const last = await mortal('last', { delay: 2, sessionExpirySeconds: 30 })
    await last.vanish()
    await came('last')
    expect(payloads()).not.toContain('revoked')
  })

  it('that handlers have made into what cannot be sent is refused, as a message is', async () => {
    const codes: unknown[] = []
    for (const clientId of [...Object.keys(SPOILERS), 'getter', 'null will']) {
      const client = newClient({ clientId, will: { topic: 'will/x', payload: 'spoilt' } })
      codes.push((await client.connect()).code)
      await client.vanish()
    }
    expect(codes).toEqual([0x87, 0x87, 0x87, 0x80, 0])
    for (const clientId of Object.keys(SPOILERS)) {
      const client = newClient({ clientId })
      await client.connect()
      await client.publish({ topic: 'will/x', payload: 'spoilt', qos: 1 })
      expect(client.reasonCodes.get('spoilt')).toBe(0x80)
    }
    await watcher.ping()
    expect(payloads()).not.toContain('spoilt')
  })
})
