import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Message } from '../../../src/broker/message.ts'
import { MAX_UNFORGOTTEN_COUNT, type Store } from '../../../src/store/contract.ts'
import { createMemoryStore } from '../../../src/store/memory.ts'
import { BrokerParts, type PartsClient, type PartsOptions } from '../../support/broker-parts.ts'
import { payloads, testLimits } from '../../support/store-fixtures.ts'

/** One subscriber to `#` at QoS 2, with a stored session or a clean one. */
async function subscriber(
  clean: boolean,
  options: PartsOptions = {},
): Promise<{ parts: BrokerParts; client: PartsClient }> {
  const parts = await BrokerParts.open(options)
  const client = await parts.connect('subscriber', clean)
  await client.subscribe('#', 2)
  return { parts, client }
}

async function publishAll(parts: BrokerParts, texts: readonly string[], qos: 1 | 2): Promise<void> {
  await Promise.all(texts.map((text) => parts.publish('t', text, qos)))
  await parts.quiet()
}

function numbers(count: number, from = 1): string[] {
  return Array.from({ length: count }, (_, index) => String(index + from))
}

const kinds = [
  ['stored', false],
  ['clean', true],
] as const

describe.each(kinds)('the window of a %s session', (_kind, clean) => {
  it('bounds what is in flight, and lets the next one out for each PUBACK', async () => {
    const { parts, client } = await subscriber(clean)
    await publishAll(parts, numbers(7), 1)
    expect(client.received()).toEqual([
      'publish t=1 qos1 #2',
      'publish t=2 qos1 #3',
      'publish t=3 qos1 #4',
      'publish t=4 qos1 #5',
    ])
    client.acknowledge('puback', 3)
    expect(client.received()).toEqual(['publish t=5 qos1 #6'])
    expect(client.session.outbox.inflightCount).toBe(4)
    for (const id of [2, 4, 5, 6]) client.acknowledge('puback', id)
    expect(client.received()).toEqual(['publish t=6 qos1 #7', 'publish t=7 qos1 #8'])
    for (const id of [7, 8]) client.acknowledge('puback', id)
    expect(client.session.outbox.inflightCount).toBe(0)
  })

  it('is not opened by acknowledgements that fit nothing', async () => {
    const { parts, client } = await subscriber(clean)
    await publishAll(parts, numbers(5), 1)
    client.received()
    client.acknowledge('puback', 4_711)
    client.acknowledge('pubcomp', 2)
    client.acknowledge('pubcomp', 4_711)
    client.acknowledge('pubrec', 2)
    expect(client.received()).toEqual([])
    expect(client.session.outbox.inflightCount).toBe(4)
  })

  it('gives one identifier to one message at a time, also when they wrap around', async () => {
    const { parts, client } = await subscriber(clean)
    await parts.publish('t', 'first', 1)
    await parts.quiet()
    expect(client.received()).toEqual(['publish t=first qos1 #2'])
    // All the others are acknowledged; 65,535 messages later it is the turn of #2 again.
    let last = ''
    for (let sent = 0; sent < 65_534;) {
      const count = Math.min(1_000, 65_534 - sent)
      await Promise.all(Array.from({ length: count }, () => parts.publish('t', 'next', 1)))
      for (let rest = count; rest > 0;) {
        const packets = client.packets()
        if (packets.length === 0) await parts.quiet()
        for (const packet of packets) {
          client.acknowledge('puback', packet.messageId!)
          last = `#${packet.messageId}`
          rest--
        }
      }
      sent += count
    }
    expect(last).toBe('#1')
    await publishAll(parts, ['conflict', 'behind'], 1)
    expect(client.received()).toEqual([])
    client.acknowledge('puback', 2)
    await parts.quiet()
    expect(client.received()).toEqual(['publish t=conflict qos1 #2', 'publish t=behind qos1 #3'])
  })
})

