import { describe, expect } from 'vitest'
import { BareAedes } from '../support/bare-aedes.ts'
import { publishPacket } from '../support/wire.ts'
import { onBothStores } from './ours.ts'
import { type BrokerUnderTest, defect, type Stage } from './stage.ts'

const CHUNK = Buffer.alloc(64 * 1024, 'x')
/** Far more than the system's buffers take for a reader that does not read, and than Aedes works on at once (100). */
const CHUNKS = 400

/** One client reads nothing of what it has subscribed to; two others have a topic of their own. */
async function frozenReader(stage: Stage<BrokerUnderTest>, qos: number): Promise<void> {
  const frozen = await stage.connect()
  await frozen.subscribe(['flood', qos])
  frozen.pauseReading()
  const calm = await stage.connect()
  await calm.subscribe(['calm', qos])
  const publisher = await stage.connect()
  const flooder = await stage.connect()

  for (let i = 1; i <= CHUNKS; i++) {
    flooder.send(publishPacket({ topic: 'flood', payload: CHUNK, qos, messageId: i }))
    publisher.send(publishPacket({ topic: 'calm', payload: String(i), qos, messageId: i }))
    const message = await calm.next('publish', undefined, `${i} to calm`)
    expect(String(message.payload)).toBe(String(i))
    await calm.acknowledge(message)
  }
  // All of the flood was taken, and acknowledged as it is to be.
  await flooder.ping()
  if (qos === 1) await flooder.nextAck('puback', CHUNKS)
}

describe('F21: a frozen reader', () => {
  defect('does not stall other topics at QoS 0', {
    scenario: (stage) => frozenReader(stage, 0),
    ours: onBothStores(),
    bare: () => BareAedes.start(),
    fails: /no PUBLISH \d+ to calm, but the deadline/,
  })

  defect('does not stall other topics at QoS 1', {
    scenario: (stage) => frozenReader(stage, 1),
    ours: onBothStores(),
    bare: () => BareAedes.start(),
    fails: /no PUBLISH \d+ to calm, but the deadline/,
  })
})
