import { Aedes, type Client } from 'aedes'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { ConnectionSession } from '../../../src/broker/connection-session.ts'
import { Connection } from '../../../src/broker/connection.ts'
import { EnginePersistence } from '../../../src/broker/engine-persistence.ts'
import { Engine } from '../../../src/broker/engine.ts'
import { ConnackCode } from '../../../src/broker/packets/types.ts'
import { ReasonCode } from '../../../src/broker/packets/reason.ts'
import { BrokerParts, connectionLimits, openProfile } from '../../support/broker-parts.ts'
import { FakeTransport } from '../../support/fake-transport.ts'
import { connectPacket, disconnect, pingreq, publishPacket, type ConnectFields } from '../../support/wire.ts'

const accepted = 'connack 0'
const will = { topic: 'gone', payload: 'bye' }

let parts: BrokerParts
let engine: Engine
/** Aedes itself: to look at what it keeps. */
let aedes: Aedes & { clients: Record<string, Client & { subscriptions: object }> }
/** What happened, in order. */
let events: string[]
let authenticate: (connection: Connection) => Promise<ReasonCode | undefined>
let attach: (connection: Connection) => Promise<ReasonCode | undefined>

beforeEach(async () => {
  parts = await BrokerParts.open()
  events = []
  authenticate = () => Promise.resolve(undefined)
  attach = async (connection) => {
    await parts.sessions.attach(connection, () => Promise.resolve([]))
    return undefined
  }
  const listen = vi.spyOn(Aedes.prototype, 'listen')
  engine = await Engine.start(
    {
      authenticate: (connection) => authenticate(connection),
      attach: (connection) => attach(connection),
      ready: (connection) => {
        events.push(`ready ${connection.clientId}`)
        connection.opened()
      },
      will: async (connection) => {
        events.push(`will of ${connection.clientId}`)
      },
      fault: (connection, error) => {
        events.push(`fault ${error.message}`)
        connection.close({ kind: 'error' })
      },
    },
    new EnginePersistence(parts.store, parts.sessions),
  )
  aedes = listen.mock.contexts[0] as typeof aedes
})

afterEach(async () => {
  vi.restoreAllMocks()
  await engine.close()
})

class EngineClient {
  readonly transport = new FakeTransport()
  readonly connection: Connection

  constructor() {
    this.connection = new Connection(this.transport, openProfile, {
      handler: {
        connect: (connection, packet) => {
          const { peer } = this.transport
          connection.session = new ConnectionSession(packet.clientId, packet, peer, Date.now())
          engine.handle(connection)
        },
        publish: (_connection, fields) => events.push(`publish ${fields.topic}`),
        acknowledge: () => {},
        release: () => {},
        subscribe: () => {},
        unsubscribe: () => {},
        authenticate: () => {},
        disconnecting: () => {},
        refused: (_connection, reason) => events.push(`refused ${reason}`),
        gone: (connection, reason) => {
          events.push(`gone ${connection.clientId} ${reason.kind}`)
          parts.sessions.detach(connection)
        },
        failed: (_connection, error) => events.push(`failed ${String(error)}`),
      },
      limits: connectionLimits,
      traffic: parts.counters.listener('test', 'tcp'),
      nowMs: Date.now(),
    })
  }

  /** CONNACK, PINGRESP and what else came since the last call. */
  answers(): string[] {
    this.connection.outbound.flush()
    const bytes = this.transport.takeWritten()
    const answers: string[] = []
    for (let at = 0; at < bytes.length; at += 2 + bytes[at + 1]!) {
      if (bytes[at] === 0x20) answers.push(`connack ${bytes[at + 3]}${bytes[at + 2] === 1 ? ' present' : ''}`)
      else answers.push(bytes.subarray(at, at + 2).toString('hex') === 'd000' ? 'pingresp' : 'unknown')
    }
    return answers
  }

  send(...packets: readonly Buffer[]): void {
    this.transport.send(Buffer.concat(packets))
  }
}

