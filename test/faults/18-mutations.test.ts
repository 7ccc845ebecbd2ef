import { connect as openSocket } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, it } from 'vitest'
import { Broker } from '../../src/broker/broker.ts'
import { Connection } from '../../src/broker/connection.ts'
import type { PacketHandler } from '../../src/broker/packet-handler.ts'
import { askedTerms } from '../../src/broker/terms.ts'
import { createSingleCluster } from '../../src/cluster/single.ts'
import { configSchema } from '../../src/config/schema.ts'
import { createBrokerCounters } from '../../src/counters.ts'
import { createChain } from '../../src/hooks/chain.ts'
import { createGuard } from '../../src/hooks/guard.ts'
import { createAdmission } from '../../src/listeners/admission.ts'
import { createSilentLog } from '../../src/log.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import { connectionLimits, openProfile } from '../support/broker-parts.ts'
import { startTestBroker } from '../support/broker.ts'
import { CountingTransport } from '../support/counting-transport.ts'
import { LoadClient } from '../support/load-client.ts'
import { mutatedStream, Random } from '../support/mutations.ts'
import { eventually } from './ledger.ts'

const seed = 20_261_121
const streamCount = 100_000
/** Of MQTT 5 this many go through the whole broker, and the rest through the connection alone. */
const wholeCount5 = 10_000
const readCount5 = streamCount - wholeCount5
const socketCount = 5_000
const batch = 500
/** What the streams may leave behind is bounded by this. */
const bounds = {
  session: { maxSessions: 20, queueMaxMessages: 100 },
  retained: { maxMessages: 100 },
  limits: { banFailures: 0, connectionsPerSecond: 0 },
}

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

async function heapBytes(): Promise<number> {
  await nextTurn()
  collectGarbage()
  await nextTurn()
  collectGarbage()
  return process.memoryUsage().heapUsed
}

/** Most streams end with a fault; where in the code it was seen costs more than to see it. */
async function withoutStacks(play: () => Promise<void>): Promise<void> {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    await play()
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}

async function createWorld() {
  const config = configSchema.parse(bounds)
  const { session, retained, limits } = config
  const store = createMemoryStore({
    queueMaxMessages: session.queueMaxMessages,
    queueMaxBytes: session.queueMaxBytes,
    retainedMaxMessages: retained.maxMessages,
    retainedMaxBytes: retained.maxBytes,
    maxInflight: limits.maxInflight,
  })
  await store.open()
  const counters = createBrokerCounters()
  const admission = createAdmission(limits, () => performance.now())
  const cluster = createSingleCluster(store, { expiryMs: config.session.expiryMs })
  const broker = new Broker({ config, store, cluster, counters, admission, log: createSilentLog() })
  await broker.start()
  const failures: unknown[] = []
  const everyone = { authConnect: () => undefined }
  const guard = createGuard(createChain([everyone]), {
    timeoutMs: 5_000,
    maxConcurrent: 1_000,
    onFailure: ({ cause }) => failures.push(cause),
  })
  const profile = {
    name: 'fake',
    guard,
    allowAnonymous: true,
    protocolVersions: new Set([3, 4, 5]),
    mountpoint: '',
  }
  return { broker, store, counters, profile, failures }
}

it.each([
  ['3.1.1', 4, streamCount],
  ['5', 5, wholeCount5],
] as const)('stays alive and small through mutated streams of MQTT %s', async (name, version, count) => {
  const { broker, store, counters, profile, failures } = await createWorld()
  const random = new Random(seed)
  let endedByBroker = 0
  let writtenBytes = 0
  const runBatch = async (): Promise<void> => {
    const clients = Array.from({ length: batch }, () => ({
      transport: new CountingTransport(),
      pieces: mutatedStream(random, version),
    }))
    for (const { transport } of clients) broker.accept(transport, profile)
    for (let piece = 0; piece < 4; piece++) {
      for (const { transport, pieces } of clients) transport.feed(pieces[piece] ?? Buffer.alloc(0))
      for (let turn = 0; turn < 4; turn++) await nextTurn()
    }
    for (const { transport } of clients) {
      if (transport.isEnded) endedByBroker++
      else transport.vanish()
      writtenBytes += transport.writtenBytes
    }
    await eventually(() => broker.connections.size === 0)
  }

  const run = (streams: number): Promise<void> =>
    withoutStacks(async () => {
      for (let done = 0; done < streams; done += batch) await runBatch()
    })
  await run(count / 5)
  const before = await heapBytes()
  await run((count * 4) / 5)
  const growthBytes = (await heapBytes()) - before

  expect(failures).toEqual([])
  expect(endedByBroker).toBeGreaterThan(count / 4)
  expect(endedByBroker).toBeLessThan(count)
  expect(writtenBytes).toBeGreaterThan(count * 4)
  expect(broker.sessions.connectedCount).toBe(0)
  expect(counters.listeners.map(({ open }) => open)).toEqual([0])
  expect(store.sessions.size).toBeLessThanOrEqual(bounds.session.maxSessions)
  expect(growthBytes).toBeLessThan(4_000_000)
  console.log(
    `fault 18: ${count} mutated streams of MQTT ${name} (seed ${seed}), ${endedByBroker} closed by the broker, heap +${Math.round(growthBytes / 1_000)} KB`,
  )
  await broker.close()
  await store.close()
})

