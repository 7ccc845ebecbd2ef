import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'
import { messages, portOf, refusalCode } from '../../support/broker-world.ts'
import { startHttpService, type HttpService, type ServiceReply } from '../../support/http-service.ts'
import { createTokenKey, signToken } from '../../support/tokens.ts'

/** One broker: VerneMQ's webhooks at `verne`, tokens at `token`. */
const folder = mkdtempSync(join(tmpdir(), 'tunnelmq-'))
const keyFile = join(folder, 'keys.pem')
const key = createTokenKey('one')
const second = createTokenKey('two')
let broker: TestBroker
let service: HttpService

const ok: ServiceReply = { body: { result: 'ok' } }
const cached: ServiceReply = { body: { result: 'ok' }, headers: { 'cache-control': 'max-age=60' } }
const hooks = [
  'authConnect',
  'authPublish',
  'authSubscribe',
  'connect',
  'publish',
  'subscribe',
  'unsubscribe',
  'disconnect',
] as const

beforeAll(async () => {
  writeFileSync(keyFile, key.pem + second.pem)
  service = await startHttpService(() => ok, 'of the file')
  broker = await startTestBroker({
    listeners: [
      {
        type: 'tcp',
        name: 'verne',
        port: 0,
        mountpoint: 'site/',
        handlers: [{ type: 'http', format: 'vernemq', endpoints: [service.url], hooks: [...hooks] }],
      },
      {
        type: 'tcp',
        name: 'verne5',
        port: 0,
        handlers: [
          {
            type: 'http',
            format: 'vernemq',
            endpoints: [service.url],
            hooks: ['authConnect'],
            mqtt5Hooks: [...hooks],
          },
        ],
      },
      {
        type: 'tcp',
        name: 'token',
        port: 0,
        handlers: [
          {
            type: 'jwt',
            algorithms: ['ES256'],
            publicKeyFiles: [keyFile],
            usernameClaim: 'sub',
            aclClaim: 'acl',
            clockToleranceMs: 0,
          },
        ],
      },
    ],
  })
})
afterAll(async () => {
  await broker.stop()
  await service.stop()
  rmSync(folder, { recursive: true })
})

async function connect(listener: string, options: IClientOptions): Promise<MqttClient> {
  const port = portOf(broker, listener)
  const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, { reconnectPeriod: 0, ...options })
  onTestFinished(() => client.endAsync(true))
  return client
}

/** What the service is asked and told from now on, by hook. */
function record(
  reply: (hook: string, body: Record<string, unknown>) => ServiceReply | undefined,
): (hook: string) => unknown[] {
  const calls: [hook: string, body: unknown][] = []
  service.reply = ({ headers, body }) => {
    const hook = String(headers['vernemq-hook'])
    const asked = JSON.parse(body) as Record<string, unknown>
    calls.push([hook, asked])
    return reply(hook, asked) ?? ok
  }
  return (wanted) => calls.filter(([hook]) => hook === wanted).map(([, body]) => body)
}

