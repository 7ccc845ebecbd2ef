import { once } from 'node:events'
import { connect as openSocket } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { TestBroker } from '../../support/broker.ts'
import { connectRaw, eventOf, openBroker, refusalCode } from '../../support/broker-world.ts'
import { AuthError } from '../../../src/hooks/types.ts'
import { connectPacket } from '../../support/wire.ts'

/** Samples by name and labels, as they stand in the text. */
async function metrics(broker: TestBroker): Promise<(sample: string) => number> {
  const text = await (await fetch(`${broker.adminUrl}/metrics`)).text()
  const samples = new Map(
    text
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  )
  return (sample) => {
    const value = samples.get(sample)
    if (value === undefined) throw new Error(`no sample ${sample} in\n${text}`)
    return value
  }
}

const admin = { enabled: true, port: 0 }

describe('/metrics', () => {
  it('moves with what clients do', async () => {
    const broker = await openBroker(
      { admin, listeners: [{ type: 'tcp', name: 'door', port: 0 }] },
      {
        name: 'mine',
        authSubscribe(_, subscriptions) {
          for (const subscription of subscriptions)
            if (subscription.topic === 'c') subscription.refused = true
        },
        authConnect({ id }) {
          if (id === 'evil') throw new AuthError()
        },
        authPublish(_, { topic }) {
          if (topic === 'forbidden') throw new AuthError()
        },
      },
    )
    const door = '{listener="door",transport="tcp"}'
    const before = await metrics(broker)
    expect(before(`tunnelmq_connections${door}`)).toBe(0)

    const client = await connectRaw(broker.port, { clientId: 'c1' })
    await client.subscribe(['a/#', 1], ['b', 0], ['c', 0])
    const away = await connectRaw(broker.port, { clientId: 'away', clean: false })
    await away.subscribe(['a/#', 1])
    await away.disconnect()
    await eventOf(broker, 'client disconnected', { client: 'away' })
    expect(await refusalCode(broker.port, { clientId: 'evil' })).toBe(5)
    await client.publish({ topic: 'a/0', qos: 0 })
    await client.publish({ topic: 'a/1', payload: 'four', qos: 1, retain: true })
    await client.publish({ topic: 'a/2', payload: 'four', qos: 2 })
    await client.publish({ topic: 'forbidden', qos: 1 })
    await client.nextMessages(3)

    const after = await metrics(broker)
    const read = (...names: string[]) => Object.fromEntries(names.map((name) => [name, after(name)]))
    const expected = {
      [`tunnelmq_connections${door}`]: 1,
      [`tunnelmq_connections_accepted_total${door}`]: 2,
      'tunnelmq_connections_refused_total{reason="not-authorized"}': 1,
      'tunnelmq_clients{version="3.1.1"}': 1,
      'tunnelmq_clients{version="5"}': 0,
      'tunnelmq_clients_accepted_total{version="3.1.1"}': 2,
      'tunnelmq_publish_refused_total{code="0x87"}': 1,
      'tunnelmq_disconnects_total{kind="client"}': 1,
      'tunnelmq_disconnects_total{kind="refused"}': 1,
      'tunnelmq_messages_received_total{qos="0"}': 1,
      'tunnelmq_messages_received_total{qos="1"}': 2,
      'tunnelmq_messages_received_total{qos="2"}': 1,
      'tunnelmq_messages_sent_total{qos="0"}': 1,
      'tunnelmq_messages_sent_total{qos="1"}': 2,
      'tunnelmq_messages_dropped_total{reason="refused"}': 1,
      'tunnelmq_handler_failures_total{handler="mine",method="authConnect",cause="refused"}': 1,
      'tunnelmq_handler_failures_total{handler="mine",method="authPublish",cause="refused"}': 1,
      'tunnelmq_handler_failures_total{handler="mine",method="authSubscribe",cause="refused"}': 1,
      tunnelmq_messages_inflight: 2,
      tunnelmq_subscriptions: 3,
      tunnelmq_queued_messages: 2,
      tunnelmq_queued_bytes: 8,
      tunnelmq_retained_messages: 1,
      tunnelmq_retained_bytes: 4,
      tunnelmq_store_up: 1,
      tunnelmq_unhandled_errors_total: 0,
    }
    expect(read(...Object.keys(expected))).toEqual(expected)
    expect(after(`tunnelmq_received_bytes_total${door}`)).toBeGreaterThan(
      before(`tunnelmq_received_bytes_total${door}`),
    )
    expect(after('tunnelmq_store_commit_seconds_count')).toBeGreaterThan(0)
    expect(after('tunnelmq_uptime_seconds')).toBeGreaterThan(0)

    await client.destroy()
    await expect.poll(async () => (await metrics(broker))(`tunnelmq_connections${door}`)).toBe(0)
    expect((await metrics(broker))('tunnelmq_messages_inflight')).toBe(0)
  })

  it('names no client, no address and no topic', async () => {
    const broker = await openBroker({ admin })
    const client = await connectRaw(broker.port, { clientId: 'private-id' })
    await client.publish({ topic: 'private/topic', qos: 1, retain: true })
    const text = await (await fetch(`${broker.adminUrl}/metrics`)).text()
    expect(text).not.toMatch(/private|127\.0\.0\.1/)
  })
})