it(`reads ${readCount5} mutated streams of MQTT 5, and ends those that are wrong by the protocol alone`, async () => {
  const random = new Random(seed + 2)
  const failures: unknown[] = []
  const ends = new Map<string, number>()
  let packetCount = 0
  const taken = (): void => void packetCount++
  const handler: PacketHandler = {
    connect(connection, packet) {
      connection.terms = { ...askedTerms(packet), incomingTopicAliases: 5 }
      connection.opened()
    },
    publish: taken,
    acknowledge: taken,
    release: taken,
    subscribe: taken,
    unsubscribe: taken,
    authenticate: taken,
    disconnecting: taken,
    control: taken,
    refused: () => {},
    gone: (_, { kind }) => void ends.set(kind, (ends.get(kind) ?? 0) + 1),
    failed: (_, error) => void failures.push(error),
  }
  const traffic = createBrokerCounters().listener('test', 'tcp')
  const play = (): void => {
    const transport = new CountingTransport()
    const context = { handler, limits: connectionLimits, traffic, nowMs: Date.now() }
    const connection = new Connection(transport, openProfile, context)
    for (const piece of mutatedStream(random, 5)) transport.feed(piece)
    if ((connection.phase === 'closed') !== transport.isEnded) failures.push('closed, and not ended')
    if (!transport.isEnded) transport.vanish()
  }
  await withoutStacks(async () => {
    for (let done = 0; done < readCount5; done++) play()
  })
  expect(failures).toEqual([])
  expect(packetCount).toBeGreaterThan(readCount5 / 2)
  expect([...ends.values()].reduce((sum, count) => sum + count, 0)).toBe(readCount5)
  expect([...ends.keys()].sort()).toEqual(['limit', 'lost', 'protocol', 'refused'])
  expect(ends.get('protocol')).toBeGreaterThan(readCount5 / 4)
  console.log(`fault 18: ${readCount5} mutated streams of MQTT 5 read, ${ends.get('protocol')} ended`)
})

it(`stays alive through ${socketCount} mutated streams on real sockets, and serves a good client meanwhile`, async () => {
  const broker = await startTestBroker(bounds)
  const random = new Random(seed + 1)
  const streams = Array.from({ length: socketCount }, (_, i) => mutatedStream(random, i % 2 === 0 ? 4 : 5))
  const playOne = (pieces: readonly Buffer[]): Promise<void> =>
    new Promise((resolve) => {
      const socket = openSocket({ port: broker.port, host: '127.0.0.1' })
      // A client that goes on writing to a connection that was closed is told so.
      socket.on('error', () => {})
      socket.once('close', () => resolve())
      socket.resume()
      for (const piece of pieces) socket.write(piece)
      socket.end()
    })
  const worker = async (): Promise<void> => {
    for (let stream = streams.pop(); stream !== undefined; stream = streams.pop()) await playOne(stream)
  }
  const good = new LoadClient({ port: broker.port, clientId: 'good' })
  await good.connect()
  await good.subscribe(['good', 2])
  const goodWork = async (): Promise<void> => {
    for (let number = 0; number < 500; number++)
      await good.publish({ topic: 'good', payload: `p ${number}`, qos: 2 })
  }
  await Promise.all([goodWork(), ...Array.from({ length: 50 }, worker)])
  await eventually(() => good.received.length === 500)
  await good.disconnect()
  await eventually(() => broker.events.filter(({ msg }) => msg === 'client disconnected').length > 0)
  expect(broker.events.filter(({ level }) => level === 'error' || level === 'fatal')).toEqual([])
  console.log(
    `fault 18: ${socketCount} mutated streams on sockets; beside them 500 acknowledged, ${good.received.length} delivered`,
  )
  await broker.stop()
})