describe.each(kinds)('QoS 2 to a %s session', (_kind, clean) => {
  it('goes through its handshake, and then lets the next one out', async () => {
    const { parts, client } = await subscriber(clean, { maxInflight: 1 })
    await publishAll(parts, ['x', 'y'], 2)
    expect(client.received()).toEqual(['publish t=x qos2 #2'])
    client.acknowledge('pubrec', 2)
    await parts.quiet()
    expect(client.received()).toEqual(['pubrel #2'])
    client.acknowledge('pubcomp', 2)
    expect(client.received()).toEqual(['publish t=y qos2 #3'])
  })

  it('answers a repeated PUBREC with PUBREL, and no PUBACK or early PUBCOMP ends it', async () => {
    const { parts, client } = await subscriber(clean)
    await publishAll(parts, ['x'], 2)
    client.received()
    client.acknowledge('puback', 2)
    client.acknowledge('pubcomp', 2)
    expect(client.session.outbox.inflightCount).toBe(1)
    client.acknowledge('pubrec', 2)
    client.acknowledge('pubrec', 2)
    await parts.quiet()
    expect(new Set(client.received())).toEqual(new Set(['pubrel #2']))
    client.acknowledge('pubrec', 2)
    expect(client.received()).toEqual(['pubrel #2'])
    client.acknowledge('puback', 2)
    expect(client.session.outbox.inflightCount).toBe(1)
    client.acknowledge('pubcomp', 2)
    expect(client.session.outbox.inflightCount).toBe(0)
  })

  it('answers PUBREC for an identifier that it does not know, so that the client can finish', async () => {
    const { client } = await subscriber(clean)
    client.acknowledge('pubrec', 99)
    expect(client.received()).toEqual(['pubrel #99'])
  })
})

describe('a stored session that comes back', () => {
  it('gets what was in flight again, with DUP and the same identifiers, and then what waited', async () => {
    const { parts, client } = await subscriber(false)
    await publishAll(parts, numbers(6), 1)
    client.acknowledge('puback', 3)
    expect(client.received()).toHaveLength(5)
    client.lose()
    await publishAll(parts, ['7'], 1)
    const again = await parts.connect('subscriber')
    await parts.quiet()
    expect(again.received()).toEqual([
      'publish t=1 qos1 #2 dup',
      'publish t=3 qos1 #4 dup',
      'publish t=4 qos1 #5 dup',
      'publish t=5 qos1 #6 dup',
    ])
    for (const id of [2, 4, 5, 6]) again.acknowledge('puback', id)
    await parts.quiet()
    expect(again.received()).toEqual(['publish t=6 qos1 #7', 'publish t=7 qos1 #8'])
    expect(parts.counters.redelivered).toBe(4)
  })

  it('goes on with PUBREL where PUBREC had come [MQTT-4.4.0-1]', async () => {
    const { parts, client } = await subscriber(false)
    await publishAll(parts, ['x', 'y'], 2)
    client.acknowledge('pubrec', 2)
    await parts.quiet()
    client.lose()
    const again = await parts.connect('subscriber')
    await parts.quiet()
    expect(again.received()).toEqual(['pubrel #2', 'publish t=y qos2 #3 dup'])
    again.acknowledge('pubcomp', 2)
    again.acknowledge('pubrec', 3)
    await parts.quiet()
    again.acknowledge('pubcomp', 3)
    await parts.quiet()
    expect(again.session.stored).toMatchObject({ queuedCount: 0 })
  })

  it('gets no PUBREL over a connection that has replaced the one with the PUBREC', async () => {
    const { parts, client } = await subscriber(false)
    await publishAll(parts, ['x'], 2)
    client.received()
    client.acknowledge('pubrec', 2)
    client.lose()
    const again = await parts.connect('subscriber')
    await parts.quiet()
    expect(again.received()).toEqual(['pubrel #2'])
    expect(client.received()).toEqual([])
  })

  it('is not sent what has expired; it is forgotten and counted', async () => {
    const { parts, client } = await subscriber(false)
    client.lose()
    const { stored } = parts.sessions.get('subscriber')!
    await new Promise<void>((resolve) =>
      parts.store.publish(
        {
          message: {
            topic: 't',
            payload: Buffer.from('old'),
            qos: 1,
            retain: false,
            publisher: '',
            publishedAtMs: 1,
            expiresAtMs: 2,
          },
          targets: [{ session: stored!, qos: 1 }],
          retain: false,
        },
        () => resolve(),
      ),
    )
    await publishAll(parts, ['new'], 1)
    const again = await parts.connect('subscriber')
    await parts.quiet()
    expect(again.received()).toEqual(['publish t=new qos1 #3'])
    expect(parts.counters.dropped.expired).toBe(1)
    expect(stored).toMatchObject({ queuedCount: 1 })
  })
})

