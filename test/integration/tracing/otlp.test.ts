import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { ConfigInput } from '../../../src/config/schema.ts'
import { AuthError, RefuseReason, type Handler } from '../../../src/hooks/types.ts'
import { createAgent } from '../../../src/tunnel/index.ts'
import { connectRaw, openBroker, refusalCode } from '../../support/broker-world.ts'
import { eventually } from '../../support/eventually.ts'
import { openCollector, type CollectedSpan, type Collector } from '../../support/otlp-collector.ts'
import { dialPort, echo, openTarget } from '../../support/tunnel-ends.ts'

type TracingInput = NonNullable<ConfigInput['tracing']>

const to = (collector: Collector, tracing: TracingInput = {}) => ({
  tracing: { endpoint: collector.endpoint, exportIntervalMs: 20, sampleOneIn: 1, ...tracing },
})

/** The one span of that name with these attributes, once it is there. */
async function spanOf(collector: Collector, name: string, attributes: object = {}): Promise<CollectedSpan> {
  const wanted = Object.entries(attributes)
  const find = () =>
    collector.spans.filter(
      (span) => span.name === name && wanted.every(([key, value]) => span.attributes[key] === value),
    )
  await eventually(() => find().length).toBe(1)
  return find()[0]!
}

const childrenOf = (collector: Collector, { spanId, traceId }: CollectedSpan) =>
  collector.spans
    .filter((span) => span.parentSpanId === spanId && span.traceId === traceId)
    .toSorted((a, b) => a.startTimeUnixNano - b.startTimeUnixNano)

function expectWithin(parent: CollectedSpan, children: readonly CollectedSpan[]): void {
  for (const child of children) {
    expect(child.startTimeUnixNano).toBeGreaterThanOrEqual(parent.startTimeUnixNano)
    expect(child.endTimeUnixNano).toBeGreaterThanOrEqual(child.startTimeUnixNano)
    expect(child.endTimeUnixNano).toBeLessThanOrEqual(parent.endTimeUnixNano)
  }
}

/** As OTLP numbers them. */
const ERROR = 2
const SERVER = 2

