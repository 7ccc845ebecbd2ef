import { beforeEach, describe, expect, it } from 'vitest'
import { Connection } from '../../../src/broker/connection.ts'
import type { PacketHandler } from '../../../src/broker/packet-handler.ts'
import { PacketType } from '../../../src/broker/packets/types.ts'
import { createBrokerCounters } from '../../../src/counters.ts'
import { connectionLimits, openProfile } from '../../support/broker-parts.ts'
import { FakeTransport } from '../../support/fake-transport.ts'
import { publishPacket } from '../../support/wire.ts'

const PUBACK_BYTES = 4
const maxOutboundBytes = 100

let transport: FakeTransport
let connection: Connection
let publishCount: number
let closed: string[]

beforeEach(() => {
  transport = new FakeTransport()
  publishCount = 0
  closed = []
  const unexpected = (): never => {
    throw new Error('this packet has no part here')
  }
  const handler: PacketHandler = {
    connect: unexpected,
    publish: (receiver, { messageId }) => {
      publishCount++
      receiver.sendAck(PacketType.puback, messageId)
    },
    acknowledge: unexpected,
    release: unexpected,
    subscribe: unexpected,
    unsubscribe: unexpected,
    authenticate: unexpected,
    disconnecting: unexpected,
    refused: unexpected,
    gone: (_connection, { detail }) => closed.push(detail ?? ''),
    failed: unexpected,
  }
  connection = new Connection(transport, openProfile, {
    handler,
    limits: { ...connectionLimits, maxOutboundBytes },
    traffic: createBrokerCounters().listener('test', 'tcp'),
    nowMs: Date.now(),
  })
  connection.phase = 'open'
})

function send(count: number): void {
  const packets = Array.from({ length: count }, (_, i) =>
    publishPacket({ topic: 'a', qos: 1, messageId: i + 1 }),
  )
  transport.send(Buffer.concat(packets))
}

async function endOfTurn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve))
}

describe('a client that publishes and does not read its acknowledgements', () => {
  beforeEach(async () => {
    transport.isSlow = true
    send(1)
    await endOfTurn()
    send(1_000)
  })

  it('is read no further when it owes more than twice what may wait for it', () => {
    expect(transport.isPaused).toBe(true)
    expect(connection.outbound.pendingBytes).toBeLessThanOrEqual(2 * maxOutboundBytes + PUBACK_BYTES)
    expect(publishCount).toBeLessThan(100)
  })

  it('is read on as it takes them, and gets them all', async () => {
    while (transport.pendingBytes > 0) {
      transport.take()
      await endOfTurn()
    }
    expect(publishCount).toBe(1_001)
    expect(transport.isPaused).toBe(false)
    expect(transport.written).toHaveLength(1_001 * PUBACK_BYTES)
  })

  it('is read on when it has caught up at once', async () => {
    transport.isSlow = false
    transport.take()
    await endOfTurn()
    expect(publishCount).toBe(1_001)
    expect(transport.isPaused).toBe(false)
  })

  it('is closed as a slow reader when it takes nothing for too long, not for a store that is slow', () => {
    const { drainTimeoutMs, storeTimeoutMs } = connectionLimits
    connection.checkDeadlines(Date.now() + Math.max(drainTimeoutMs, storeTimeoutMs) * 2)
    expect(closed).toEqual(['slow reader'])
  })
})
