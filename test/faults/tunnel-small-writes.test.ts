import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { digestOf } from '../support/tunnel-ends.ts'
import {
  type BrokerKind,
  openFaultBroker,
  startAgent,
  startForward,
  until,
} from '../support/tunnel-processes.ts'
import { joinThrough, openTargetQueue } from '../support/tunnel-processes-traffic.ts'

/** A minute's worth at 1 kHz. */
const writeCount = 60_000
const writeBytes = 24
const brokers: readonly BrokerKind[] = ['tunnelmq', 'mosquitto']

it.each(brokers)(
  'brings 60,000 writes of 24 bytes there and back, though %s is killed and started again in the middle',
  async (kind) => {
    const broker = await openFaultBroker(kind)
    const target = await openTargetQueue()
    await startAgent(broker, { data: target.address })
    const forward = await startForward(broker, ['data'])
    const { near, far } = await joinThrough(forward.ports[0], target)
    far.pipe(far)
    const came = digestOf(near)
    let cameBytes = 0
    near.on('data', (bytes: Buffer) => (cameBytes += bytes.length))

    const sent = createHash('sha256')
    const restarted = until(() => cameBytes > (writeCount / 3) * writeBytes).then(async () => {
      await broker.kill()
      await broker.start()
    })
    for (let number = 0; number < writeCount; number++) {
      const bytes = Buffer.from(`${number} `.padEnd(writeBytes, '.'))
      sent.update(bytes)
      if (!near.write(bytes)) await once(near, 'drain')
      // Each a write of its own, which the forward reads as it comes.
      await nextTurn()
      // The last part is for when the broker is gone and back.
      if (number === (writeCount * 2) / 3) await restarted
    }
    near.end()
    expect(await came).toBe(`${writeCount * writeBytes} ${sent.digest('hex')}`)
    console.log(
      `tunnel fault 10 (${kind}): ${writeCount} writes of ${writeBytes} bytes sent, ${cameBytes} bytes came back`,
    )
  },
)
