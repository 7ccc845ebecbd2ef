import { describe, expect, it } from 'vitest'
import { AuthError, RefuseReason, type Handler, type Session } from '../../../src/hooks/types.ts'
import { connectMqtt, connectRaw, openBroker, openRaw, refusalCode } from '../../support/broker-world.ts'

interface Call {
  readonly method: string
  readonly session: Session
  readonly detail: unknown
}

/** A handler that allows everything, and writes down who asked it what. */
function createRecorder(): { handler: Handler; calls: Call[]; names: () => string[] } {
  const calls: Call[] = []
  const note =
    (method: string) =>
    (session: Session, detail?: unknown): undefined => {
      calls.push({ method, session, detail: structuredClone(detail) })
      return undefined
    }
  const handler: Handler = {
    name: 'recorder',
    authConnect: note('authConnect'),
    connect: note('connect'),
    authSubscribe: note('authSubscribe'),
    subscribe: note('subscribe'),
    authPublish: note('authPublish'),
    publish: note('publish'),
    unsubscribe: note('unsubscribe'),
    disconnect: note('disconnect'),
  }
  return { handler, calls, names: () => calls.map(({ method }) => method) }
}

describe('a handler', () => {
  it.each([0, 1, 2] as const)(
    'is called in the order of mGate, with one session object in all calls (QoS %i)',
    async (qos) => {
      const { handler, calls, names } = createRecorder()
      const broker = await openBroker({}, handler)
      const client = await connectMqtt(broker.url, { clientId: 'c1', username: 'ann', password: 'pw' })
      await client.subscribeAsync('a/#', { qos })
      await client.publishAsync('b', 'x', { qos })
      await client.unsubscribeAsync('a/#')
      await client.endAsync()
      await expect
        .poll(names)
        .toEqual([
          ...['authConnect', 'connect', 'authSubscribe', 'subscribe'],
          ...['authPublish', 'publish', 'unsubscribe', 'disconnect'],
        ])
      expect(new Set(calls.map(({ session }) => session)).size).toBe(1)
      expect(calls[0]!.session).toMatchObject({
        id: 'c1',
        username: 'ann',
        clean: true,
        protocolVersion: 4,
        keepalive: 60,
        peer: { address: '127.0.0.1', transport: 'tcp' },
      })
      expect(calls.map(({ detail }) => detail)).toMatchObject([
        ...[undefined, undefined],
        [{ topic: 'a/#', qos }],
        [{ topic: 'a/#', qos }],
        { topic: 'b', qos, retain: false, isWill: false },
        { topic: 'b', qos },
        ['a/#'],
        { kind: 'client' },
      ])
    },
  )

  it('gets the password once, which is wiped afterwards, and a signal that is aborted at the end', async () => {
    let password: Buffer | undefined
    let seen = ''
    const sessions: Session[] = []
    const broker = await openBroker(
      {},
      {
        authConnect(session) {
          password = session.password
          seen = String(session.password)
          sessions.push(session)
        },
        connect: (session) => void sessions.push(session),
      },
    )
    const client = await connectMqtt(broker.url, { username: 'ann', password: 'open sesame' })
    expect(seen).toBe('open sesame')
    await expect.poll(() => sessions.length).toBe(2)
    expect(sessions[0]!.password).toBeUndefined()
    expect(password!.every((byte) => byte === 0)).toBe(true)
    expect(sessions[0]!.signal.aborted).toBe(false)
    await client.endAsync()
    await expect.poll(() => sessions[0]!.signal.aborted).toBe(true)
    expect(JSON.stringify(broker.events)).not.toContain('open sesame')
  })

  it.each([
    ['DISCONNECT', 'client'],
    ['a lost connection', 'lost'],
    ['a malformed packet', 'protocol'],
  ])('is told once of the end: %s', async (how, kind) => {
    const { handler, calls } = createRecorder()
    const broker = await openBroker({}, handler)
    const client = await connectRaw(broker.port, { clientId: 'c1' })
    if (how === 'DISCONNECT') await client.disconnect()
    else if (how === 'a lost connection') await client.destroy()
    else client.send(Buffer.of(0xf0, 0))
    const ends = () => calls.filter(({ method }) => method === 'disconnect').map(({ detail }) => detail)
    await expect.poll(ends).toMatchObject([{ kind }])
    await broker.stop()
    expect(ends()).toHaveLength(1)
  })

  it('is told once of each end that the broker brings: taken over, kicked, shutdown', async () => {
    const { handler, calls } = createRecorder()
    const broker = await openBroker({}, handler)
    const first = await connectRaw(broker.port, { clientId: 'same' })
    await connectRaw(broker.port, { clientId: 'same' })
    await first.untilClosed()
    const kicked = await connectRaw(broker.port, { clientId: 'kicked' })
    expect(await broker.disconnect('kicked')).toBe(true)
    await kicked.untilClosed()
    await broker.stop()
    const ends = calls.filter(({ method }) => method === 'disconnect')
    expect(ends.map(({ session, detail }) => [session.id, (detail as { kind: string }).kind])).toEqual([
      ['same', 'taken-over'],
      ['kicked', 'kicked'],
      ['same', 'shutdown'],
    ])
  })

  it('is told of the end exactly once for each authConnect, also when it refused or the client left', async () => {
    const calls: string[] = []
    let hold: (() => void) | undefined
    const broker = await openBroker(
      {},
      {
        authConnect(session) {
          calls.push(`authConnect ${session.id}`)
          if (session.id === 'refused') throw new AuthError('no', RefuseReason.badCredentials)
          if (session.id === 'impatient') return new Promise<void>((resolve) => (hold = resolve))
          return undefined
        },
        connect: (session) => void calls.push(`connect ${session.id}`),
        disconnect: (session, why) => void calls.push(`disconnect ${session.id} ${why.kind}`),
      },
    )
    expect(await refusalCode(broker.port, { clientId: 'refused' })).toBe(4)
    await expect.poll(() => calls).toEqual(['authConnect refused', 'disconnect refused refused'])
    calls.length = 0

    const impatient = await openRaw(broker.port)
    void impatient.connect({ clientId: 'impatient' }).catch(() => undefined)
    await expect.poll(() => hold).toBeDefined()
    await impatient.destroy()
    await expect.poll(() => calls).toEqual(['authConnect impatient', 'disconnect impatient lost'])
    hold!()
    const next = await connectRaw(broker.port, { clientId: 'next' })
    await next.disconnect()
    await broker.stop()
    expect(calls.slice(2)).toEqual(['authConnect next', 'connect next', 'disconnect next client'])
  })

  it('that notifies badly does not affect the client', async () => {
    const broken = (): never => {
      throw new Error('broken')
    }
    const late = (): Promise<void> => Promise.reject(new Error('broken later'))
    const broker = await openBroker(
      {},
      {
        authConnect() {},
        connect: broken,
        subscribe: late,
        publish: broken,
        unsubscribe: late,
        disconnect: broken,
      },
    )
    const client = await connectRaw(broker.port, { clientId: 'c1' })
    expect(await client.subscribe(['a', 1])).toEqual([1])
    await client.publish({ topic: 'a', payload: 'x', qos: 1 })
    expect(await client.next('publish')).toMatchObject({ topic: 'a' })
    await client.unsubscribe('a')
    await client.disconnect()
    const failed = () =>
      broker.events.filter(({ msg }) => msg === 'handler failed').map(({ method }) => method)
    await expect.poll(failed).toEqual(['connect', 'subscribe', 'publish', 'unsubscribe', 'disconnect'])
  })
})