describe('a service that was written for VerneMQ', () => {
  it('is asked and told by a whole session what it would be there', async () => {
    const bodies = record(() => undefined)
    const client = await connect('verne', { clientId: 'c1', username: 'ann', password: 'secret' })
    await client.subscribeAsync({ 'a/+': { qos: 1 }, '$share/g/b': { qos: 0 } })
    await client.publishAsync('x', 'payload', { qos: 1, retain: true })
    await client.unsubscribeAsync('a/+')
    await client.endAsync()
    await expect.poll(() => bodies('on_client_gone').length).toBe(1)
    const peer = { peer_addr: '127.0.0.1', peer_port: expect.any(Number) as number }
    const who = { mountpoint: 'site', client_id: 'c1' }
    const name = { username: 'ann', ...who }
    const topics = [
      { topic: 'a/+', qos: 1 },
      { topic: '$share/g/b', qos: 0 },
    ]
    const message = { ...name, qos: 1, topic: 'x', payload: 'cGF5bG9hZA==', retain: true }
    expect(bodies('auth_on_register')).toEqual([
      { ...peer, ...name, password: 'secret', clean_session: true },
    ])
    expect(bodies('on_register')).toEqual([{ ...peer, ...name }])
    expect(bodies('auth_on_subscribe')).toEqual([{ ...name, topics }])
    expect(bodies('on_subscribe').length).toBe(1)
    expect(bodies('auth_on_publish')).toEqual([message])
    expect(bodies('on_publish')).toEqual([message])
    expect(bodies('on_unsubscribe')).toEqual([{ ...name, topics: ['a/+'] }])
    expect(bodies('on_client_gone')).toEqual([who])
  })

  it('refuses, leaves it to others, or is not understood, each with its CONNACK', async () => {
    const port = portOf(broker, 'verne')
    const answers: [ServiceReply, code: number][] = [
      [{ body: { result: { error: 'not_allowed' } } }, 5],
      [{ body: { result: { error: 'invalid_credentials' } } }, 4],
      [{ body: { result: 'next' } }, 4],
      [{ body: { result: 'ok', modifiers: { mountpoint: 'other', client_id: 'x' } } }, 3],
      [{ body: { result: 'yes' } }, 3],
      [{ status: 401, body: {} }, 3],
    ]
    for (const [reply, code] of answers) {
      record(() => reply)
      expect(
        await refusalCode(port, { clientId: 'c2', username: 'ann', password: 'x' }),
        JSON.stringify(reply),
      ).toBe(code)
    }
  })

  it('changes what it is asked about by its modifiers', async () => {
    const bodies = record((hook, { topics }) => {
      if (hook === 'auth_on_register')
        return {
          body: {
            result: 'ok',
            modifiers: {
              subscriber_id: { client_id: 'new', mountpoint: 'site' },
              username: 'bob',
              max_inflight_messages: 5,
            },
          },
        }
      if (hook === 'auth_on_publish')
        return {
          body: {
            result: 'ok',
            modifiers: {
              topic: 'seen/here',
              payload: Buffer.from('changed').toString('base64'),
              retain: true,
              qos: 0,
            },
          },
        }
      if (hook === 'auth_on_subscribe' && (topics as unknown[]).length === 3)
        return {
          body: {
            result: 'ok',
            topics: [
              { topic: 'seen/+', qos: 2 },
              { topic: 'low', qos: 0 },
              { topic: 'never', qos: 128 },
            ],
          },
        }
      return undefined
    })
    const client = await connect('verne', { clientId: 'old', username: 'ann', password: 'x' })
    const heard = messages(client, 1)
    // MQTT.js takes one refused filter for an error of them all.
    await expect(
      client.subscribeAsync({ asked: { qos: 2 }, low: { qos: 1 }, never: { qos: 0 } }),
    ).rejects.toThrow(/error/i)
    await client.publishAsync('anywhere', 'sent', { qos: 2 })
    expect(await heard).toEqual(['seen/here=changed'])
    expect(bodies('auth_on_publish')).toMatchObject([{ client_id: 'new', username: 'bob' }])
    await expect
      .poll(() => bodies('on_publish'))
      .toMatchObject([{ topic: 'seen/here', qos: 0, retain: true }])
    const late = await connect('verne', { clientId: 'late', username: 'x' })
    const retained = new Promise<unknown[]>((resolve) =>
      late.on('message', (topic, payload, { qos, retain }) =>
        resolve([topic, payload.toString(), qos, retain]),
      ),
    )
    service.reply = () => ok
    await late.subscribeAsync('seen/#', { qos: 2 })
    expect(await retained).toEqual(['seen/here', 'changed', 0, true])
    expect(
      broker.events.filter(({ msg }) => msg === 'modifier of the service has no effect here'),
    ).toMatchObject([{ modifier: 'max_inflight_messages' }])
  })

  it('that is away takes no stored subscription away: the client comes again', async () => {
    const device = { clientId: 'stored', username: 'ann', password: 'x', clean: false }
    service.reply = () => ok
    const first = await connect('verne', device)
    await first.subscribeAsync('keep/#', { qos: 1 })
    await first.endAsync()
    record((hook) => (hook === 'auth_on_subscribe' ? { status: 500, body: '' } : undefined))
    expect(await refusalCode(portOf(broker, 'verne'), device)).toBe(3)
    service.reply = () => ok
    const again = await connect('verne', device)
    const heard = new Promise((resolve) => again.on('message', resolve))
    await again.publishAsync('keep/on', '1', { qos: 1 })
    expect(await heard).toBe('keep/on')
  })

  it('that is away takes no message away: who is not thanked for it sends it again', async () => {
    service.reply = () => ok
    const device = { clientId: 'unthanked', username: 'ann', password: 'x', clean: false }
    const first = await connect('verne', device)
    record((hook) => (hook === 'auth_on_publish' ? { status: 500, body: '' } : undefined))
    const closed = new Promise((resolve) => first.once('close', () => resolve('closed')))
    const thanked = first.publishAsync('away/1', '1', { qos: 1 }).then(() => 'thanked')
    expect(await Promise.race([closed, thanked])).toBe('closed')
  })

  it('answers once for as long as its header says', async () => {
    const bodies = record((hook) => (hook.startsWith('auth') ? cached : undefined))
    for (let n = 0; n < 2; n++) {
      const client = await connect('verne', { clientId: 'cached', username: 'ann', password: 'x' })
      for (let sent = 0; sent < 3; sent++) await client.publishAsync('t', String(sent), { qos: 1 })
      await client.endAsync()
    }
    expect(bodies('auth_on_register').length).toBe(1)
    expect(bodies('auth_on_publish').length).toBe(1)
  })
})