describe('the queue of a clean session', () => {
  it('is bounded by count, and counts what it drops', async () => {
    const { parts, client } = await subscriber(true, { queueMaxMessages: 3 })
    await publishAll(parts, numbers(10), 1)
    expect(parts.counters.dropped['queue-full']).toBe(3)
    const got: string[] = []
    for (let more = client.takeAndAcknowledge(); more.length > 0; more = client.takeAndAcknowledge())
      got.push(...more)
    expect(got).toEqual(numbers(7))
  })

  it('is bounded by bytes', async () => {
    const { parts, client } = await subscriber(true, { maxInflight: 1, cleanQueueMaxBytes: 10 })
    await publishAll(parts, ['in flight', '12345', '678', '9012', '90'], 1)
    expect(parts.counters.dropped['queue-full']).toBe(1)
    const got: string[] = []
    for (let more = client.takeAndAcknowledge(); more.length > 0; more = client.takeAndAcknowledge())
      got.push(...more)
    expect(got).toEqual(['in flight', '12345', '678', '90'])
  })

  it('sends nothing more to a peer that does not read, and goes on when it does', async () => {
    const { parts, client } = await subscriber(true, { maxInflight: 1_000, cleanQueueMaxBytes: 10_000_000 })
    client.transport.isSlow = true
    const payload = 'x'.repeat(100_000)
    for (let i = 0; i < 30; i++) await parts.publish('t', payload, 1)
    expect(client.session.outbox.waitingCount).toBeGreaterThan(15)
    expect(client.connection.outbound.pendingBytes).toBeLessThan(1_200_000)
    client.transport.isSlow = false
    client.transport.take()
    expect(client.session.outbox.waitingCount).toBe(0)
    expect(client.packets()).toHaveLength(30)
  })
})

/** The memory store, with what a test takes over. */
async function storeWith(parts: Partial<Store>): Promise<Store> {
  const memory = createMemoryStore({ ...testLimits, queueMaxMessages: 10_000 })
  await memory.open()
  return new Proxy(memory, {
    get: (target, name) => Reflect.get(name in parts ? parts : target, name) as unknown,
  })
}

describe('a store that fails or is slow', () => {
  it('means no PUBREL, and a report', async () => {
    const failing = await storeWith({ release: (_session, _seq, _bytes, done) => done(new Error('disk')) })
    const { parts, client } = await subscriber(false, { store: failing })
    await publishAll(parts, ['x'], 2)
    client.received()
    client.acknowledge('pubrec', 2)
    expect(client.received()).toEqual([])
    expect(parts.failures).toEqual([new Error('disk')])
  })

  it('means a report when the queue cannot be read', async () => {
    const failing = await storeWith({ readQueue: () => Promise.reject(new Error('disk')) })
    const { parts, client } = await subscriber(false, { store: failing })
    client.lose()
    await publishAll(parts, ['x'], 1)
    await parts.connect('subscriber')
    await parts.quiet()
    expect(parts.failures).toEqual([new Error('disk')])
  })

  it('means no more sent than a crash may bring back: acknowledged messages that are not yet forgotten count', async () => {
    const forgotten: (() => void)[] = []
    const base = await storeWith({})
    const slow = new Proxy(base, {
      get: (target, name) =>
        name === 'acknowledge'
          ? (((session, seq, bytes, done) => {
              if (done !== undefined) forgotten.push(done)
              return target.acknowledge(session, seq, bytes)
            }) satisfies Store['acknowledge'])
          : (Reflect.get(target, name) as unknown),
    })
    const { parts, client } = await subscriber(false, { store: slow, maxInflight: 1 })
    const got: string[] = []
    const takeAll = async (): Promise<void> => {
      for (let more = ['']; more.length > 0;) {
        await parts.quiet()
        more = client.takeAndAcknowledge()
        got.push(...more)
      }
    }
    for (let from = 1; from <= 1_200; from += 100) {
      await publishAll(parts, numbers(100, from), 1)
      await takeAll()
    }
    expect(got).toEqual(numbers(MAX_UNFORGOTTEN_COUNT))
    forgotten.shift()!()
    await takeAll()
    expect(got).toEqual(numbers(MAX_UNFORGOTTEN_COUNT + 1))
    while (got.length < 1_200) {
      forgotten.shift()!()
      await takeAll()
    }
    expect(got).toEqual(numbers(1_200))
  })
})

