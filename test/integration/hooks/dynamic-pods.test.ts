import { once } from 'node:events'
import mqtt from 'mqtt'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createAgent, createTunnelClient } from '../../../src/tunnel/index.ts'
import { startPods } from '../../support/broker-pods.ts'
import { echo, openTarget } from '../../support/tunnel-ends.ts'

describe('identities of two pods on one Redis', () => {
  it('are changed at one, and cut a live session and a live stream at the other', async () => {
    const { pods } = await startPods(2, {
      listeners: [{ type: 'tcp', port: 0 }],
      handlers: [{ type: 'dynamic' }],
    })
    const [a, b] = [pods[0]!, pods[1]!]
    const rest = { description: '', isEnabled: true, clientId: null, groups: [], password: 'correct horse' }
    const rules = [
      { allow: true, actions: ['serve', 'open'] as ('serve' | 'open')[], on: 'pi7/*' },
      { allow: true, actions: ['publish', 'subscribe'] as ('publish' | 'subscribe')[], on: 'd/#' },
    ]
    await a.operations.putRole('all', { description: '', rules })
    for (const name of ['agent', 'laptop', 'sensor'])
      await a.operations.createIdentity({ ...rest, name, roles: ['all'] })
    const credentials = (username: string) => ({ username, password: 'correct horse' })

    const agent = createAgent({
      url: a.url,
      ...credentials('agent'),
      id: 'pi7',
      services: { echo: { target: await openTarget(echo) } },
    })
    onTestFinished(() => agent.close())
    await agent.connected()
    // What one pod has written, the other knows within the moment that it takes the log.
    await expect.poll(() => b.operations.identity('sensor')).toMatchObject({ roles: ['all'] })
    const client = createTunnelClient({ url: b.url, ...credentials('laptop'), id: 'laptop' })
    onTestFinished(() => client.close())
    const stream = await client.openStream('pi7/echo')
    const cut = once(stream, 'error')
    stream.write('x')
    await once(stream, 'data')
    const sensor = await mqtt.connectAsync(b.url, { ...credentials('sensor'), reconnectPeriod: 0 })
    await sensor.subscribeAsync('d/#', { qos: 1 })

    // Rights that are taken away end the stream, and leave the connection.
    await a.operations.putRole('all', { description: '', rules: rules.slice(1) })
    expect(String((await cut)[0])).toContain('rights have changed')
    expect(sensor.connected).toBe(true)

    const gone = new Promise((resolve) => sensor.once('close', () => resolve(undefined)))
    await a.operations.changeIdentity('sensor', { isEnabled: false })
    await gone

    // Changes at both at once: each of them is made.
    const made = pods.flatMap(({ operations }, pod) =>
      Array.from({ length: 5 }, (_, at) =>
        operations.createIdentity({ ...rest, password: undefined, name: `p${pod}-${at}`, roles: [] }),
      ),
    )
    await Promise.all(made)
    for (const { operations } of pods)
      await expect.poll(async () => (await operations.identities({ state: 'all', limit: 1 })).total).toBe(13)
  })
})
