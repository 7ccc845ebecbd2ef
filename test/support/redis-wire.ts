import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** `before`: the request does not reach Redis. `after`: it does, and the answer does not come back. */
export type CutPoint = 'before' | 'after'

export interface RedisWire {
  readonly url: string
  /** Cuts the connection that carries the next request with this word in it. */
  cutAt(word: string, point: CutPoint): void
  /** Cuts that have happened. */
  readonly cuts: number
  close(): void
}

/** A way to Redis that is cut at a given request, once each time. */
export async function openRedisWire(port: number): Promise<RedisWire> {
  const sockets = new Set<Socket>()
  let armed: { word: string; point: CutPoint } | undefined
  let cuts = 0
  const server = createServer({ noDelay: true }, (socket) => {
    const onward = connect({ port, host: '127.0.0.1', noDelay: true })
    let isDoomed = false
    for (const one of [socket, onward]) {
      sockets.add(one)
      one.on('error', () => undefined)
      one.once('close', () => {
        sockets.delete(one)
        socket.destroy()
        onward.destroy()
      })
    }
    const cut = (): void => {
      cuts++
      socket.resetAndDestroy()
      onward.destroy()
    }
    socket.on('data', (bytes: Buffer) => {
      if (armed !== undefined && bytes.includes(`\r\n${armed.word}\r\n`)) {
        isDoomed = true
        const { point } = armed
        armed = undefined
        if (point === 'before') return cut()
      }
      onward.write(bytes)
    })
    onward.on('data', (bytes: Buffer) => {
      if (isDoomed) cut()
      else socket.write(bytes)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}/0`,
    cutAt(word, point) {
      armed = { word, point }
    },
    get cuts() {
      return cuts
    },
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}
