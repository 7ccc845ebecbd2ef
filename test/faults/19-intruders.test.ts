import { connect as openSocket, type Socket } from 'node:net'
import { afterEach, expect, it } from 'vitest'
import { type BrokerProcess, startBrokerProcess } from '../support/broker-process.ts'
import { LoadClient } from '../support/load-client.ts'
import { connectPacket, publishPacket } from '../support/wire.ts'
import { eventually, report } from './ledger.ts'

let broker: BrokerProcess

afterEach(() => broker.remove())

const mebibyte = 1024 * 1024
const claim = {
  connect: Buffer.from([0x10, 0xff, 0xff, 0xff, 0x7f]),
  publish: Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f]),
}

interface Intruder {
  readonly socket: Socket
  readonly closed: Promise<void>
  isClosed: boolean
}

function intrude(...bytes: readonly Buffer[]): Promise<Intruder> {
  return new Promise((resolve, reject) => {
    const socket = openSocket({ port: broker.port, host: '127.0.0.1' })
    const closed = new Promise<void>((done) => socket.once('close', () => done()))
    const intruder = { socket, closed, isClosed: false }
    void closed.then(() => (intruder.isClosed = true))
    socket.resume()
    socket.once('error', reject)
    socket.once('connect', () => {
      // From here on it is the broker's right to end it however it likes.
      socket.off('error', reject).on('error', () => {})
      for (const part of bytes) socket.write(part)
      resolve(intruder)
    })
  })
}

const intrudeMany = (count: number, bytes: (i: number) => readonly Buffer[]): Promise<Intruder[]> =>
  Promise.all(Array.from({ length: count }, (_, i) => intrude(...bytes(i))))

const hello = (clientId: string): Buffer => connectPacket({ clientId })

/** A client that behaves gets through, to the end. */
async function goodClientWorks(name = 'good'): Promise<void> {
  const good = new LoadClient({ port: broker.port, clientId: name })
  expect((await good.connect()).code).toBe(0)
  await good.subscribe([name, 1])
  await good.publish({ topic: name, payload: 'p 1', qos: 1 })
  await eventually(() => good.received.length === 1)
  await good.disconnect()
}

async function countersAreZero(): Promise<void> {
  const metrics = [
    'tunnelmq_connections',
    'tunnelmq_sessions',
    'tunnelmq_subscriptions',
    'tunnelmq_messages_inflight',
  ]
  for (const name of metrics) await eventually(async () => (await broker.metric(name)) === 0)
}

it('cuts claims of 256 MB at the fixed header, before and after CONNECT, and keeps nothing for them', async () => {
  broker = await startBrokerProcess()
  await goodClientWorks()
  broker.forgetPeak()
  const beforeBytes = broker.residentBytes()
  const unknown = await intrudeMany(200, () => [claim.connect, Buffer.alloc(60_000)])
  const known = await intrudeMany(200, (i) => [hello(`known-${i}`), claim.publish, Buffer.alloc(60_000)])
  await Promise.all([...unknown, ...known].map(({ closed }) => closed))
  expect(broker.peakResidentBytes() - beforeBytes).toBeLessThan(64 * mebibyte)
  await goodClientWorks()
  await countersAreZero()
  expect(await broker.metric('tunnelmq_connections_refused_total', 'reason="too-large"')).toBe(200)
  expect(await broker.metric('tunnelmq_disconnects_total', 'kind="limit"')).toBe(200)
  report('19 (claims)', 2, '2 delivered to good clients; 400 claims of 256 MB cut')
})

it('cuts packets that drip in or stop half way, before and after CONNECT', async () => {
  broker = await startBrokerProcess({
    config: { limits: { connectTimeoutMs: 3_000, packetTimeoutMs: 3_000 } },
  })
  const whole = hello('half')
  const large = publishPacket({ topic: 'a', payload: 'x'.repeat(100_000) })
  const before = await intrudeMany(50, (i) => [whole.subarray(0, 1 + (i % (whole.length - 1)))])
  const after = await intrudeMany(50, (i) => [hello(`half-${i}`), large.subarray(0, 1 + i * 1_999)])
  const drippers = await intrudeMany(20, (i) => (i % 2 === 0 ? [] : [hello(`drip-${i}`)]))
  // The CONNECT that drips is longer than its time, and so is the PUBLISH: each byte counts for nothing.
  const slow = connectPacket({ clientId: 'slow', username: 'x'.repeat(10_000) })
  let position = 0
  const drip = setInterval(() => {
    for (const [i, { socket }] of drippers.entries())
      socket.write((i % 2 === 0 ? slow : large).subarray(position, position + 1))
    position++
  }, 50)
  await goodClientWorks()
  await Promise.all([...before, ...after, ...drippers].map(({ closed }) => closed))
  clearInterval(drip)
  expect(position).toBeLessThan(10_000)
  await goodClientWorks()
  await countersAreZero()
  expect(await broker.metric('tunnelmq_connections_refused_total', 'reason="connect-timeout"')).toBe(60)
  report('19 (drips)', 2, '2 delivered to good clients; 120 half packets cut')
})

