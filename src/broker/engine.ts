import { randomUUID } from 'node:crypto'
import { Aedes, type AedesOptions, type Client, type ConnectPacket as EngineConnectPacket } from 'aedes'
import mqttPacket from 'mqtt-packet'
import type { Connection } from './connection.ts'
import type { Will } from '../hooks/types.ts'
import type { EnginePersistence } from './engine-persistence.ts'
import { EngineStream } from './engine-stream.ts'
import type { ReasonCode } from './packets/reason.ts'
import { connackCodeOf } from './reason-of.ts'
import { Router } from './router.ts'

/** What the engine asks of the broker. Each is called at most once for a connection. */
export interface EngineHooks {
  /** authConnect and the will's authPublish; resolves to the refusal, or undefined to accept. Never rejects. */
  authenticate(connection: Connection): Promise<ReasonCode | undefined>
  /** Gives the connection its session; resolves to the refusal. Never rejects. */
  attach(connection: Connection): Promise<ReasonCode | undefined>
  /** The CONNACK that accepts is written. */
  ready(connection: Connection): void
  /** The connection ended without DISCONNECT and has a will; resolves when that is published or given up. */
  will(connection: Connection): Promise<void>
  fault(connection: Connection, error: Error): void
}

// With its cache the encoder that Aedes uses makes a buffer for each of 65,536 numbers at its first packet: 8 MB.
// What it encodes here is CONNACK and PINGRESP.
mqttPacket.writeToStream.cacheNumbers = false

/** Aedes' timers for several brokers on one emitter: we have none, and setInterval takes 2^31 - 1 ms at most. */
const NEVER_MS = 536_870_911

/**
 * Aedes, held at the points of docs/architecture.md: it runs CONNECT to CONNACK, PINGREQ, DISCONNECT, takeover
 * in its registry and when a will is due. The only importer of aedes, and the place for Aedes 2.
 */
export class Engine {
  readonly #aedes: Aedes
  /** Wills stay in the store while we stop: their clients may be back before anybody misses them. */
  #stopping = false

  private constructor(aedes: Aedes) {
    this.#aedes = aedes
  }

