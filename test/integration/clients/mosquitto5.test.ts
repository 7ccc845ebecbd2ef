import { rm, mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { AuthError, RefuseReason } from '../../../src/hooks/types.ts'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'
import { connectMqtt, portOf } from '../../support/broker-world.ts'
import { runClient, startClient, type ClientResult, type RunningClient } from '../../support/run-client.ts'
import { createCa } from '../listeners/certificates.ts'

/** Debian's mosquitto_pub, mosquitto_sub and mosquitto_rr with -V 5, all at one broker. */

let folder: string
let broker: TestBroker
let at: Record<'tcp' | 'tls', string[]>

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tunnelmq-mosquitto5-'))
  const ca = await createCa(folder)
  const { cert, key } = await ca.issue('server')
  broker = await startTestBroker(
    {
      listeners: [
        { type: 'tcp', name: 'tcp', port: 0 },
        { type: 'tls', name: 'tls', port: 0, tls: { cert, key } },
      ],
    },
    {
      handlers: [
        {
          authConnect(session) {
            if (session.username === 'nobody')
              throw new AuthError('nobody comes in', RefuseReason.badCredentials)
          },
          authPublish(_, { topic }) {
            if (topic === 'forbidden') throw new AuthError('no right')
          },
          authSubscribe(_, subscriptions) {
            for (const one of subscriptions) if (one.topic === 'forbidden') one.refused = true
          },
        },
      ],
    },
  )
  at = {
    tcp: ['-h', '127.0.0.1', '-p', String(portOf(broker, 'tcp'))],
    tls: ['-h', 'localhost', '-p', String(portOf(broker, 'tls')), '--cafile', ca.cert],
  }
})

afterAll(async () => {
  await broker.stop()
  await rm(folder, { recursive: true, force: true })
})

/** mosquitto_sub, subscribed; it keeps its lines back when they go into a pipe. */
async function subscribe(...args: string[]): Promise<RunningClient> {
  const client = startClient('stdbuf', ['-oL', 'mosquitto_sub', '-d', ...args])
  await client.output(/Subscribed \(mid: \d+\)/)
  return client
}

/** What came, without the lines of -d. */
async function received(client: RunningClient): Promise<string[]> {
  const { stdout } = await client.ended
  return stdout.split('\n').filter((line) => line !== '' && !/^(Client |Subscribed )/.test(line))
}

function publish(...args: string[]): Promise<ClientResult> {
  return runClient('mosquitto_pub', args)
}

const five = ['-V', '5']
const properties = [
  ...['-D', 'publish', 'content-type', 'text/plain'],
  ...['-D', 'publish', 'payload-format-indicator', '1'],
  ...['-D', 'publish', 'response-topic', 'answers/1'],
  ...['-D', 'publish', 'correlation-data', 'number 1'],
  ...['-D', 'publish', 'message-expiry-interval', '1000'],
  ...['-D', 'publish', 'user-property', 'color', 'blue'],
  ...['-D', 'publish', 'user-property', 'color', 'green'],
  ...['-D', 'publish', 'topic-alias', '1'],
]