it('lets a good client in beside 2,000 silent connections, and cuts those', async () => {
  // All are open at once before the first is cut, also on a busy machine.
  broker = await startBrokerProcess({ config: { limits: { connectTimeoutMs: 10_000 } } })
  const silent = await intrudeMany(2_000, () => [])
  await eventually(async () => (await broker.metric('tunnelmq_connections')) >= 2_000)
  await goodClientWorks()
  expect(silent.filter(({ isClosed }) => isClosed)).toEqual([])
  await Promise.all(silent.map(({ closed }) => closed))
  await goodClientWorks()
  await countersAreZero()
  expect(await broker.metric('tunnelmq_connections_refused_total', 'reason="connect-timeout"')).toBe(2_000)
  report('19 (silent)', 2, '2 delivered to good clients; 2000 silent connections cut')
})

it('bears 5,000 connects in a row, with and without a goodbye, and has all counters back at 0', async () => {
  broker = await startBrokerProcess()
  let next = 0
  let acceptedCount = 0
  const worker = async (): Promise<void> => {
    while (next < 5_000) {
      const number = next++
      const client = new LoadClient({ port: broker.port, clientId: `client-${number}` })
      const { code } = await client.connect()
      if (code === 0) acceptedCount++
      await client.subscribe([`to/${number}`, 1])
      await (number % 2 === 0 ? client.disconnect() : client.vanish())
    }
  }
  await Promise.all(Array.from({ length: 50 }, worker))
  expect(acceptedCount).toBe(5_000)
  await goodClientWorks()
  await countersAreZero()
  expect(await broker.metric('tunnelmq_connections_accepted_total')).toBe(5_001)
  report('19 (connects)', 1, `1 delivered to a good client; ${acceptedCount} connects accepted`)
})

it.each([true, false])(
  'leaves one connection of 200 with one client id, in turn and at once (clean session %s)',
  async (clean) => {
    broker = await startBrokerProcess()
    const claimants: LoadClient[] = []
    const contend = async (): Promise<void> => {
      const claimant = new LoadClient({ port: broker.port, clientId: 'same', clean })
      claimants.push(claimant)
      // Those that lose at once never see a CONNACK.
      await claimant.connect().catch(() => undefined)
    }
    const speaker = new LoadClient({ port: broker.port, clientId: 'speaker' })
    await speaker.connect()
    const oneIsLeft = async (payload: string): Promise<void> => {
      await eventually(() => claimants.filter(({ isOpen }) => isOpen).length === 1)
      await eventually(async () => (await broker.metric('tunnelmq_connections')) === 2)
      const survivor = claimants.find(({ isOpen }) => isOpen)!
      await survivor.subscribe(['to/same', 1])
      await speaker.publish({ topic: 'to/same', payload, qos: 1 })
      await eventually(() => survivor.received.length > 0)
      const came = claimants.flatMap(({ received }) => received.map((one) => one.payload.toString()))
      expect(came.filter((text) => text === payload)).toHaveLength(1)
    }
    for (let i = 0; i < 200; i++) await contend()
    await oneIsLeft('in turn 1')
    await Promise.all(Array.from({ length: 200 }, contend))
    await oneIsLeft('at once 2')
    await Promise.all(claimants.map((claimant) => claimant.disconnect()))
    await speaker.disconnect()
    await eventually(async () => (await broker.metric('tunnelmq_connections')) === 0)
    expect(await broker.metric('tunnelmq_sessions', 'state="stored"')).toBe(clean ? 0 : 1)
    expect(await broker.metric('tunnelmq_sessions', 'state="connected"')).toBe(0)
    report(
      `19 (one id, clean session ${clean})`,
      speaker.acknowledged.size,
      '2 delivered to the one that was left',
    )
  },
)
