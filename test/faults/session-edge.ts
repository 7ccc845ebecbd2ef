import { expect } from 'vitest'
import { LoadClient, type LoadClientOptions } from '../support/load-client.ts'
import { eventually, report, texts } from './ledger.ts'

/** Of MQTT 5, with a time away of its own. */
export const mqtt5 = (sessionExpirySeconds: number): Partial<LoadClientOptions> => ({
  version: 5,
  sessionExpirySeconds,
})

export async function enter(
  port: number,
  clientId: string,
  options: Partial<LoadClientOptions> = {},
): Promise<LoadClient> {
  const client = new LoadClient({ port, clientId, clean: false, ...options })
  await client.connect()
  await client.subscribe([`to/${clientId}`, 1], ['to/all', 1])
  return client
}

interface Edge {
  readonly name: string
  readonly publisherPort: number
  readonly clientCount: number
  readonly expiryMs: number
  readonly enterAs: (i: number) => Promise<LoadClient>
  /** How long it is away: around the moment of expiry, and of the sweeps behind it. */
  readonly awayMs: (i: number) => number
  /** Where it comes back to; undefined: where it was. */
  readonly returnPort: (i: number) => number | undefined
}

/** Clients come back just as their session ends: it is there whole, or not at all. */
export async function returnAtTheEdge(edge: Edge): Promise<void> {
  const { expiryMs } = edge
  const publisher = new LoadClient({ port: edge.publisherPort, clientId: 'publisher' })
  await publisher.connect()
  const outcomes = { kept: 0, removed: 0 }
  let acknowledgedCount = 0
  let deliveredCount = 0
  const returnAt = async (client: LoadClient, i: number): Promise<void> => {
    const { clientId } = client.options
    await client.disconnect()
    await publisher.publish({ topic: `to/${clientId}`, payload: `${clientId} 0`, qos: 1 })
    // Some at once, as the machine may be busy.
    await new Promise((resolve) => setTimeout(resolve, edge.awayMs(i)))
    const { sessionPresent } = await client.connect(edge.returnPort(i))
    outcomes[sessionPresent ? 'kept' : 'removed']++
    if (!sessionPresent) await client.subscribe([`to/${clientId}`, 1])
    await publisher.publish({ topic: `to/${clientId}`, payload: `${clientId} 1`, qos: 1 })
    const due = sessionPresent ? [`${clientId} 0`, `${clientId} 1`] : [`${clientId} 1`]
    await eventually(() => client.received.length >= due.length)
    // Still there after the sweeps that saw it as ended.
    await new Promise((resolve) => setTimeout(resolve, expiryMs))
    await publisher.publish({ topic: `to/${clientId}`, payload: `${clientId} 2`, qos: 1 })
    due.push(`${clientId} 2`)
    await eventually(() => client.received.length >= due.length)
    expect(texts(client.received)).toEqual(due)
    acknowledgedCount += due.length
    deliveredCount += client.received.length
  }
  // All are there before the first goes: or those that return would wait behind those that come.
  const all = await Promise.all(Array.from({ length: edge.clientCount }, (_, i) => edge.enterAs(i)))
  await Promise.all(all.map(returnAt))
  expect(outcomes.kept).toBeGreaterThan(0)
  expect(outcomes.removed).toBeGreaterThan(0)
  const ends = `${outcomes.kept} sessions kept, ${outcomes.removed} ended`
  report(edge.name, acknowledgedCount, `${deliveredCount} delivered; ${ends}`)
}