describe('deliveries over lost connections', () => {
  const anyStep = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({ kind: fc.constant('publish' as const), count: fc.integer({ min: 1, max: 6 }) }),
    },
    { weight: 5, arbitrary: fc.record({ kind: fc.constant('acknowledge' as const), count: fc.nat(6) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('reconnect' as const), count: fc.constant(0) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('lose' as const), count: fc.constant(0) }) },
  )

  it('are in order, repeated only with DUP, and none is missing', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyStep, { maxLength: 30, size: 'max' }), async (steps) => {
        const { parts, client: first } = await subscriber(false)
        let client = first
        let published = 0
        const seen: string[] = []
        let open: number[] = []
        const take = (): void => {
          for (const packet of client.packets()) {
            if (packet.cmd !== 'publish') continue
            const payload = packet.payload.toString()
            expect(packet.dup).toBe(seen.includes(payload))
            if (!packet.dup) seen.push(payload)
            open.push(packet.messageId!)
          }
        }
        for (const { kind, count } of [...steps, { kind: 'reconnect' as const, count: 0 }]) {
          if (kind === 'publish') {
            await publishAll(parts, numbers(count, published + 1), 1)
            published += count
          } else if (kind === 'acknowledge') {
            for (const id of open.splice(0, count)) client.acknowledge('puback', id)
          } else {
            // What was still on its way is what it has not seen.
            take()
            client.lose()
            open = []
            if (kind === 'reconnect') client = await parts.connect('subscriber')
          }
          await parts.quiet()
          take()
        }
        while (open.length > 0) {
          for (const id of open.splice(0)) client.acknowledge('puback', id)
          await parts.quiet()
          take()
        }
        expect(seen).toEqual(numbers(published))
        expect(await payloads(parts.store, client.session.stored!)).toEqual([])
        expect(parts.failures).toEqual([])
      }),
      { numRuns: 60 },
    )
  })
})

describe('a message that expires while it is in flight', () => {
  it('is counted once, so that what is behind it comes again after a lost connection', async () => {
    const parts = await BrokerParts.open()
    const client = await parts.connect('c')
    await client.subscribe('t', 1)
    const nowMs = Date.now()
    const short = new Message('t', Buffer.from('short'), 1, false, 'p', nowMs, nowMs + 60_000)
    await new Promise<void>((resolve) => parts.dispatcher.dispatch(short, { retain: false }, () => resolve()))
    await parts.quiet()
    const [sent] = client.packets()
    await parts.store.sweep(nowMs + 120_000)
    await parts.publish('t', 'long', 1)
    await parts.quiet()
    client.acknowledge('puback', sent!.messageId!)
    await parts.quiet()
    expect(client.session.stored!.queuedCount).toBe(1)
    client.lose()
    const again = await parts.connect('c')
    await parts.quiet()
    expect(again.takeAndAcknowledge()).toEqual(['long'])
  })
})
