import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished } from 'vitest'
import { configSchema, type ConfigInput } from '../../../src/config/schema.ts'
import { createAdmission, type Admission, type AdmissionLimits } from '../../../src/listeners/admission.ts'
import { openListener, type Listener, type ListenerBounds } from '../../../src/listeners/listener.ts'
import type { RefusedConnection } from '../../../src/listeners/lobby.ts'
import type { Transport } from '../../../src/listeners/transport.ts'

export type ListenerInput = NonNullable<ConfigInput['listeners']>[number]

/** What one connection has seen. */
export interface Seen {
  readonly transport: Transport
  receivedBytes: number
  drainedCount: number
  readonly closedWith: (Error | undefined)[]
}

export interface World {
  readonly listener: Listener
  readonly admission: Admission
  readonly connections: Seen[]
  readonly refusals: RefusedConnection[]
  readonly errors: Error[]
  /** Resolves when the next connection, refusal or whatever makes `test` true; the test's own time-out is its deadline. */
  until(test: () => boolean): Promise<void>
  /** For changes that no event of the listener tells. */
  changed(): void
}

export interface WorldOptions {
  readonly limits?: Partial<AdmissionLimits>
  readonly bounds?: Partial<ListenerBounds>
  /** What the other end does with its bytes; default: sends them back. */
  readonly receive?: (seen: Seen, chunk: Buffer) => void
  readonly attach?: boolean
}

/** A listener with receivers that know no MQTT, closed when the test ends. */
export async function openWorld(input: ListenerInput, options: WorldOptions = {}): Promise<World> {
  const config = configSchema.parse({ listeners: [input], limits: options.limits ?? {} })
  const [listenerConfig] = config.listeners
  if (listenerConfig === undefined || listenerConfig.type === 'coap') throw new Error('no listener')
  const admission = createAdmission(config.limits, () => performance.now())
  const waiting = new Set<() => void>()
  const changed = (): void => {
    for (const look of waiting) look()
  }
  const connections: Seen[] = []
  const refusals: RefusedConnection[] = []
  const errors: Error[] = []

  const listener = await openListener(listenerConfig, {
    admission,
    ...(options.bounds === undefined ? {} : { bounds: options.bounds }),
    events: {
      connection(transport) {
        const seen: Seen = { transport, receivedBytes: 0, drainedCount: 0, closedWith: [] }
        connections.push(seen)
        if (options.attach !== false) attach(seen)
        changed()
      },
      refused(refusal) {
        refusals.push(refusal)
        changed()
      },
      error(error) {
        errors.push(error)
        changed()
      },
    },
  })
  function attach(seen: Seen): void {
    seen.transport.attach({
      data(chunk) {
        seen.receivedBytes += chunk.length
        if (options.receive === undefined) seen.transport.write(chunk)
        else options.receive(seen, chunk)
        changed()
      },
      drained() {
        seen.drainedCount++
        changed()
      },
      closed(error) {
        seen.closedWith.push(error)
        changed()
      },
    })
  }
  onTestFinished(() => listener.close())
  return {
    listener,
    admission,
    connections,
    refusals,
    errors,
    changed,
    until: (test) =>
      new Promise((resolve) => {
        const look = (): void => {
          if (!test()) return
          waiting.delete(look)
          resolve()
        }
        waiting.add(look)
        look()
      }),
  }
}

/** Waits until admission counts so many connections: our end of a socket closes a moment after the client's. */
export async function counted(world: World, connections: number): Promise<void> {
  await expect.poll(() => world.admission.counts().connections, { interval: 2 }).toBe(connections)
}

/** The port of a listener on TCP. */
export function portOf(world: World): number {
  const { port } = world.listener
  if (port === undefined) throw new Error('no port')
  return port
}

/** A connected TCP client, destroyed when the test ends. */
export async function dial(port: number, host = '127.0.0.1'): Promise<Socket> {
  const socket = connect({ port, host })
  tidy(socket)
  await once(socket, 'connect')
  return socket
}

/** Ends the socket with the test; its errors are part of what is tested. */
export function tidy(socket: {
  destroy(): unknown
  on(event: 'error', listener: () => void): unknown
}): void {
  socket.on('error', () => undefined)
  onTestFinished(() => void socket.destroy())
}

/** Reads until `byteCount` bytes are there, or the other end closed. */
export function read(socket: Socket, byteCount: number): Promise<Buffer> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = []
    let gotBytes = 0
    const done = (): void => {
      socket.off('data', onData)
      resolve(Buffer.concat(chunks))
    }
    const onData = (chunk: Buffer): void => {
      chunks.push(chunk)
      gotBytes += chunk.length
      if (gotBytes >= byteCount) done()
    }
    socket.on('data', onData)
    socket.once('close', done)
    if (socket.destroyed) done()
  })
}

/** Everything until the other end closes. */
export function readAll(socket: Socket): Promise<string> {
  return read(socket, Number.POSITIVE_INFINITY).then((bytes) => bytes.toString())
}

export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tunnelmq-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}