/** Aedes goes through CONNECT in turns of the event loop and in promises; nothing of it waits for anything else. */
async function quiet(turns = 20): Promise<void> {
  for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve))
}

async function connect(fields: Partial<ConnectFields> = {}): Promise<EngineClient> {
  const client = new EngineClient()
  client.send(connectPacket({ clientId: 'c', clean: false, ...fields }))
  await quiet()
  return client
}

function registered(): string[] {
  return Object.keys(aedes.clients)
}

describe('CONNECT', () => {
  it('is answered with CONNACK 0, and then we are told', async () => {
    const client = await connect()
    expect(client.answers()).toEqual([accepted])
    expect(events).toEqual(['ready c'])
    expect(registered()).toEqual(['c'])
    expect(client.connection.phase).toBe('open')
  })

  it.each([3, 4])('of protocol level %i is accepted', async (level) => {
    const client = await connect({ level, protocol: level === 3 ? 'MQIsdp' : 'MQTT' })
    expect(client.answers()).toEqual([accepted])
  })

  it('with a long client id is accepted also at MQTT 3.1, where Aedes has a limit of 23', async () => {
    const client = await connect({ clientId: 'x'.repeat(1_000), level: 3, protocol: 'MQIsdp' })
    expect(client.answers()).toEqual([accepted])
  })

  it('gives session present by the sentinel, also for a session without subscriptions [MQTT-3.2.2-2]', async () => {
    const first = await connect()
    expect(first.answers()).toEqual([accepted])
    first.transport.lose()
    const second = await connect()
    expect(second.answers()).toEqual([`${accepted} present`])
    // The sentinel is refused as a subscription.
    expect(Object.keys(aedes.clients['c']!.subscriptions)).toEqual([])
  })

  it('gives no session present to a clean session [MQTT-3.2.2-1]', async () => {
    const first = await connect()
    first.transport.lose()
    const second = await connect({ clean: true })
    expect(second.answers()).toEqual([accepted])
  })

  it.each([
    ['authenticate', ConnackCode.identifierRejected, ReasonCode.clientIdentifierNotValid],
    ['authenticate', ConnackCode.unavailable, ReasonCode.serverUnavailable],
    ['authenticate', ConnackCode.badCredentials, ReasonCode.badUserNameOrPassword],
    ['authenticate', ConnackCode.notAuthorized, ReasonCode.notAuthorized],
    ['attach', ConnackCode.unavailable, ReasonCode.serverUnavailable],
    ['attach', ConnackCode.notAuthorized, ReasonCode.notAuthorized],
  ] as const)('refused by %s is answered with CONNACK %i, and closed', async (step, code, reason) => {
    if (step === 'authenticate') authenticate = () => Promise.resolve(reason)
    else attach = () => Promise.resolve(reason)
    const client = await connect({ will })
    expect(client.answers()).toEqual([`connack ${code}`])
    expect(client.transport.isEnded).toBe(true)
    expect(events.filter((event) => !event.startsWith('fault'))).toEqual(['gone c refused'])
    expect(registered()).toEqual([])
  })

  it('is registered under the client id that authConnect has rewritten', async () => {
    authenticate = async (connection) => {
      connection.session!.id = 'rewritten'
      return undefined
    }
    await connect()
    expect(registered()).toEqual(['rewritten'])
  })

  it('leaves keep alive to us: Aedes starts no timer for it', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    try {
      const client = await connect({ keepaliveSeconds: 1 })
      expect(client.answers()).toEqual([accepted])
      expect(vi.getTimerCount()).toBe(0)
    } finally {
      vi.useRealTimers()
    }
  })

  it('sent a second time closes the connection [MQTT-3.1.0-2]', async () => {
    const client = await connect()
    client.send(connectPacket({ clientId: 'c' }))
    expect(client.transport.isEnded).toBe(true)
    expect(events).toEqual(['ready c', 'gone c protocol'])
    expect(registered()).toEqual([])
  })

  it('is announced to nobody', async () => {
    const emit = vi.spyOn((aedes as unknown as { mq: { emit: () => void } }).mq, 'emit')
    const client = await connect()
    client.transport.lose()
    expect(emit).not.toHaveBeenCalled()
  })
})