describe('spans', () => {
  it('of CONNECT say who, from where, how it ended and who decided, with the handler as a part', async () => {
    const collector = await openCollector()
    const handler: Handler = {
      name: 'door',
      async authConnect(session) {
        await Promise.resolve()
        if (session.username === 'eve') throw new AuthError('not you', RefuseReason.badCredentials)
      },
    }
    const broker = await openBroker(to(collector), handler)
    const startedAtMs = Date.now()
    await connectRaw(broker.port, { clientId: 'c1', username: 'alice', password: 'hunter2' })
    await refusalCode(broker.port, { clientId: 'c2', username: 'eve', password: 'hunter2' })

    const accepted = await spanOf(collector, 'CONNECT', { 'tunnelmq.outcome': 'accepted' })
    expect(accepted).toMatchObject({ kind: SERVER, status: { code: 0 } })
    expect(accepted.parentSpanId ?? '').toBe('')
    expect(accepted.attributes).toMatchObject({
      'messaging.system': 'mqtt',
      'messaging.client.id': 'c1',
      'client.address': '127.0.0.1',
      'network.peer.address': '127.0.0.1',
      'network.transport': 'tcp',
      'network.protocol.name': 'mqtt',
      'network.protocol.version': '3.1.1',
      'tunnelmq.listener': broker.listeners[0]!.name,
      'tunnelmq.handler': 'door',
      'user.name': 'alice',
    })
    expect(accepted.startTimeUnixNano).toBeGreaterThan(startedAtMs - 1_000)
    expect(accepted.endTimeUnixNano).toBeLessThan(Date.now() + 1_000)
    const parts = childrenOf(collector, accepted)
    expect(parts.map(({ name }) => name)).toEqual(['authConnect', 'session'])
    expectWithin(accepted, parts)

    const refused = await spanOf(collector, 'CONNECT', { 'messaging.client.id': 'c2' })
    expect(refused.status).toMatchObject({ code: ERROR, message: 'not you' })
    expect(refused.attributes).toMatchObject({
      'tunnelmq.outcome': 'bad-credentials',
      'error.type': 'bad-credentials',
      'tunnelmq.handler': 'door',
    })
    expect(collector.text).not.toContain('hunter2')
    expect(collector.resources[0]).toMatchObject({ 'service.name': 'tunnelmq' })
    expect(collector.resources[0]).toHaveProperty(['service.instance.id'])
  })

  it('of a message show its way from the handlers to the store, and never its payload', async () => {
    const collector = await openCollector()
    const handler: Handler = {
      name: 'rules',
      authConnect: () => undefined,
      authSubscribe: () => undefined,
      async authPublish(_, { topic }) {
        await Promise.resolve()
        if (topic === 'forbidden') throw new AuthError('no')
      },
    }
    const broker = await openBroker(to(collector), handler)
    const stored = await connectRaw(broker.port, { clientId: 'stored', clean: false })
    await stored.subscribe(['room/+', 1])
    const publisher = await connectRaw(broker.port, { clientId: 'p' })
    await publisher.publish({ topic: 'room/1', payload: 'TOP-SECRET', qos: 1 })
    await publisher.publish({ topic: 'room/2', payload: 'TOP-SECRET', qos: 0 })
    await publisher.publish({ topic: 'forbidden', payload: 'TOP-SECRET', qos: 1 })

    const span = await spanOf(collector, 'PUBLISH', { 'messaging.destination.name': 'room/1' })
    expect(span).toMatchObject({ kind: SERVER, status: { code: 0 } })
    expect(span.attributes).toMatchObject({
      'messaging.system': 'mqtt',
      'messaging.operation.name': 'publish',
      'messaging.operation.type': 'send',
      'messaging.client.id': 'p',
      'messaging.message.body.size': 10,
      'tunnelmq.qos': 1,
      'tunnelmq.handler': 'rules',
      'tunnelmq.subscriptions': 1,
      'tunnelmq.stored_queues': 1,
    })
    const parts = childrenOf(collector, span)
    expect(parts.map(({ name }) => name)).toEqual(['authPublish', 'match', 'deliver', 'store'])
    expectWithin(span, parts)

    const atMostOnce = await spanOf(collector, 'PUBLISH', { 'messaging.destination.name': 'room/2' })
    expect(childrenOf(collector, atMostOnce).map(({ name }) => name)).toEqual([
      'authPublish',
      'match',
      'deliver',
    ])
    const refused = await spanOf(collector, 'PUBLISH', { 'messaging.destination.name': 'forbidden' })
    expect(refused.status).toEqual({ code: ERROR, message: 'no' })
    expect(refused.traceId).not.toBe(span.traceId)

    const subscribe = await spanOf(collector, 'SUBSCRIBE')
    expect(subscribe.attributes).toMatchObject({
      'tunnelmq.filters': ['room/+'],
      'tunnelmq.return_codes': [1],
    })
    expect(childrenOf(collector, subscribe).map(({ name }) => name)).toEqual(['authSubscribe', 'store'])
    expect(collector.text).not.toContain('SECRET')
  })

  it('of a stream last from its opening to its end, and count its bytes', async () => {
    const collector = await openCollector()
    const tunnel = { listen: [{ bind: '127.0.0.1:0', to: 'pi7/echo' }] }
    const broker = await openBroker({ ...to(collector), tunnel })
    const agent = createAgent({
      id: 'pi7',
      url: broker.url,
      services: { echo: { target: await openTarget(echo) } },
    })
    onTestFinished(() => agent.close())
    await agent.connected()
    const socket = await dialPort(broker.tunnelPorts[0]!.port)
    socket.write('12345')
    await once(socket, 'data')
    socket.end()

    const span = await spanOf(collector, 'tunnel stream')
    expect(span.attributes).toMatchObject({
      'tunnelmq.agent': 'pi7',
      'tunnelmq.service': 'echo',
      'tunnelmq.bytes_up': 5,
      'tunnelmq.bytes_down': 5,
      'tunnelmq.outcome': 'closed',
      'client.address': '127.0.0.1',
    })
    expect(span.status.code).toBe(0)
    const [opened] = span.events
    expect(opened?.name).toBe('opened')
    expect(opened?.timeUnixNano).toBeGreaterThanOrEqual(span.startTimeUnixNano)
    expect(opened?.timeUnixNano).toBeLessThanOrEqual(span.endTimeUnixNano)
  })

  it('are those of one in so many messages, each in a trace of its own', async () => {
    const collector = await openCollector()
    const broker = await openBroker(to(collector, { sampleOneIn: 10 }))
    const publisher = await connectRaw(broker.port, { clientId: 'p' })
    for (let i = 0; i < 100; i++) await publisher.publish({ topic: `t/${i}`, qos: 1 })
    await broker.stop()
    const published = collector.spans.filter(({ name }) => name === 'PUBLISH')
    expect(published).toHaveLength(10)
    expect(new Set(published.map(({ traceId }) => traceId)).size).toBe(10)
    const numbers = published.map(({ attributes }) =>
      Number(String(attributes['messaging.destination.name']).slice(2)),
    )
    expect(new Set(numbers.map((number) => Math.floor(number / 10))).size).toBe(10)
  })
})