describe('/live and /ready', () => {
  it('say yes while it runs; ready says no, and why, while it stops', async () => {
    const broker = await openBroker({ admin })
    const ask = async (path: string) => {
      const answer = await fetch(`${broker.adminUrl}${path}`)
      return { status: answer.status, text: await answer.text() }
    }
    expect(await ask('/live')).toMatchObject({ status: 200 })
    expect(await ask('/ready')).toMatchObject({ status: 200 })
    // A client that never closes its own end keeps the stop waiting for a moment.
    const socket = openSocket({ host: '127.0.0.1', port: broker.port, allowHalfOpen: true })
    onTestFinished(() => void socket.destroy())
    socket.resume().write(connectPacket({ clientId: 'c1' }))
    await eventOf(broker, 'client connected')
    const ended = once(socket, 'end')
    const stopped = broker.stop()
    await ended
    expect(await ask('/ready')).toMatchObject({
      status: 503,
      text: expect.stringContaining('stopping') as string,
    })
    expect(await ask('/live')).toMatchObject({ status: 200 })
    socket.destroy()
    await stopped
    await expect(ask('/live')).rejects.toThrow('fetch failed')
  })
})

describe('$SYS/broker', () => {
  it('tells the same to whoever subscribes, as retained messages at QoS 0, and goes on telling', async () => {
    const broker = await openBroker({ sysIntervalMs: 30 })
    const client = await connectRaw(broker.port, { clientId: 'c1' })
    expect(
      await client.subscribe(['$SYS/broker/clients/#', 1], ['$SYS/broker/subscriptions/count', 1]),
    ).toEqual([1, 1])
    const current = async (topic: string, value: string): Promise<void> => {
      await client.next(
        'publish',
        (message) => message.topic === topic && message.payload.toString() === value,
      )
    }
    await current('$SYS/broker/clients/connected', '1')
    await current('$SYS/broker/subscriptions/count', '2')
    const other = await connectRaw(broker.port, { clientId: 'c2', clean: false })
    await current('$SYS/broker/clients/connected', '2')
    await other.disconnect()
    await current('$SYS/broker/clients/connected', '1')
    await current('$SYS/broker/clients/disconnected', '1')
    await current('$SYS/broker/clients/maximum', '2')
  })

  it('is not seen through a wildcard at the front', async () => {
    const broker = await openBroker({ sysIntervalMs: 20 })
    const client = await connectRaw(broker.port, { clientId: 'c1' })
    await client.subscribe(['#', 0], ['+/broker/#', 0], ['$SYS/broker/clients/maximum', 0])
    await client.next('publish', ({ topic }) => topic === '$SYS/broker/clients/maximum')
    await client.ping()
    expect(client.waitingMessages.filter(({ topic }) => topic !== '$SYS/broker/clients/maximum')).toEqual([])
  })
})