describe('the stream that Aedes reads', () => {
  it('gives it one packet at a time, and the next one when it has dealt with that', async () => {
    const client = await connect()
    const log: string[] = []
    const stream = client.connection.engineStream!
    const read = stream.read.bind(stream)
    vi.spyOn(stream, 'read').mockImplementation(() => {
      const packet = read()
      log.push(packet === null ? 'idle' : `read ${packet.toString('hex')}`)
      return packet
    })
    client.send(pingreq, pingreq, disconnect)
    await quiet()
    expect(log).toEqual(['read c000', 'idle', 'read c000', 'idle', 'read e000', 'idle'])
    expect(client.answers()).toEqual(['connack 0', 'pingresp', 'pingresp'])
    expect(events).toEqual(['ready c', 'gone c client'])
  })

  it('holds what comes behind a packet of Aedes until that is dealt with', async () => {
    const client = await connect()
    client.send(pingreq, publishPacket({ topic: 'behind' }))
    expect(events).toEqual(['ready c'])
    await quiet()
    expect(events).toEqual(['ready c', 'publish behind'])
    expect(client.connection.held).toBe(false)
  })

  it('holds what comes behind CONNECT until the CONNACK', async () => {
    let accept!: () => void
    authenticate = () => new Promise((resolve) => (accept = () => resolve(undefined)))
    const client = new EngineClient()
    client.send(connectPacket({ clientId: 'c' }), publishPacket({ topic: 'early' }), pingreq)
    await quiet()
    expect(events).toEqual([])
    accept()
    await quiet()
    expect(events).toEqual(['ready c', 'publish early'])
    expect(client.answers()).toEqual([accepted, 'pingresp'])
  })

  it('answers every PINGREQ with PINGRESP [MQTT-3.12.4-1]', async () => {
    const client = await connect()
    client.send(...Array.from({ length: 50 }, () => pingreq))
    await quiet(100)
    expect(client.answers()).toEqual([accepted, ...Array.from({ length: 50 }, () => 'pingresp')])
  })
})

describe('the end of a connection', () => {
  it('is there when close() returns, however far its CONNECT has come', async () => {
    const never = () => new Promise<undefined>(() => {})
    const steps: (() => Promise<EngineClient>)[] = [
      () => {
        authenticate = never
        return connect({ clientId: 'authenticating' })
      },
      () => {
        authenticate = () => Promise.resolve(undefined)
        attach = never
        return connect({ clientId: 'attaching' })
      },
      () => {
        attach = () => Promise.resolve(undefined)
        return connect({ clientId: 'open', clean: true })
      },
    ]
    for (const step of steps) {
      const client = await step()
      events = []
      client.connection.close({ kind: 'kicked' })
      expect(events).toEqual([`gone ${client.connection.clientId} kicked`])
      expect(client.transport.isEnded).toBe(true)
      expect(registered()).toEqual([])
    }
    await quiet()
    expect(registered()).toEqual([])
  })

  it('leaves nothing in the registry when it comes between authentication and registration', async () => {
    // Every moment of that time: so many steps after Aedes has been told to go on.
    for (let microtasks = 0; microtasks < 25; microtasks++) {
      const clientId = `c${microtasks}`
      attach = async (connection) => {
        await parts.sessions.attach(connection, () => Promise.resolve([]))
        let left = microtasks
        const step = (): void => {
          if (left-- === 0) connection.close({ kind: 'lost' })
          else queueMicrotask(step)
        }
        queueMicrotask(step)
        return undefined
      }
      await connect({ clientId, clean: false })
      expect(registered()).toEqual([])
      expect(aedes.connectedClients).toBe(0)
      // Nobody is told that it is ready when it is gone.
      expect(events.filter((event) => !event.startsWith('fault')).at(-1)).toBe(`gone ${clientId} lost`)
    }
  })

  it('while the handlers are asked means that no session is attached when they answer', async () => {
    let accept!: () => void
    authenticate = () => new Promise((resolve) => (accept = () => resolve(undefined)))
    const attached = vi.fn<typeof attach>(attach)
    attach = attached
    const client = await connect()
    client.transport.lose()
    accept()
    await quiet()
    expect(attached).not.toHaveBeenCalled()
    expect(events).toEqual(['gone c lost'])
    expect(parts.store.sessions.size).toBe(0)
  })

  it('makes room for the next one with the same client id, which finds the session', async () => {
    const first = await connect()
    const second = await connect()
    expect(second.answers()).toEqual([`${accepted} present`])
    expect(events).toEqual(['ready c', 'gone c taken-over', 'ready c'])
    expect(first.transport.isEnded).toBe(true)
    expect(aedes.clients['c']).toBe(second.connection.engineClient)
    expect(aedes.connectedClients).toBe(1)
  })

  it('comes to all of them when the engine is closed', async () => {
    await connect({ clientId: 'a' })
    await connect({ clientId: 'b' })
    await engine.close()
    expect(events.filter((event) => event.startsWith('gone'))).toHaveLength(2)
    expect(registered()).toEqual([])
  })
})

