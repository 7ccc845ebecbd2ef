import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'

export interface CuttingProxy {
  readonly port: number
  /** Resets every connection, on both sides, with what is on its way. */
  cut(): void
  /** From now on nothing passes on the connections that stand, and nobody is told; new ones are as good as ever. */
  freeze(): void
  /** As `freeze`, and new ones are as silent. */
  isolate(): void
  thaw(): void
}

/** A way to a TCP port that can be cut; closed when the test ends. */
export async function openCuttingProxy(port: number): Promise<CuttingProxy> {
  const sockets = new Set<Socket>()
  const frozen = new WeakSet<Socket>()
  let isolated = false
  const keep = (socket: Socket): void => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.once('close', () => sockets.delete(socket))
  }
  const freeze = (socket: Socket): void => {
    frozen.add(socket)
    socket.pause()
  }
  const server = createServer({ noDelay: true }, (socket) => {
    const onward = connect({ port, host: '127.0.0.1', noDelay: true })
    for (const [from, to] of [
      [socket, onward],
      [onward, socket],
    ] as const) {
      keep(from)
      from.once('close', () => to.destroy())
      from.on('data', (bytes: Buffer) => {
        if (!to.write(bytes)) from.pause()
      })
      to.on('drain', () => {
        if (!frozen.has(from)) from.resume()
      })
      if (isolated) freeze(from)
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const cut = (): void => {
    for (const socket of sockets) socket.resetAndDestroy()
  }
  onTestFinished(() => {
    server.close()
    cut()
  })
  return {
    port: (server.address() as AddressInfo).port,
    cut,
    freeze: () => sockets.forEach(freeze),
    isolate: () => {
      isolated = true
      sockets.forEach(freeze)
    },
    thaw: () => {
      isolated = false
      for (const socket of sockets) {
        frozen.delete(socket)
        socket.resume()
      }
    },
  }
}
