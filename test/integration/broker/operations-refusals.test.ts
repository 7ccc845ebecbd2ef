import { connect } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { AuthError, type Handler } from '../../../src/hooks/types.ts'
import { createTunnelClient } from '../../../src/tunnel/index.ts'
import { connectRaw, openBroker, openRaw, portOf, refusalCode } from '../../support/broker-world.ts'
import { eventually } from '../../support/eventually.ts'

const strict: Handler = {
  name: 'strict',
  authConnect(session) {
    if (session.username === 'mallory') throw new AuthError('never mallory')
  },
  authPublish(_session, { topic, isWill }) {
    if (topic.startsWith('secret')) throw new AuthError(isWill ? 'secret will' : 'secret topic')
  },
  authSubscribe(_session, subscriptions) {
    for (const one of subscriptions) if (one.topic.startsWith('secret')) one.refused = 'secret filter'
  },
  authTunnel(_session, { action }) {
    throw new AuthError(`may not ${action}`)
  },
}

describe('the last refusals', () => {
  it('are those of every point where something is refused, with who, what and by whom', async () => {
    const broker = await openBroker(
      {
        listeners: [
          { type: 'tcp', name: 'plain', port: 0 },
          { type: 'tcp', name: 'proxied', port: 0, proxyProtocol: 'required' },
        ],
        tunnel: { listen: [{ bind: '127.0.0.1:0', to: 'pi7/echo', allow: ['192.0.2.0/24'] }] },
      },
      strict,
    )
    const port = portOf(broker, 'plain')
    const who = { address: '127.0.0.1', listener: 'plain', username: 'ann', client: 'c', times: 1 }
    const expected: Record<string, unknown>[] = []
    const newest = async (fields: Record<string, unknown>): Promise<void> => {
      await eventually(async () => (await broker.operations.refusals(1))[0]).toMatchObject(fields)
      expected.unshift(fields)
    }

    // --- connection: before MQTT
    const headless = await openRaw(portOf(broker, 'proxied'))
    headless.send(Buffer.from('no header\r\n\r\n'))
    await headless.untilClosed()
    await newest({
      point: 'connection',
      listener: 'proxied',
      address: '127.0.0.1',
      client: null,
      handler: null,
    })
    const outsider = connect({ port: broker.tunnelPorts[0]!.port, host: '127.0.0.1' })
    // It is reset, perhaps before it is connected.
    outsider.on('error', () => {})
    await new Promise((resolve) => outsider.once('close', resolve))
    await newest({
      point: 'connection',
      listener: '127.0.0.1:0',
      reason: 'address-not-allowed: not in allow',
    })

    // --- connect
    const stranger = await openRaw(port)
    stranger.send(Buffer.from('GET / HTTP/1.1\r\n\r\n'))
    await stranger.untilClosed()
    await newest({
      point: 'connect',
      client: null,
      reason: 'protocol: an HTTP request, on a listener for MQTT without WebSocket',
    })
    for (let i = 0; i < 3; i++)
      await refusalCode(port, { clientId: 'm', username: 'mallory', password: 'hunter2' })
    await newest({
      point: 'connect',
      client: 'm',
      username: 'mallory',
      handler: 'strict',
      reason: 'not-authorized: never mallory',
      times: 3,
    })

    // --- will
    const withWill = { clientId: 'c', username: 'ann', will: { topic: 'secret/will', payload: 'x' } }
    await refusalCode(port, withWill)
    await newest({ ...who, point: 'will', topic: 'secret/will', handler: 'strict', reason: 'secret will' })

    // --- publish
    const client = await connectRaw(port, { clientId: 'c', username: 'ann', clean: true })
    const topic = `secret/${'ü'.repeat(500)}`
    for (let i = 0; i < 5; i++) await client.publish({ topic, payload: 'hunter2', qos: 1 })
    const cut = `secret/${'ü'.repeat(124)}`
    await newest({
      ...who,
      point: 'publish',
      topic: cut,
      handler: 'strict',
      reason: 'secret topic',
      times: 5,
    })
    await client.publish({ topic: '$SYS/x', payload: 'x', qos: 1 })
    await newest({ ...who, point: 'publish', topic: '$SYS/x', handler: null, reason: 'reserved topic' })

    // --- subscribe
    expect(await client.subscribe(['a', 0], ['secret/#', 1])).toEqual([0, 0x80])
    await newest({
      ...who,
      point: 'subscribe',
      topic: 'secret/#',
      handler: 'strict',
      reason: 'secret filter',
    })
    expect(await client.subscribe(['$tunnel/other/+/+/up', 0])).toEqual([0x80])
    await newest({ ...who, point: 'subscribe', topic: '$tunnel/other/+/+/up', handler: null })

    // --- tunnels
    expect(await client.subscribe(['$tunnel/c/+/+/up', 0])).toEqual([0x80])
    await newest({
      ...who,
      point: 'serve',
      topic: '$tunnel/c/+/+/up',
      handler: 'strict',
      reason: 'may not serve',
    })
    const opener = createTunnelClient({
      id: 'laptop',
      url: `mqtt://127.0.0.1:${port}`,
      username: 'ann',
      password: 'x',
    })
    onTestFinished(() => opener.close())
    await expect(opener.openStream('c/ssh')).rejects.toMatchObject({ reset: 'forbidden' })
    await newest({
      point: 'open',
      client: 'laptop',
      username: 'ann',
      address: '127.0.0.1',
      topic: '$tunnel/c/ssh/laptop/up',
      handler: 'strict',
      reason: 'forbidden: may not open',
    })

    const all = await broker.operations.refusals(100)
    expect(all).toMatchObject(expected)
    expect(all).toHaveLength(expected.length)
    expect(JSON.stringify(all)).not.toContain('hunter2')
    expect(await broker.operations.overview()).toMatchObject({ totals: { connectionsRefused: 6 } })
  })

  it('are not more than are to be kept', async () => {
    const broker = await openBroker({ admin: { enabled: false, refusalsKept: 3 } }, strict)
    const client = await connectRaw(broker.port, { clientId: 'c', username: 'ann', clean: true })
    for (let i = 0; i < 10; i++) await client.publish({ topic: `secret/${i}`, payload: 'x', qos: 1 })
    const topics = (await broker.operations.refusals(100)).map(({ topic }) => topic)
    expect(topics).toEqual(['secret/9', 'secret/8', 'secret/7'])
  })
})