describe('the will', () => {
  it('is due when the connection is lost, and we know of it when close() returns', async () => {
    const client = await connect({ will })
    client.connection.close({ kind: 'lost' })
    expect(events).toEqual(['ready c', 'will of c', 'gone c lost'])
    expect(client.connection.willSettled).toBeInstanceOf(Promise)
    await quiet()
    expect(events.filter((event) => event === 'will of c')).toHaveLength(1)
  })

  it('is due when another connection takes the client id [MQTT-3.1.2-8]', async () => {
    await connect({ will })
    await connect()
    expect(events).toEqual(['ready c', 'will of c', 'gone c taken-over', 'ready c'])
  })

  it('is not due after DISCONNECT [MQTT-3.14.4-3]', async () => {
    const client = await connect({ will })
    client.send(disconnect)
    await quiet()
    expect(events).toEqual(['ready c', 'gone c client'])
  })

  it('is not due when the connection was never accepted', async () => {
    attach = () => new Promise(() => {})
    const client = await connect({ will })
    client.transport.lose()
    await quiet()
    expect(events).toEqual(['gone c lost'])
  })

  it('is not due when the handlers have taken it away', async () => {
    authenticate = async (connection) => {
      connection.session!.will = undefined
      return undefined
    }
    const client = await connect({ will })
    client.transport.lose()
    expect(events).toEqual(['ready c', 'gone c lost'])
  })

  it('stays in the store when the broker stops', async () => {
    const client = await connect({ will })
    engine.stopping()
    client.connection.close({ kind: 'shutdown' })
    expect(events).toEqual(['ready c', 'gone c shutdown'])
  })
})

describe("Aedes' own timers", () => {
  it('are not due before the broker has long been restarted, and not so far that they fire at once', async () => {
    const setIntervalSpy = vi.spyOn(globalThis, 'setInterval')
    const other = await Engine.start(
      {
        authenticate: () => Promise.resolve(undefined),
        attach: () => Promise.resolve(undefined),
        ready: () => {},
        will: () => Promise.resolve(),
        fault: () => {},
      },
      new EnginePersistence(parts.store, parts.sessions),
    )
    const delays = setIntervalSpy.mock.calls.map(([, delayMs]) => delayMs!)
    await other.close()
    expect(delays.length).toBeGreaterThan(0)
    expect(Math.min(...delays)).toBeGreaterThan(5 * 86_400_000)
    expect(Math.max(...delays)).toBeLessThan(2 ** 31)
  })
})
