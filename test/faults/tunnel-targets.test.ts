import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../support/broker-world.ts'
import { closeCodeOf, textOf } from '../support/tunnel-ends.ts'
import {
  type BrokerKind,
  type EndProcess,
  openFaultBroker,
  startAgent,
  startForward,
} from '../support/tunnel-processes.ts'
import {
  closeCodeAt,
  joinThrough,
  openTargetQueue,
  reportFlows,
  startFlow,
  type Target,
} from '../support/tunnel-processes-traffic.ts'

const MIB = 1_048_576
const brokers: readonly BrokerKind[] = ['tunnelmq', 'mosquitto']

interface World {
  readonly forward: EndProcess
  readonly target: Target
}

/** Ports of the forward: the target; a port on which nobody listens; no such socket file; no such name. */
async function openWorld(kind: BrokerKind): Promise<World> {
  const broker = await openFaultBroker(kind)
  const target = await openTargetQueue()
  const services = {
    data: target.address,
    closed: `127.0.0.1:${await closedPort()}`,
    file: `unix:${join(await temporaryFolder(), 'nobody.sock')}`,
    // RFC 6761 has reserved it: nobody has it.
    name: 'nothing.invalid:80',
  }
  await startAgent(broker, services)
  return { target, forward: await startForward(broker, Object.keys(services)) }
}

async function closedPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

describe.each(brokers)('over %s', (kind) => {
  it('resets the socket of the client when the target cannot be reached, says why, and goes on', async () => {
    const { forward, target } = await openWorld(kind)
    const [, closed, file, name] = forward.ports
    for (const port of [closed, file, name]) expect(await closeCodeAt(port)).toBe('ECONNRESET')
    await forward.logged('forward failed', { to: 'pi7/closed', reset: 'refused' })
    await forward.logged('forward failed', { to: 'pi7/file', reset: 'unreachable' })
    const { reason } = await forward.logged('forward failed', { to: 'pi7/name', reset: 'unreachable' })
    expect(reason).toContain('the name of the target')
    const { near, far } = await joinThrough(forward.ports[0], target)
    near.end('still there')
    expect(await textOf(far)).toBe('still there')
  })

  it('passes on the end of one direction, while the other one goes on', async () => {
    const { forward, target } = await openWorld(kind)
    for (const first of ['near', 'far'] as const) {
      const joint = await joinThrough(forward.ports[0], target)
      const [speaker, listener] =
        first === 'near' ? [joint.near, joint.far] : ([joint.far, joint.near] as const)
      const said = textOf(listener)
      const closed = Promise.all([joint.near, joint.far].map((socket) => once(socket, 'close')))
      speaker.end('I have said it all')
      expect(await said).toBe('I have said it all')
      const answer = startFlow(listener, speaker, 16 * MIB)
      const { sent, received } = await answer.done
      expect(received).toBe(sent)
      await closed
      reportFlows(`6 (${first} ends first, ${kind})`, { answer })
    }
  })

  it('passes on the reset of a connection, from either side', async () => {
    const { forward, target } = await openWorld(kind)
    for (const first of ['near', 'far'] as const) {
      const { near, far } = await joinThrough(forward.ports[0], target)
      const [breaker, other] = first === 'near' ? [near, far] : ([far, near] as const)
      const code = closeCodeOf(other)
      breaker.resetAndDestroy()
      expect(await code).toBe('ECONNRESET')
    }
  })

  it('brings all of it when the target closes behind it', async () => {
    const { forward, target } = await openWorld(kind)
    const { near, far } = await joinThrough(forward.ports[0], target)
    // The client does not read until the target has long gone.
    near.pause()
    const gone = once(far, 'close')
    far.end(Buffer.alloc(MIB / 2, 'x'))
    far.resume()
    near.end()
    await gone
    const came = textOf(near)
    near.resume()
    expect((await came).length).toBe(MIB / 2)
  })
})
