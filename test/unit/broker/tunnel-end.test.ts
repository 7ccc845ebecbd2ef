import { expect, it } from 'vitest'
import { ConnectionEnd } from '../../../src/broker/tunnel-end.ts'
import { BrokerParts } from '../../support/broker-parts.ts'

const frame = Buffer.alloc(40_000)

/** A client with a tunnel, which takes what it is sent a piece at a time. */
async function slowClient(): Promise<{
  end: ConnectionEnd
  client: Awaited<ReturnType<BrokerParts['connect']>>
}> {
  const parts = await BrokerParts.open()
  const client = await parts.connect('laptop', true)
  const end = new ConnectionEnd(client.connection)
  client.connection.tunnelEnd = end
  client.transport.isSlow = true
  return { end, client }
}

it('frames that wait take no room from messages', async () => {
  const { end, client } = await slowClient()
  for (let i = 0; i < 100; i++) end.deliver('', frame, frame)
  expect(end.pendingBytes).toBe(4_000_000)
  expect(client.connection.hasRoom).toBe(true)
})

it('messages have their bound also on a connection whose tunnel is never idle', async () => {
  const { end, client } = await slowClient()
  const { connection, transport } = client
  // Far more than the bound has gone through, and something was always waiting.
  end.deliver('', frame, frame)
  for (let i = 0; i < 200; i++) {
    connection.outbound.flush()
    end.deliver('', frame, frame)
    transport.take()
  }
  let messageBytes = 0
  while (connection.hasRoom && messageBytes < 100_000_000) {
    connection.outbound.write(Buffer.alloc(20_000))
    messageBytes += 20_000
  }
  expect(messageBytes).toBeLessThan(2_000_000)
})

it('tells once when something of what waited has been taken, and when the connection ends', async () => {
  const { end, client } = await slowClient()
  const told: string[] = []
  end.onceDrained(() => told.push('drained'))
  end.deliver('', frame, frame)
  client.connection.outbound.flush()
  expect(told).toEqual([])
  client.transport.take()
  expect(told).toEqual(['drained'])
  end.onceDrained(() => told.push('ended'))
  client.lose()
  expect(told).toEqual(['drained', 'ended'])
})

it('tells also when what was gathered is taken at once', async () => {
  const { end, client } = await slowClient()
  client.transport.isSlow = false
  let told = 0
  end.deliver('', frame, frame)
  expect(end.pendingBytes).toBe(frame.length)
  end.onceDrained(() => told++)
  expect(told).toBe(0)
  await expect.poll(() => told).toBe(1)
  expect(end.pendingBytes).toBe(0)
})
