import { connectRaw } from '../../support/broker-world.ts'
import type { RawClient } from '../../support/raw-client.ts'
import type { ConnectFields } from '../../support/wire.ts'

interface Clients {
  readonly connect: (fields?: Partial<ConnectFields>) => Promise<RawClient>
  /** A client that sends this, and is closed for it; resolves to it. */
  readonly expectEnd: (bytes: Buffer) => Promise<RawClient>
}

/** Of MQTT 3.1.1, at the broker of a file. */
export function clientsOf(world: { readonly port: number }): Clients {
  const connect = (fields: Partial<ConnectFields> = {}): Promise<RawClient> =>
    connectRaw(world.port, { clientId: '', ...fields })
  return {
    connect,
    async expectEnd(bytes) {
      const client = await connect()
      client.send(bytes)
      await client.untilClosed()
      return client
    },
  }
}