describe('a service that knows the hooks of MQTT 5', () => {
  const pair = (name: string, val: string): object => ({
    key: Buffer.from(name).toString('base64'),
    val: Buffer.from(val).toString('base64'),
  })

  it('is asked and told by a whole session of MQTT 5 what it would be there', async () => {
    const bodies = record(() => undefined)
    const client = await connect('verne5', {
      ...{ protocolVersion: 5, clientId: 'm1', username: 'ann', password: 'secret' },
      properties: { sessionExpiryInterval: 60, receiveMaximum: 9, userProperties: { site: 'ä' } },
    })
    const options = { qos: 1, nl: true, rap: true, rh: 1 } as const
    const properties = { subscriptionIdentifier: 7, userProperties: { why: 'test' } }
    await client.subscribeAsync('a/+', { ...options, properties })
    await client.publishAsync('x', 'payload', {
      qos: 1,
      properties: {
        ...{ payloadFormatIndicator: true, messageExpiryInterval: 90, contentType: 'text/plain' },
        ...{
          responseTopic: 'answers',
          correlationData: Buffer.from('c1'),
          userProperties: { n: ['1', '2'] },
        },
      },
    })
    await client.unsubscribeAsync('a/+')
    await client.endAsync()
    await expect.poll(() => bodies('on_client_offline').length).toBe(1)
    const peer = { peer_addr: '127.0.0.1', peer_port: expect.any(Number) as number }
    const who = { mountpoint: '', client_id: 'm1' }
    const name = { username: 'ann', ...who }
    const asked = { p_session_expiry_interval: 60, p_receive_max: 9, p_user_property: [pair('site', 'ä')] }
    const filter = { topic: 'a/+', qos: 1, no_local: true, rap: true, retain_handling: 'send_if_new_sub' }
    const subscribed = { p_subscription_id: [7], p_user_property: [pair('why', 'test')] }
    const message = {
      ...{ ...name, qos: 1, topic: 'x', payload: 'cGF5bG9hZA==', retain: false },
      properties: {
        ...{
          p_payload_format_indicator: 'utf8',
          p_message_expiry_interval: 90,
          p_content_type: 'text/plain',
        },
        ...{ p_response_topic: 'answers', p_correlation_data: 'c1' },
        p_user_property: [pair('n', '1'), pair('n', '2')],
      },
    }
    expect(bodies('auth_on_register_m5')).toEqual([
      { ...peer, ...name, password: 'secret', clean_start: true, properties: asked },
    ])
    expect(bodies('on_register_m5')).toEqual([{ ...peer, ...name, properties: asked }])
    expect(bodies('auth_on_subscribe_m5')).toEqual([{ ...name, topics: [filter], properties: subscribed }])
    expect(bodies('on_subscribe_m5').length).toBe(1)
    expect(bodies('auth_on_publish_m5')).toEqual([message])
    expect(bodies('on_publish_m5')).toEqual([message])
    expect(bodies('on_unsubscribe_m5')).toEqual([{ ...name, topics: ['a/+'], properties: {} }])
    expect(bodies('on_client_offline')).toEqual([who])
    expect(bodies('auth_on_register')).toEqual([])
  })

  it('changes properties, and refuses a filter with a reason code', async () => {
    record((hook) => {
      if (hook === 'auth_on_publish_m5')
        return {
          body: {
            result: 'ok',
            modifiers: {
              properties: {
                ...{
                  p_content_type: 'a/b',
                  p_message_expiry_interval: 30,
                  p_payload_format_indicator: 'undefined',
                },
                p_user_property: [pair('by', 'service')],
              },
            },
          },
        }
      if (hook === 'auth_on_subscribe_m5')
        return {
          body: {
            result: 'ok',
            modifiers: {
              topics: [
                { topic: 'seen', qos: 0 },
                { topic: 'no', qos: 151 },
              ],
            },
          },
        }
      return undefined
    })
    const client = await connect('verne5', { protocolVersion: 5, clientId: 'm2', username: 'ann' })
    const codes = new Promise((resolve) =>
      client.on('packetreceive', (packet) => packet.cmd === 'suback' && resolve(packet.granted)),
    )
    const heard = new Promise((resolve) =>
      client.on('message', (_topic, _payload, { properties }) => resolve({ ...properties })),
    )
    await client.subscribeAsync(['seen', 'no']).catch(() => undefined)
    expect(await codes).toEqual([0, 0x97])
    await client.publishAsync('seen', 'x', {
      qos: 1,
      properties: { payloadFormatIndicator: true, responseTopic: 'gone', correlationData: Buffer.of(0xff) },
    })
    expect(await heard).toEqual({
      ...{ contentType: 'a/b', messageExpiryInterval: expect.any(Number) as number },
      // It is not text, and was not shown.
      correlationData: Buffer.of(0xff),
      userProperties: { by: 'service' },
    })
  })

  it('answers for other correlation data once more, and is asked by older hooks about older clients', async () => {
    const bodies = record(() => cached)
    const client = await connect('verne5', { protocolVersion: 5, clientId: 'm3', username: 'ann' })
    for (const said of ['1', '2', '2'])
      await client.publishAsync('t', 'x', { qos: 1, properties: { correlationData: Buffer.from(said) } })
    expect(bodies('auth_on_publish_m5').length).toBe(2)
    const older = await connect('verne5', { clientId: 'old3', username: 'ann' })
    expect(bodies('auth_on_register').length).toBe(1)
    // Nobody has an opinion: nothing is asked of clients of MQTT 3.1.1 but this.
    await older.publishAsync('t', 'x', { qos: 1 })
    expect(bodies('auth_on_publish')).toEqual([])
  })
})

