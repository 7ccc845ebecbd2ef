import { once } from 'node:events'
import { buffer, text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { checkTunnel } from '../../../src/doctor/tunnel.ts'
import type { Agent } from '../../../src/tunnel/agent.ts'
import type { TunnelClient } from '../../../src/tunnel/client.ts'
import { createAgent, createTunnelClient } from '../../../src/tunnel/connect.ts'
import { MAX_DOCTOR_BYTES, MAX_DOCTOR_STREAMS } from '../../../src/tunnel/doctor-service.ts'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'
import { eventually } from '../../support/eventually.ts'

let broker: TestBroker
let agents: Agent[]
let client: TunnelClient
beforeAll(async () => {
  broker = await startTestBroker()
  agents = [
    createAgent({ url: broker.url, id: 'pi7', services: {}, doctor: true }),
    createAgent({ url: broker.url, id: 'pi8', services: { ssh: { target: '127.0.0.1:1' } } }),
  ]
  client = createTunnelClient({ url: broker.url })
  await Promise.all([client.connected(), ...agents.map((agent) => agent.connected())])
})
afterAll(async () => {
  await client.close()
  await Promise.all(agents.map((agent) => agent.close()))
  await broker.stop()
})

describe('the built-in service of an agent', () => {
  it('sends back what comes, and ends when the client does', async () => {
    const stream = await client.openStream('pi7/doctor')
    stream.end('echo\nhello')
    expect(await text(stream)).toBe('hello')
  })

  it('takes its line in pieces', async () => {
    const stream = await client.openStream('pi7/doctor')
    for (const piece of ['ec', 'ho', '\n', 'x']) stream.write(piece)
    stream.end('y')
    expect(await text(stream)).toBe('xy')
  })

  it('counts what comes', async () => {
    const stream = await client.openStream('pi7/doctor')
    stream.write('discard\n')
    stream.end(Buffer.alloc(300_000))
    expect(await text(stream)).toBe('300000\n')
  })

  it('sends as much as is asked for', async () => {
    const stream = await client.openStream('pi7/doctor')
    stream.end('send 300000\n')
    expect(await buffer(stream)).toHaveLength(300_000)
  })

  it.each([
    ['another word', 'open 127.0.0.1:22\n'],
    ['more bytes than it sends', `send ${MAX_DOCTOR_BYTES + 1}\n`],
    ['a line without end', 'x'.repeat(100)],
  ])('resets a stream that asks for %s', async (_, line) => {
    const stream = await client.openStream('pi7/doctor')
    stream.write(line)
    await expect(once(stream, 'data')).rejects.toThrow('pi7/doctor')
  })

  it('resets a stream that sends more than its bound', async () => {
    const stream = await client.openStream('pi7/doctor')
    stream.write('discard\n')
    stream.write(Buffer.alloc(MAX_DOCTOR_BYTES + 1))
    await expect(once(stream, 'data')).rejects.toThrow('pi7/doctor')
  })

  it('serves so many streams at once and no more, and others again when one has ended', async () => {
    const open = await Promise.all(
      Array.from({ length: MAX_DOCTOR_STREAMS }, () => client.openStream('pi7/doctor')),
    )
    await expect(client.openStream('pi7/doctor')).rejects.toThrow('it is being measured already')
    for (const stream of open) stream.destroy()
    await eventually(async () => {
      const stream = await client.openStream('pi7/doctor').catch(() => undefined)
      stream?.destroy()
      return stream !== undefined
    }).toBe(true)
  })

  it('is not in the status, and not there unless the program asks for it', async () => {
    const offered = (await client.agents()).map(({ id, services }) => [id, services])
    expect(offered).toEqual([
      ['pi7', []],
      ['pi8', ['ssh']],
    ])
    await expect(client.openStream('pi8/doctor')).rejects.toThrow("does not offer 'doctor'")
  })
})

describe('the doctor', () => {
  const check = (agent: string) =>
    checkTunnel(agent, async () => {
      const own = createTunnelClient({ url: broker.url })
      await own.connected()
      return own
    })

  it('measures the way to an agent', async () => {
    const findings = await check('pi7')
    expect(findings.map(({ state }) => state)).toEqual(['ok', 'ok', 'ok'])
  })

  it('warns of an agent that does not answer it, and names a service that can be tried', async () => {
    expect(await check('pi8')).toEqual([
      {
        check: 'tunnel',
        state: 'warn',
        seen: expect.stringContaining('does not answer the doctor'),
        todo: expect.stringContaining('--agent pi8/ssh'),
      },
    ])
  })

  it('measures how long a service takes to open, and fails for a target that refuses', async () => {
    expect(await check('pi8/ssh')).toMatchObject([
      { state: 'fail', seen: expect.stringContaining('refused by the target') },
    ])
    expect(await check('pi7/doctor')).toMatchObject([
      { state: 'ok', seen: expect.stringMatching(/^pi7: opened in/) },
    ])
  })

  it('fails when there is no way to the broker', async () => {
    const [finding] = await checkTunnel('pi7', () => Promise.reject(new Error('connection refused')))
    expect(finding).toMatchObject({ state: 'fail', seen: 'pi7: no way to the broker: connection refused' })
  })
})