  static async start(hooks: EngineHooks, persistence: EnginePersistence): Promise<Engine> {
    const options: AedesOptions = {
      // Random at each start: an id that comes again overwrites what an earlier run has queued (F11).
      id: randomUUID(),
      persistence,
      mq: new EngineEmitter(),
      heartbeatInterval: NEVER_MS,
      drainTimeout: 0,
      maxClientsIdLength: 65_535,
      preConnect: (client, packet, callback) => {
        const connection = connectionOf(client)
        void hooks.authenticate(connection).then((refusal) => {
          connection.refusal = refusal
          if (connection.phase !== 'connecting') return
          engine.#prepare(connection, packet)
          // Never `false`: Aedes would leave the socket open, without a CONNACK and without a timer.
          callback(null, true)
        })
      },
      authenticate: (client, _username, _password, callback) => {
        const connection = connectionOf(client)
        if (connection.refusal !== undefined) {
          connection.reason ??= { kind: 'refused' }
          callback(refused(connection.refusal), null)
          return
        }
        void hooks.attach(connection).then((refusal) => {
          if (refusal === undefined) {
            callback(null, true)
            return
          }
          connection.refusal = refusal
          connection.reason ??= { kind: 'refused' }
          callback(refused(refusal), null)
        })
      },
      // PUBLISH and SUBSCRIBE do not come here: only the wills, and the sentinel of EnginePersistence.
      authorizePublish: (client, _packet, callback) => {
        if (client === null || engine.#stopping) {
          callback(new Error('not published'))
          return
        }
        const connection = connectionOf(client)
        connection.willSettled = hooks.will(connection)
        // We publish it ourselves, in one write with its removal.
        void connection.willSettled.then(() => callback(new Error('published by us')))
      },
      authorizeSubscribe: (_client, _subscription, callback) => callback(null, null),
    }
    const aedes = new Aedes(options)
    // Aedes announces each client to other brokers on `$SYS/`; here are none, and clients shall not read it.
    aedes.publish = (...args: unknown[]) => {
      const done = args.findLast((argument) => typeof argument === 'function')
      if (typeof done === 'function') done()
    }
    const engine = new Engine(aedes)
    aedes.on('clientReady', (client) => {
      if (!client.closed) hooks.ready(connectionOf(client))
    })
    aedes.on('client', (client) => engine.#registered(client))
    const fault = (client: Client, error: Error): void => hooks.fault(connectionOf(client), error)
    aedes.on('clientError', fault)
    aedes.on('connectionError', fault)
    await aedes.listen()
    return engine
  }

  /** A connection that has sent a CONNECT, which was accepted so far. */
  handle(connection: Connection): void {
    const stream = new EngineStream(connection)
    connection.engineStream = stream
    // What Aedes asks of a stream: test/unit/broker/engine.test.ts proves that this is enough.
    connection.engineClient = this.#aedes.handle(stream as unknown as Parameters<Aedes['handle']>[0])
    stream.feed(connectFor(connection))
  }

  /** Connections that end from now on leave their wills in the store. */
  stopping(): void {
    this.#stopping = true
  }

  /** It does not stop, after all. */
  goesOn(): void {
    this.#stopping = false
  }

  close(): Promise<void> {
    return new Promise((resolve) => this.#aedes.close(resolve))
  }

  /** What authConnect has rewritten, and what we do ourselves: keep alive. */
  #prepare(connection: Connection, packet: EngineConnectPacket): void {
    const session = connection.session!
    packet.clientId = connection.sessionId
    packet.keepalive = 0
    if (session.will === undefined || connection.refusal !== undefined) delete packet.will
    else packet.will = aedesWill(session.will)
  }

  /** Aedes also registers a client that was closed while its CONNECT was under way, and would keep it for ever. */
  #registered(client: Client): void {
    const registry = this.#aedes as unknown as EngineRegistry
    if (client.closed && registry.clients[client.id] === client) registry.deleteClient(client.id)
  }
}

/** Aedes says when it is due; what MQTT 5 adds to it is ours. */
function aedesWill({ topic, payload, qos, retain }: Will): NonNullable<EngineConnectPacket['will']> {
  return { topic, payload, qos, retain }
}

/** What Aedes reads of a CONNECT, in the version that it speaks; the rest it is told by us (`#prepare`). */
function connectFor({ session, version }: Connection): Buffer {
  const { id: clientId, clean } = session!
  const isOld = version === 3
  return mqttPacket.generate({
    cmd: 'connect',
    protocolId: isOld ? 'MQIsdp' : 'MQTT',
    protocolVersion: isOld ? 3 : 4,
    clientId,
    clean,
    keepalive: 0,
  })
}

/** Undocumented parts of Aedes that are used here, each with a test. */
interface EngineRegistry {
  readonly clients: Record<string, Client>
  deleteClient(clientId: string): void
}

function connectionOf(client: Client): Connection {
  return (client.conn as unknown as EngineStream).owner as Connection
}

function refused(reason: ReasonCode): Error & { returnCode: number } {
  return Object.assign(new Error('connection refused'), { returnCode: connackCodeOf(reason) })
}

type Listener = (packet: { topic: string }, done: () => void) => void

/** Where Aedes listens for other brokers: the `mq` option, on our router. */
class EngineEmitter {
  readonly #router = new Router<Listener>()

  on(filter: string, listener: Listener, done?: () => void): this {
    this.#router.add(filter, listener)
    if (done !== undefined) setImmediate(done)
    return this
  }

  removeListener(filter: string, listener: Listener, done?: () => void): this {
    this.#router.remove(filter, listener)
    if (done !== undefined) setImmediate(done)
    return this
  }

  emit(packet: { topic: string }, done?: () => void): this {
    for (const listener of this.#router.match(packet.topic)) listener(packet, ignore)
    if (done !== undefined) setImmediate(done)
    return this
  }

  close(done?: () => void): void {
    if (done !== undefined) setImmediate(done)
  }
}

function ignore(): void {}