describe('a token', () => {
  it('lets its client do what is in it, and ends the connection when it expires', async () => {
    // A slow machine needs longer to connect.
    let client: MqttClient | undefined
    for (let lifetimeMs = 1_000; client === undefined; lifetimeMs *= 2) {
      const password = await signToken(
        key.privateKey,
        { sub: 'ann', acl: { publish: ['a'] } },
        { lifetimeMs },
      )
      client = await connect('token', { clientId: 'short', username: 'any', password }).catch(() => undefined)
    }
    await new Promise<void>((resolve) => client.once('close', () => resolve()))
    await expect
      .poll(() =>
        broker.events.filter(({ client: id, msg }) => id === 'short' && msg === 'client disconnected'),
      )
      .toMatchObject([{ reason: 'revoked' }])
  })

  it('is worth nothing any more when its key is taken away, and others go on', async () => {
    const connectWith = async (clientId: string, { privateKey }: typeof key) =>
      connect('token', { clientId, password: await signToken(privateKey, { sub: clientId }), username: 'x' })
    const [kept, lost] = [await connectWith('kept', key), await connectWith('lost', second)]
    const closed = new Promise<void>((resolve) => lost.once('close', () => resolve()))
    writeFileSync(keyFile, key.pem)
    await broker.reload()
    await closed
    expect(kept.connected).toBe(true)
    await expect(connectWith('lost', second)).rejects.toThrow('Bad username or password')
  })
})
