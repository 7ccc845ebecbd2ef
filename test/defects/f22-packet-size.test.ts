import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { BareAedes } from '../support/bare-aedes.ts'
import type { RawClient } from '../support/raw-client.ts'
import { connectPacket, Packet, publishPacket } from '../support/wire.ts'
import { onBothStores, startOurs } from './ours.ts'
import { type BrokerUnderTest, defect, play, type Stage } from './stage.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** A fixed header that announces 256 MiB, the most there is. */
const hugePacket = (type: number): Buffer => Buffer.of(type << 4, 0xff, 0xff, 0xff, 0x7f)
const CHUNK = Buffer.alloc(1024 * 1024)
const CHUNKS = 32
const FEW_BYTES = 8 * CHUNK.length

/** Bytes of all buffers that somebody in this process holds: the client has sent the same chunk again and again. */
function heldBytes(): number {
  collectGarbage()
  return process.memoryUsage().arrayBuffers
}

async function holdsNothing(client: RawClient, type: number): Promise<void> {
  const before = heldBytes()
  client.send(hugePacket(type))
  for (let i = 0; i < CHUNKS && !client.isClosed; i++) {
    client.send(CHUNK)
    await client.flushed()
  }
  expect(heldBytes() - before, `bytes held of ${CHUNKS} MiB of one packet`).toBeLessThan(FEW_BYTES)
  await client.untilClosed()
}

const limits = { maxConnectBytes: 1_000, maxPacketBytes: 5_000 }

/** A packet of exactly `bytes`, by way of its payload. */
function publishOf(bytes: number): Buffer {
  const head = publishPacket({ topic: 't', payload: Buffer.alloc(200) }).length - 200
  return publishPacket({ topic: 't', payload: Buffer.alloc(bytes - head) })
}

function connectOf(bytes: number): Buffer {
  const fields = { clientId: 'c', username: 'u' }
  const overhead = connectPacket({ ...fields, password: Buffer.alloc(200) }).length - 200
  return connectPacket({ ...fields, password: Buffer.alloc(bytes - overhead) })
}

async function exactLimits(stage: Stage<BrokerUnderTest>): Promise<void> {
  const fits = await stage.open()
  const connect = connectOf(limits.maxConnectBytes)
  expect(connect).toHaveLength(limits.maxConnectBytes)
  fits.send(connect)
  // It was read: a username is refused, where nobody knows it.
  expect(await fits.next('connack')).toMatchObject({ code: 4 })
  const tooLarge = await stage.open()
  tooLarge.send(connectOf(limits.maxConnectBytes + 1))
  await tooLarge.untilClosed()
  expect(tooLarge.received).toEqual([])

  const client = await stage.connect()
  const publish = publishOf(limits.maxPacketBytes)
  expect(publish).toHaveLength(limits.maxPacketBytes)
  client.send(publish)
  await client.ping()
  client.send(publishOf(limits.maxPacketBytes + 1))
  await client.untilClosed()
}

describe('F22: packet size', () => {
  defect('holds nothing of a huge packet before CONNECT', {
    scenario: async (stage) => holdsNothing(await stage.open(), Packet.connect),
    ours: onBothStores(),
    bare: () => BareAedes.start(),
    fails: /bytes held of 32 MiB of one packet/,
  })

  defect('holds nothing of a huge packet after CONNECT', {
    scenario: async (stage) => holdsNothing(await stage.connect(), Packet.publish),
    ours: onBothStores(),
    bare: () => BareAedes.start(),
    fails: /bytes held of 32 MiB of one packet/,
  })

  it('takes packets up to each limit, and not a byte more: ours, memory store', async () => {
    await play(() => startOurs({ store: 'memory', config: { limits } }), exactLimits)
  })
})
