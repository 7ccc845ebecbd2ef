import { createServer, type AddressInfo, type Socket } from 'node:net'
import { once } from 'node:events'
import { onTestFinished, vi } from 'vitest'
import { Packet, PacketReader } from './wire.ts'

/** One connection to a {@link ScriptedBroker}, with what has come on it. */
export interface ScriptedConnection {
  readonly socket: Socket
  readonly packets: { readonly first: number; readonly body: Buffer }[]
  readonly isClosed: boolean
  /** How many packets of this type have come. */
  count(type: number): number
  /** Resolves to the packets of this type, when so many have come. */
  until(type: number, count?: number): Promise<Buffer[]>
  untilClosed(): Promise<void>
}

export interface ScriptedBroker {
  readonly port: number
  readonly url: string
  readonly connections: ScriptedConnection[]
  /** Resolves when so many have connected, to the last of them. */
  connection(count?: number): Promise<ScriptedConnection>
}

export interface Script {
  /** Return codes; undefined: says nothing. */
  readonly connack?: number | undefined
  readonly suback?: number | undefined
  /** Answers PINGREQ. Default: yes. */
  readonly answersPings?: boolean
}

const WAIT = { timeout: 20_000, interval: 5 } as const

/** A broker that does nothing but what a test wants; with `granting`, it takes everybody. Ended with the test. */
export async function startScriptedBroker(script: Script): Promise<ScriptedBroker> {
  const connections: ScriptedConnection[] = []
  const server = createServer((socket) => connections.push(serve(socket, script)))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.close()
    for (const { socket } of connections) socket.destroy()
  })
  const { port } = server.address() as AddressInfo
  return {
    port,
    url: `mqtt://127.0.0.1:${port}`,
    connections,
    connection: (count = 1) =>
      vi.waitFor(() => {
        const last = connections[count - 1]
        if (last === undefined) throw new Error(`${connections.length} connections instead of ${count}`)
        return last
      }, WAIT),
  }
}

export const granting: Script = { connack: 0, suback: 0 }

function serve(socket: Socket, { connack, suback, answersPings = true }: Script): ScriptedConnection {
  const packets: { first: number; body: Buffer }[] = []
  let isClosed = false
  const reader = new PacketReader((first, body) => {
    packets.push({ first, body })
    const type = first >> 4
    if (type === Packet.connect && connack !== undefined) socket.write(Buffer.of(0x20, 2, 0, connack))
    if (type === Packet.subscribe && suback !== undefined) {
      socket.write(Buffer.of(0x90, 3, body[0]!, body[1]!, suback))
    }
    if (type === Packet.pingreq && answersPings) socket.write(Buffer.of(0xd0, 0))
  })
  socket.on('data', (chunk) => reader.receive(chunk))
  socket.on('error', () => undefined)
  socket.on('close', () => (isClosed = true))
  const of = (type: number): Buffer[] =>
    packets.filter(({ first }) => first >> 4 === type).map(({ body }) => body)
  return {
    socket,
    packets,
    get isClosed() {
      return isClosed
    },
    count: (type) => of(type).length,
    until: (type, count = 1) =>
      vi.waitFor(() => {
        const found = of(type)
        if (found.length < count)
          throw new Error(`${found.length} packets of type ${type} instead of ${count}`)
        return found
      }, WAIT),
    untilClosed: () =>
      vi.waitFor(() => {
        if (!isClosed) throw new Error('not closed')
      }, WAIT),
  }
}
