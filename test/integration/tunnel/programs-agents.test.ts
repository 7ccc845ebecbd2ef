import { once } from 'node:events'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { connectAsync } from 'mqtt'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createProxyDecoder } from '../../../src/listeners/proxy-protocol.ts'
import {
  startBrokerProcess,
  type BrokerProcess,
  type LogEvent,
  type ProcessOptions,
} from '../../support/broker-process.ts'
import { temporaryFolder } from '../../support/broker-world.ts'
import { startCli, type CliResult } from '../../support/run-cli.ts'
import { dialPort, echo, openTarget, textOf } from '../../support/tunnel-ends.ts'
import {
  type FaultBroker,
  openFaultBroker,
  openTunnelBroker,
  startAgent,
  startForward,
  until,
} from '../../support/tunnel-processes.ts'

/** On a busy machine with two cores. */

/** Answers with whom the PROXY header in front names, and with what follows. */
async function openProxiedTarget(): Promise<string> {
  return await openTarget((socket) => {
    const parts: Buffer[] = []
    socket.on('data', (bytes: Buffer) => parts.push(bytes))
    socket.once('end', () => {
      const outcome = createProxyDecoder().receive(Buffer.concat(parts))
      if (outcome.kind !== 'header') socket.end(outcome.kind)
      else socket.end(JSON.stringify({ ...outcome.header, rest: outcome.rest.toString() }))
    })
  })
}

async function answerAt(port: number | undefined, question: string): Promise<string> {
  const socket = await dialPort(port)
  const answer = textOf(socket)
  socket.end(question)
  return await answer
}

/** With its store on the disk. */
async function openDurableBroker(
  options: ProcessOptions = {},
): Promise<BrokerProcess & Pick<FaultBroker, 'flags'>> {
  const broker = await startBrokerProcess(options)
  onTestFinished(() => broker.remove())
  return Object.assign(broker, { flags: ['--broker', `mqtt://127.0.0.1:${broker.port}`] })
}

describe('PROXY protocol', () => {
  it('tells the services that want it the address that the broker has seen, and no others', async () => {
    const broker = await openTunnelBroker()
    const target = await openProxiedTarget()
    const agent = { web: `${target},proxy-protocol=v2`, plain: target, all: target }
    await startAgent(broker, agent, ['--proxy-protocol', 'all=v2'])
    const forward = await startForward(broker, ['web', 'all', 'plain'])
    const [web, all, plain] = forward.ports
    for (const [port, service] of [
      [web, 'web'],
      [all, 'all'],
    ] as const) {
      const answer: unknown = JSON.parse(await answerAt(port, 'hello'))
      // Not that of the forward's own socket, which only the forward knows: that of its MQTT connection.
      const source = { address: '127.0.0.1', port: (await openedAt(broker, service))['port'] }
      expect(answer).toEqual({ version: 2, source, rest: 'hello' })
    }
    expect(await answerAt(plain, 'hello')).toBe('invalid')
  })

  it('names nobody over a broker that vouches for nobody', async () => {
    const broker = await openFaultBroker('mosquitto')
    await startAgent(broker, { web: await openProxiedTarget() }, ['--proxy-protocol', 'v2'])
    const forward = await startForward(broker, ['web'])
    expect(JSON.parse(await answerAt(forward.ports[0], 'hello'))).toEqual({ version: 2, rest: 'hello' })
  })
})

/** The broker's line about the stream to that service. */
async function openedAt(broker: BrokerProcess, service: string): Promise<LogEvent> {
  const look = (): LogEvent | undefined =>
    broker.events.find((event) => event['msg'] === 'stream opened' && event['service'] === service)
  await until(look)
  return look()!
}

describe('an agent', () => {
  it('reaches a server on a unix socket, and says when its file is not there', async () => {
    const folder = await temporaryFolder()
    const path = join(folder, 'echo.sock')
    const server = createServer({ allowHalfOpen: true }, echo).listen(path)
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    const broker = await openTunnelBroker()
    await startAgent(broker, { here: `unix:${path}`, gone: `unix:${folder}/gone.sock` })
    const talk = (to: string): Promise<CliResult> => runWith(broker, ['connect', to], 'through a socket')
    expect(await talk('pi7/here')).toEqual({ code: 0, stdout: 'through a socket', stderr: '' })
    expect(await talk('pi7/gone')).toMatchObject({
      code: 8,
      stderr: expect.stringContaining('the socket file of the target does not exist') as string,
    })
  })

  it('is offline when it is killed, and online again when it or the broker comes back', async () => {
    const broker = await openTunnelBroker()
    const agent = await startAgent(broker, { echo: await openTarget(echo) })
    const watching = startCli(['agents', '--watch', '--json', ...broker.flags])
    onTestFinished(async () => {
      watching.process.kill('SIGKILL')
      await watching.ended
    })
    const change = (online: boolean, count: number): Promise<unknown> =>
      watching.output(new RegExp(`("id":"pi7","online":${online}[^]*){${count}}`))
    await change(true, 1)
    await agent.kill()
    await change(false, 1)
    expect((await runWith(broker, ['agents'])).stdout).toMatch(/^pi7 +offline +\S+ +echo /m)
    expect(await runWith(broker, ['connect', 'pi7/echo'])).toMatchObject({
      code: 4,
      stderr: expect.stringMatching(/agent pi7 is offline since \d{4}-/) as string,
    })
    await agent.start()
    await change(true, 2)
    await broker.kill()
    await broker.start()
    await change(true, 3)
    expect((await runWith(broker, ['agents'])).stdout).toMatch(/^pi7 +online +\S+ +echo /m)
  })

  it('that is gone while the broker was, is offline when it was expected back for long enough', async () => {
    const broker = await openDurableBroker({ config: { session: { willGraceMs: 1 } } })
    const agent = await startAgent(broker, { echo: await openTarget(echo) })
    expect((await runWith(broker, ['agents'])).stdout).toMatch(/^pi7 +online /m)
    // The status was published at QoS 0, which promises nothing: what is acknowledged behind it is stored behind it.
    const publisher = await connectAsync(`mqtt://127.0.0.1:${broker.port}`, { clientId: 'publisher' })
    await publisher.publishAsync('behind/the/status', 'x', { qos: 1, retain: true })
    await publisher.endAsync(true)
    await broker.kill()
    await agent.kill()
    await broker.start()
    expect((await runWith(broker, ['agents'])).stdout).toMatch(/^pi7 +offline +\S+ +echo /m)
  })

  it('loses its place to another of the same id, and both logs say why', async () => {
    const broker = await openTunnelBroker()
    const first = await startAgent(broker, { echo: await openTarget(echo) })
    const second = await startAgent(broker, { echo: await openTarget(echo) })
    const hint = /is another client with the id 'pi7' connected\?/
    await until(() =>
      [first, second].some(({ events }) => events.some(({ reason }) => hint.test(String(reason)))),
    )
    expect(first.countOf('tunnel agent lost its connection')).toBeGreaterThan(0)
    await until(() =>
      broker.events.some(({ msg, reason }) => msg === 'client disconnected' && reason === 'taken-over'),
    )
  })
})

function runWith(
  broker: Pick<FaultBroker, 'flags'>,
  args: readonly string[],
  input = '',
): Promise<CliResult> {
  const cli = startCli([...args, ...broker.flags])
  cli.process.stdin.end(input)
  return cli.ended
}
