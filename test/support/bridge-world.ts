import { onTestFinished } from 'vitest'
import type { ConfigInput } from '../../src/config/schema.ts'
import type { TestBroker } from './broker.ts'
import { eventOf, openBroker } from './broker-world.ts'
import { LoadClient, type Delivery, type LoadClientOptions } from './load-client.ts'

export type BridgeInput = NonNullable<ConfigInput['bridges']>[number]

/** A bridge to a broker on this loopback port, which tries again soon. */
export function bridgeTo(port: number, changes: Partial<BridgeInput> = {}): BridgeInput {
  return {
    name: 'other',
    url: `mqtt://127.0.0.1:${port}`,
    reconnectMinMs: 50,
    reconnectMaxMs: 200,
    topics: [{ filter: '#', direction: 'both', localPrefix: 'here/', remotePrefix: 'there/' }],
    ...changes,
  }
}

/** A broker with this bridge, once it is connected. */
export async function openBridged(
  bridge: BridgeInput,
  overrides: Parameters<typeof openBroker>[0] = {},
): Promise<TestBroker> {
  const broker = await openBroker({ bridges: [bridge], ...overrides })
  await eventOf(broker, 'bridge connected')
  return broker
}

/** A client of any broker that keeps all that it gets; ended with the test. */
export async function listenAt(
  port: number,
  filters: readonly string[],
  options: Partial<LoadClientOptions> = {},
): Promise<LoadClient> {
  const client = new LoadClient({ port, clientId: `listener ${nextClient++}`, ...options })
  onTestFinished(() => client.vanish())
  await client.connect()
  if (filters.length > 0) await client.subscribe(...filters.map((filter) => [filter, 2] as const))
  return client
}

let nextClient = 1

/** `topic=payload qos`, and whether RETAIN was set. */
export function shown({ topic, payload, qos, retain }: Delivery): string {
  return `${topic}=${payload.toString()} ${qos}${retain ? ' retained' : ''}`
}
