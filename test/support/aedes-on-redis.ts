import { createRequire } from 'node:module'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { once } from 'node:events'
import { Aedes, type AedesOptions } from 'aedes'

// CommonJS; what is said of its types is for a default export that it does not have.
const require = createRequire(import.meta.url)
const createPersistence = require('aedes-persistence-redis') as (
  options: object,
) => AedesOptions['persistence']

export interface AedesOnRedis {
  readonly port: number
  /** Cuts all connections, without giving Aedes the time to tidy up what it keeps of them, and stops. */
  stop(): Promise<void>
}

/** Aedes as it is published, with its own package for Redis: what people migrate from. */
export async function startAedesOnRedis(redisPort: number, db = 0): Promise<AedesOnRedis> {
  const persistence = createPersistence({ host: '127.0.0.1', port: redisPort, db })
  const aedes = await Aedes.createBroker({ persistence })
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    aedes.handle(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async stop() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
      await new Promise<void>((resolve) => aedes.close(() => resolve()))
    },
  }
}