describe('mosquitto_pub and mosquitto_sub with -V 5', () => {
  it.each(['tcp', 'tls'] as const)('send and show every property of a message over %s', async (listener) => {
    const identified = ['-D', 'subscribe', 'subscription-identifier', '7']
    const format = ['-F', '%t|%q|%C|%F|%R|%D|%P|%S|%p', '-C', '3']
    const own = ['-D', 'connect', 'topic-alias-maximum', '10', '-D', 'connect', 'receive-maximum', '1']
    const to = at[listener]
    const client = await subscribe(...to, ...five, '-t', 'all/#', '-q', '2', ...identified, ...own, ...format)
    for (const qos of ['0', '1', '2']) {
      const { code } = await publish(...to, ...five, '-t', 'all/x', '-q', qos, '-m', 'hello', ...properties)
      expect(code).toBe(0)
    }
    const said = 'text/plain|1|answers/1|number 1|color:blue color:green|7|hello'
    expect(await received(client)).toEqual([0, 1, 2].map((qos) => `all/x|${qos}|${said}`))
  })

  it('are told how long a retained message has still to live', async () => {
    await publish(...at.tcp, ...five, '-t', 'kept', '-r', '-q', '1', '-m', 'x', ...properties)
    const client = await subscribe(...at.tcp, ...five, '-t', 'kept', '-C', '1', '-F', '%r %E %C')
    const [line = ''] = await received(client)
    const [retain, seconds, type] = line.split(' ')
    expect([retain, type]).toEqual(['1', 'text/plain'])
    expect(Number(seconds)).toBeLessThanOrEqual(1_000)
    expect(Number(seconds)).toBeGreaterThan(900)
    await publish(...at.tcp, ...five, '-t', 'kept', '-r', '-n')
  })

  it('exchange messages with clients of 3.1.1 and 3.1', async () => {
    const clients = await Promise.all(
      ['31', '311', '5'].map((version) =>
        subscribe(...at.tcp, '-V', `mqttv${version}`, '-t', 'mixed', '-q', '1', '-C', '3'),
      ),
    )
    for (const version of ['31', '311', '5']) {
      const own = version === '5' ? properties : []
      await publish(...at.tcp, '-V', `mqttv${version}`, '-t', 'mixed', '-q', '1', '-m', version, ...own)
    }
    for (const client of clients) expect(await received(client)).toEqual(['31', '311', '5'])
  })

  it('keep a session as long as its expiry interval says, and lose it where that is 0', async () => {
    const visit = (id: string, ...args: string[]): Promise<RunningClient> =>
      subscribe(...at.tcp, ...five, '-i', id, '-c', '-t', `away/${id}`, '-q', '1', ...args)
    for (const [id, seconds] of [
      ['stays', '1000'],
      ['goes', '0'],
    ] as const) {
      const first = await visit(id, '-x', seconds)
      first.kill('SIGTERM')
      await first.ended
      await publish(...at.tcp, ...five, '-t', `away/${id}`, '-q', '1', '-m', 'while away')
    }
    // What waits comes before the SUBACK.
    const again = ['mosquitto_sub', ...at.tcp, ...five, '-i', 'stays', '-c', '-x', '1000', '-t', 'away/stays']
    const stays = await runClient(again[0]!, [...again.slice(1), '-q', '1', '-C', '1'])
    expect(stays.stdout).toBe('while away\n')
    const goes = await visit('goes', '-C', '1')
    await publish(...at.tcp, ...five, '-t', 'away/goes', '-q', '1', '-m', 'when back')
    expect(await received(goes)).toEqual(['when back'])
  })

  it('have a will published with its properties, behind its delay', async () => {
    const watcher = await subscribe(...at.tcp, ...five, '-t', 'will/#', '-C', '1', '-F', '%t|%C|%P|%p')
    const killed = await subscribe(
      ...[...at.tcp, ...five, '-x', '100', '-t', 'x'],
      ...['--will-topic', 'will/a', '--will-payload', 'gone', '--will-qos', '1'],
      ...['-D', 'will', 'will-delay-interval', '1', '-D', 'will', 'content-type', 'text/plain'],
      ...['-D', 'will', 'user-property', 'why', 'killed'],
    )
    killed.kill('SIGKILL')
    expect(await received(watcher)).toEqual(['will/a|text/plain|why:killed|gone'])
  })

  it('are told by reason codes what they may not', async () => {
    const connecting = await publish(...at.tcp, ...five, '-u', 'nobody', '-t', 'a', '-m', 'x')
    expect(connecting.code).not.toBe(0)
    expect(connecting.stderr).toMatch(/Connection error: Bad user ?name or password/i)
    const publishing = await publish(...at.tcp, ...five, '-t', 'forbidden', '-q', '1', '-m', 'x')
    expect(publishing.stderr).toMatch(/Not authorized/)
    const client = await subscribe(...at.tcp, ...five, '-t', 'forbidden', '-t', 'allowed', '-C', '1')
    await client.output(/Subscribed \(mid: 1\): 135, 0/)
    await publish(...at.tcp, ...five, '-t', 'allowed', '-m', 'x')
    expect((await received(client)).at(-1)).toBe('x')
  })
})

it('mosquitto_rr gets its answer from a client that follows response topic and correlation data', async () => {
  const responder = await connectMqtt(broker.url, { protocolVersion: 5 })
  await responder.subscribeAsync('questions', { qos: 1 })
  responder.on('message', (_topic, payload, packet) => {
    const { responseTopic = '', correlationData } = packet.properties ?? {}
    void responder.publishAsync(responseTopic, `${payload.toString()}, 42`, {
      qos: 1,
      properties: { ...(correlationData && { correlationData }) },
    })
  })
  const question = ['-t', 'questions', '-e', 'answers/rr', '-m', 'how many?', '-q', '1']
  const { stdout } = await runClient('mosquitto_rr', [...at.tcp, ...five, ...question])
  expect(stdout.trim()).toBe('how many?, 42')
})