describe('a collector', () => {
  it('gets what was waiting when the broker stops, with the secret headers, which nobody else sees', async () => {
    const collector = await openCollector()
    const headers = { authorization: 'Bearer s3cr3t-of-collector' }
    const broker = await openBroker(to(collector, { exportIntervalMs: 600_000, headers }))
    await connectRaw(broker.port, { clientId: 'c1' })
    await broker.stop()
    expect(collector.spans.map(({ name }) => name)).toContain('CONNECT')
    expect(collector.headers[0]).toMatchObject(headers)
    expect(JSON.stringify(broker.events)).not.toContain('s3cr3t')
    expect(collector.text).not.toContain('s3cr3t')
  })

  it.each([
    ['answers 500', (collector: Collector) => collector.answerWith(500)],
    ['refuses what it gets', (collector: Collector) => collector.answerWith(400)],
    ['never answers', (collector: Collector) => collector.answerWith('hang')],
    ['is not there', () => undefined],
  ])(
    'that %s costs spans, which are counted, one warning of each loss, and nothing else',
    async (how, prepare) => {
      const collector = await openCollector()
      prepare(collector)
      const endpoint = how === 'is not there' ? 'http://user:s3cr3t@127.0.0.1:1/' : collector.endpoint
      const broker = await openBroker({
        admin: { enabled: true, port: 0 },
        tracing: { endpoint, exportIntervalMs: 10, sampleOneIn: 1, maxQueuedSpans: 40, timeoutMs: 100 },
      })
      const client = await connectRaw(broker.port, { clientId: 'c1' })
      const lost = async (reason: string) => {
        await client.publish({ topic: 't', qos: 1 })
        const text = await (await fetch(`${broker.adminUrl}/metrics`)).text()
        const sample = new RegExp(`^tunnelmq_spans_dropped_total\\{reason="${reason}"\\} (\\d+)$`, 'm')
        return Number(sample.exec(text)?.[1])
      }
      await eventually(() => lost('not-sent')).toBeGreaterThan(0)
      // Those of one turn of the event loop are more than may wait, however fast the collector is.
      await Promise.all(Array.from({ length: 100 }, () => client.publish({ topic: 't', qos: 1 })))
      await eventually(() => lost('queue-full')).toBeGreaterThan(0)
      await broker.stop()
      const warnings = broker.events.filter(({ msg }) => msg === 'spans not sent')
      expect(warnings.map(({ level, loss }) => `${String(level)} ${String(loss)}`).toSorted()).toEqual([
        'warn not-sent',
        'warn queue-full',
      ])
      expect(JSON.stringify(broker.events)).not.toContain('s3cr3t')
    },
  )
})

describe('without an endpoint', () => {
  it('nothing of its SDK is in memory (prom-client has the API, which does nothing by itself)', async () => {
    const script = `
      import { createRequire } from 'node:module'
      import { startBroker } from './dist/index.js'
      const { cache } = createRequire(import.meta.url)
      const count = () => Object.keys(cache).filter((file) => /@opentelemetry.(sdk|exporter|resources|otlp|core)/.test(file)).length
      const counts = []
      for (const tracing of [{}, { endpoint: 'http://127.0.0.1:1/' }]) {
        const broker = await startBroker({ config: {
          listeners: [{ type: 'tcp', port: 0 }], store: { type: 'memory' }, admin: { enabled: false }, tracing,
        } })
        counts.push(count())
        await broker.stop()
      }
      console.log(JSON.stringify(counts))`
    const cwd = fileURLToPath(new URL('../../..', import.meta.url))
    const args = ['--input-type=module', '-e', script]
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd })
    const [without, withEndpoint] = JSON.parse(stdout) as number[]
    expect(without).toBe(0)
    expect(withEndpoint).toBeGreaterThan(10)
  })
})
